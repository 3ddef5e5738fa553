import { describe, expect, it } from 'vitest';
import {
  approvalsOf,
  type CertificateNames,
  isOwnSigner,
  isServingOfNode,
  kubeApiServerClient,
  kubeApiServerClientKubelet,
  kubeletServing,
  refusalOf,
} from '../../../../src/controllers/certificates/signers.ts';

const node: CertificateNames = {
  commonName: 'system:node:a',
  organizations: ['system:nodes'],
  dnsNames: [],
  ipAddresses: [],
  emailAddresses: [],
  uris: [],
};
const client = ['digital signature', 'client auth'];
const serving = ['digital signature', 'key encipherment', 'server auth'];

describe('signers', () => {
  it.each([
    [kubeApiServerClient, node, ['client auth'], undefined],
    [kubeApiServerClient, node, ['digital signature'], 'missing required usage for client certificate: client auth'],
    [kubeApiServerClient, node, ['client auth', 'server auth'], 'invalid usage for client certificate: server auth'],
    [kubeApiServerClientKubelet, node, client, undefined],
    [kubeApiServerClientKubelet, node, [...client, 'key encipherment'], undefined],
    [kubeApiServerClientKubelet, node, ['client auth'], 'usages did not match [client auth digital signature key encipherment]'],
    [kubeApiServerClientKubelet, node, [...client, 'cert sign'], 'usages did not match [client auth digital signature key encipherment]'],
    [kubeApiServerClientKubelet, { ...node, organizations: ['system:masters'] }, client, 'subject organization is not system:nodes'],
    [kubeApiServerClientKubelet, { ...node, organizations: ['system:nodes', 'x'] }, client, 'subject organization is not system:nodes'],
    [kubeApiServerClientKubelet, { ...node, commonName: 'root' }, client, 'subject common name does not begin with system:node:'],
    [kubeApiServerClientKubelet, { ...node, dnsNames: ['a'] }, client, 'DNS subjectAltNames are not allowed'],
    [kubeApiServerClientKubelet, { ...node, ipAddresses: ['10.0.0.1'] }, client, 'IP subjectAltNames are not allowed'],
    [kubeApiServerClientKubelet, { ...node, emailAddresses: ['a@b'] }, client, 'Email subjectAltNames are not allowed'],
    [kubeApiServerClientKubelet, { ...node, uris: ['http://a'] }, client, 'URI subjectAltNames are not allowed'],
    [kubeletServing, { ...node, ipAddresses: ['10.0.0.1'] }, serving, undefined],
    [kubeletServing, node, serving, 'DNS or IP subjectAltName is required'],
    [kubeletServing, { ...node, dnsNames: ['a'] }, client, 'usages did not match [digital signature key encipherment server auth]'],
  ] as const)('%s of %j for %j: %s', (signer, request, usages, why) => {
    expect(refusalOf(signer, request, usages)).toBe(why);
  });

  it('leaves other signers alone', () => {
    for (const name of ['example.com/mine', 'kubernetes.io/legacy-unknown', 'constructor', '__proto__'])
      expect(isOwnSigner(name)).toBe(false);
  });

  it('approves only client certificates of nodes, for the node itself or by a right over all', () => {
    const rights = (signerName: string, username: string, names = node) =>
      approvalsOf({ signerName, names, username, usages: client }).map(({ subresource }) => subresource);
    expect(rights(kubeApiServerClientKubelet, 'system:node:a')).toEqual(['selfnodeclient', 'nodeclient']);
    expect(rights(kubeApiServerClientKubelet, 'system:bootstrap:abcdef')).toEqual(['nodeclient']);
    expect(rights(kubeApiServerClientKubelet, 'root', { ...node, commonName: 'root' })).toEqual([]);
    expect(rights(kubeApiServerClient, 'system:node:a')).toEqual([]);
  });
});

describe('a serving certificate of a node', () => {
  const at = (name: string, ...addresses: string[]) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  });
  const nodes = [at('a', 'a', '10.0.0.1'), at('b', 'b', '10.0.0.2'), at('liar', '10.0.0.9'), at('c', '10.0.0.9')];
  const names = { ...node, dnsNames: ['a'], ipAddresses: ['10.0.0.1'] };

  it.each([
    ['its own name and address', names, 'system:node:a', serving, true],
    ['an address that it does not have', { ...names, ipAddresses: ['10.0.0.3'] }, 'system:node:a', serving, false],
    ['an address of another node', { ...names, ipAddresses: ['10.0.0.2'] }, 'system:node:a', serving, false],
    ['the name of a Service', { ...names, dnsNames: ['kubernetes'] }, 'system:node:a', serving, false],
    ['another node', names, 'system:node:b', serving, false],
    ['a client', names, 'system:node:a', client, false],
  ] as const)('is approved for %s: %#', (_, request, username, usages, approved) => {
    expect(isServingOfNode({ names: request, username, usages, nodes })).toBe(approved);
  });

  it('is not approved for an address that two nodes claim', () => {
    const request = { ...node, commonName: 'system:node:c', ipAddresses: ['10.0.0.9'] };
    expect(isServingOfNode({ names: request, username: 'system:node:c', usages: serving, nodes })).toBe(false);
  });
});

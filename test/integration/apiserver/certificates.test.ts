import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CertificateSigningRequest,
  certificateSigningRequests,
} from '../../../src/api/certificates/v1/certificate-signing-request.ts';
import { type Node, nodes } from '../../../src/api/core/v1/node.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import type { UserInfo } from '../../../src/apiserver/user.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
import { createCertificateApprovingController } from '../../../src/controllers/certificates/approving-controller.ts';
import { createCertificateSigningController } from '../../../src/controllers/certificates/signing-controller.ts';
import { createExpiryController } from '../../../src/controllers/expiry/expiry-controller.ts';
import { certificateRequests } from '../../../src/controllers/expiry/rules.ts';
import { admin } from '../../support/api.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { encoded, makeCertificateRequest, type RequestedNames } from '../../support/certificate-requests.ts';
import { startControllers } from '../../support/control-plane.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const clientSigner = 'kubernetes.io/kube-apiserver-client';
const kubeletSigner = 'kubernetes.io/kube-apiserver-client-kubelet';
const clientUsages = ['digital signature', 'client auth'];

let cluster: TestApiServer;
/** Failures of the authority that are still to come. */
let failures = 0;
let controllers: Awaited<ReturnType<typeof startControllers>>;
beforeAll(async () => {
  cluster = await startTestApiServer();
  controllers = await startControllers(cluster.api.clientFor({ name: 'system:kube-controller-manager', groups: [] }), [
    createCertificateApprovingController,
    (dependencies) =>
      createCertificateSigningController({
        ...dependencies,
        pki: {
          async signRequest(...request) {
            failures -= 1;
            if (failures >= 0) throw new Error('the disk is full');
            return await cluster.pki.signRequest(...request);
          },
        },
      }),
    (dependencies) => createExpiryController(certificateRequests, dependencies),
  ]);
});
afterAll(async () => {
  await controllers.stop();
  await cluster.stop();
});

interface Wanted {
  readonly signerName?: string;
  readonly usages?: readonly string[];
  readonly expirationSeconds?: number;
}

const objectOf = (
  name: string,
  request: string,
  { signerName = clientSigner, usages = clientUsages, expirationSeconds = 3_600 }: Wanted = {},
): CertificateSigningRequest => ({
  apiVersion: 'certificates.k8s.io/v1',
  kind: 'CertificateSigningRequest',
  metadata: { name },
  spec: { request: encoded(request), signerName, usages, expirationSeconds },
});

async function ask(user: UserInfo, name: string, names: RequestedNames, wanted: Wanted = {}): Promise<string> {
  const { request, key } = await makeCertificateRequest(names);
  await cluster.api.clientFor(user).create(certificateSigningRequests, objectOf(name, request, wanted));
  return key;
}

const decide = async (user: UserInfo, name: string, type: 'Approved' | 'Denied'): Promise<void> => {
  const client = cluster.api.clientFor(user);
  const request = await cluster.api.clientFor(admin).get(certificateSigningRequests, { name });
  const conditions = [...(request.status?.conditions ?? []), { type, status: 'True', reason: 'Test' }];
  await client.update(certificateSigningRequests, { ...request, status: { ...request.status, conditions } }, { subresource: 'approval' });
};

const settled = (name: string): Promise<CertificateSigningRequest> =>
  until(
    async () => {
      const request = await cluster.client.get(certificateSigningRequests, { name });
      const failed = request.status?.conditions?.some(({ type }) => type === 'Failed') === true;
      return failed || request.status?.certificate !== undefined ? request : undefined;
    },
    { what: `${name} is signed or failed` },
  );

const grant = async (
  name: string,
  user: string,
  rule: Readonly<Record<string, readonly string[]>> & { readonly verbs: readonly string[] },
) => {
  const client = cluster.api.clientFor();
  const metadata = { name };
  await client.create(clusterRoles, { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata, rules: [rule] });
  await client.create(clusterRoleBindings, {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
  });
};

describe.skipIf(!hasKubectl)('kubectl certificate (needs kubectl)', () => {
  it('approves a request, and the certificate that comes of it is who it says', async () => {
    const { request, key } = await makeCertificateRequest({ commonName: 'dave', organizations: ['devs'] });
    const manifest = join(cluster.directory, 'csr.json');
    await writeFile(manifest, JSON.stringify(objectOf('dave', request)));
    expect(await cluster.kubectl('create', '-f', manifest)).toMatchObject({ code: 0 });
    expect((await cluster.kubectl('get', 'csr', 'dave')).stdout).toMatch(
      /dave +\d+s +kubernetes.io\/kube-apiserver-client +admin +60m +Pending/,
    );
    expect((await cluster.kubectl('certificate', 'approve', 'dave')).stdout).toBe(
      'certificatesigningrequest.certificates.k8s.io/dave approved\n',
    );
    const { status } = await settled('dave');
    const certificate = Buffer.from(status?.certificate ?? '', 'base64').toString();
    expect(status?.conditions?.map(({ type, reason }) => [type, reason])).toEqual([['Approved', 'KubectlApprove']]);
    expect((await cluster.kubectl('get', 'csr', 'dave')).stdout).toContain('Approved,Issued');
    expect(Date.parse(new X509Certificate(certificate).validTo)).toBeLessThanOrEqual(Date.now() + 3_600_000);

    const [certificateFile, keyFile] = [join(cluster.directory, 'dave.crt'), join(cluster.directory, 'dave.key')];
    await Promise.all([writeFile(certificateFile, certificate), writeFile(keyFile, key)]);
    const as = ['--kubeconfig', '/dev/null', '--server', cluster.server.url, '--insecure-skip-tls-verify'];
    const { stdout } = await cluster.kubectl(...as, '--client-certificate', certificateFile, '--client-key', keyFile, 'auth', 'whoami');
    expect(stdout).toMatch(/Username +dave\nGroups +\[devs system:authenticated\]/);
    expect((await cluster.kubectl('certificate', 'deny', 'dave')).stderr).toContain('already Approved');
  });

  it('denies a request, which is then never signed', async () => {
    await ask(admin, 'denied', { commonName: 'mallory' });
    expect((await cluster.kubectl('certificate', 'deny', 'denied')).stdout).toContain('denied');
    await expect(decide(admin, 'denied', 'Approved')).rejects.toMatchObject({ code: 422 });
    expect((await cluster.kubectl('get', 'csr', 'denied')).stdout).toMatch(/Denied\n$/);
  });
});

describe('requests of nodes', () => {
  const bootstrapper: UserInfo = { name: 'system:bootstrap:abcdef', groups: ['system:bootstrappers', 'system:authenticated'] };

  it('are approved for whoever may ask for nodes, and for a node that renews its own', async () => {
    await grant('join', bootstrapper.name, {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests', 'certificatesigningrequests/nodeclient'],
      verbs: ['create'],
    });
    await ask(bootstrapper, 'join-a', { commonName: 'system:node:a', organizations: ['system:nodes'] }, { signerName: kubeletSigner });
    const { status } = await settled('join-a');
    expect(status?.conditions).toMatchObject([
      { type: 'Approved', reason: 'AutoApproved', message: 'Auto approving kubelet client certificate after SubjectAccessReview.' },
    ]);

    const node: UserInfo = { name: 'system:node:b', groups: ['system:nodes', 'system:authenticated'] };
    await grant('renew', node.name, {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests/selfnodeclient'],
      verbs: ['create'],
    });
    await ask(node, 'renew-b', { commonName: 'system:node:b', organizations: ['system:nodes'] }, { signerName: kubeletSigner });
    expect((await settled('renew-b')).status?.conditions?.[0]?.message).toContain('self kubelet client certificate');
    // For another node it has no right.
    await ask(node, 'steal-c', { commonName: 'system:node:c', organizations: ['system:nodes'] }, { signerName: kubeletSigner });
    await ask(node, 'renew-again', { commonName: 'system:node:b', organizations: ['system:nodes'] }, { signerName: kubeletSigner });
    await settled('renew-again');
    expect((await cluster.client.get(certificateSigningRequests, { name: 'steal-c' })).status).toEqual({});
  });

  it('fail when they are approved and break the rules of their signer', async () => {
    await ask(
      admin,
      'rich',
      { commonName: 'system:node:a', organizations: ['system:nodes', 'system:masters'] },
      { signerName: kubeletSigner },
    );
    await decide(admin, 'rich', 'Approved');
    expect((await settled('rich')).status).toMatchObject({
      conditions: [
        { type: 'Approved' },
        { type: 'Failed', reason: 'SignerValidationFailure', message: 'subject organization is not system:nodes' },
      ],
    });
  });
});

describe('an approved request', () => {
  it('is signed by a later try when the authority could not sign it', async () => {
    failures = 2;
    await ask(admin, 'delayed', { commonName: 'erin' });
    await decide(admin, 'delayed', 'Approved');
    expect((await settled('delayed')).status).toMatchObject({ certificate: expect.any(String), conditions: [{ type: 'Approved' }] });
  });
});

describe('a machine that joins', () => {
  const rbac = 'rbac.authorization.k8s.io';
  const bind = (name: string, clusterRole: string, group: string) =>
    cluster.client.create(clusterRoleBindings, {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: clusterRole },
      subjects: [{ apiGroup: rbac, kind: 'Group', name: group }],
    });

  it('gets from its bootstrap token to a certificate of its own, and with it no further than a node may', async () => {
    // As kubeadm binds them.
    await bind('kubelet-bootstrap', 'system:node-bootstrapper', 'system:bootstrappers:join');
    await bind('autoapprove', 'system:certificates.k8s.io:certificatesigningrequests:nodeclient', 'system:bootstrappers:join');
    await cluster.client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'bootstrap-token-joined', namespace: 'kube-system' },
      type: 'bootstrap.kubernetes.io/token',
      stringData: {
        'token-id': 'joined',
        'token-secret': '0123456789abcdef',
        'usage-bootstrap-authentication': 'true',
        'auth-extra-groups': 'system:bootstrappers:join',
      },
    });
    const connection = { server: cluster.server.url, caCertificate: cluster.pki.caCertificate, userAgent: 'kubelet/1' };
    const newcomer = createHttpClient({ ...connection, token: 'joined.0123456789abcdef' });
    const { request, key } = await makeCertificateRequest({ commonName: 'system:node:joined', organizations: ['system:nodes'] });
    await newcomer.create(certificateSigningRequests, objectOf('csr-joined', request, { signerName: kubeletSigner }));
    await expect(newcomer.list(secrets, {})).rejects.toMatchObject({ code: 403 });
    const certificate = await until(
      async () => (await newcomer.get(certificateSigningRequests, { name: 'csr-joined' })).status?.certificate,
      { what: 'the certificate is issued' },
    );
    newcomer.close();

    const node = createHttpClient({
      ...connection,
      clientCertificate: { certificate: Buffer.from(certificate, 'base64').toString(), key },
    });
    const nodeObject = (name: string): Node => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
    expect((await node.create(nodes, nodeObject('joined'))).metadata.uid).toBeDefined();
    await expect(node.create(nodes, nodeObject('other'))).rejects.toMatchObject({ code: 403 });
    await expect(node.list(secrets, { namespace: 'kube-system' })).rejects.toMatchObject({ code: 403 });
    // It may ask for its next certificate.
    const next = await makeCertificateRequest({ commonName: 'system:node:joined', organizations: ['system:nodes'] });
    await node.create(certificateSigningRequests, objectOf('csr-joined-next', next.request, { signerName: kubeletSigner }));
    node.close();
  });
});

describe('requests that are always refused', () => {
  const powerful = 'use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed';

  it('a client certificate of the group that may do everything, also by apply', async () => {
    const { request } = await makeCertificateRequest({ commonName: 'x', organizations: ['a', 'system:masters'] });
    const object = objectOf('masters', request);
    await expect(cluster.client.create(certificateSigningRequests, object)).rejects.toMatchObject({
      code: 403,
      message: `certificatesigningrequests.certificates.k8s.io "masters" is forbidden: ${powerful}`,
    });
    await expect(
      cluster.client.patch(certificateSigningRequests, { name: 'masters' }, { type: 'apply', body: object }, { fieldManager: 'm' }),
    ).rejects.toMatchObject({ code: 403 });
  });

  it('a request that is not signed by its key, has two common names, or is for the legacy signer', async () => {
    const { request } = await makeCertificateRequest({ commonName: 'y' });
    const create = (text: string, wanted: Wanted = {}) => cluster.client.create(certificateSigningRequests, objectOf('bad', text, wanted));
    await expect(create(request.replace(/\n[A-Za-z0-9+/]{8}/, '\nAAAAAAAA'))).rejects.toMatchObject({ code: 422 });
    await expect(create(request, { signerName: 'kubernetes.io/legacy-unknown' })).rejects.toMatchObject({
      code: 422,
      message: expect.stringContaining('the legacy signerName is not allowed via this API version'),
    });
    await expect(create(`${request}${' '.repeat(70_000)}`)).rejects.toMatchObject({ code: 422 });
  });

  it('into the API with a certificate for serving', async () => {
    const names = [{ type: 'ip', value: '10.0.0.1' }] as const;
    const usages = ['digital signature', 'server auth'];
    const key = await ask(
      admin,
      'serving',
      { commonName: 'system:node:a', organizations: ['system:nodes'], names },
      { signerName: 'kubernetes.io/kubelet-serving', usages },
    );
    await decide(admin, 'serving', 'Approved');
    const certificate = Buffer.from((await settled('serving')).status?.certificate ?? '', 'base64').toString();
    expect(new X509Certificate(certificate).subjectAltName).toBe('IP Address:10.0.0.1');
    const node = createHttpClient({
      server: cluster.server.url,
      caCertificate: cluster.pki.caCertificate,
      clientCertificate: { certificate, key },
      userAgent: 'kubelet/1',
    });
    await expect(node.list(nodes, {})).rejects.toMatchObject({ code: 401 });
    node.close();
  });

  it('an identity other than their own in the request', async () => {
    const user: UserInfo = { name: 'alice', uid: 'u-1', groups: ['devs', 'system:authenticated'] };
    await grant('alice-asks', 'alice', {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests'],
      verbs: ['create'],
    });
    const { request } = await makeCertificateRequest({ commonName: 'z' });
    const object = objectOf('liar', request);
    const forged = { ...object, spec: { ...object.spec, username: 'admin', groups: ['system:masters'], uid: 'u-admin' } };
    const made = await cluster.api.clientFor(user).create(certificateSigningRequests, forged);
    expect(made.spec).toMatchObject({ username: 'alice', uid: 'u-1', groups: ['devs', 'system:authenticated'] });
  });

  it('a decision by somebody who may write requests and is not allowed to approve or sign for their signer', async () => {
    const user: UserInfo = { name: 'bob', groups: ['system:authenticated'] };
    await grant('bob-writes', 'bob', {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests', 'certificatesigningrequests/approval', 'certificatesigningrequests/status'],
      verbs: ['get', 'update', 'patch'],
    });
    await ask(admin, 'bob', { commonName: 'bob', organizations: ['admins'] });
    await expect(decide(user, 'bob', 'Approved')).rejects.toMatchObject({
      code: 403,
      message:
        'certificatesigningrequests.certificates.k8s.io "bob" is forbidden: user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"',
    });
    const client = cluster.api.clientFor(user);
    const status = { certificate: encoded(cluster.pki.caCertificate) };
    for (const type of ['merge', 'apply'] as const) {
      const body = { ...objectOf('bob', ''), spec: undefined, status };
      await expect(
        client.patch(
          certificateSigningRequests,
          { name: 'bob' },
          { type, body: type === 'merge' ? { status } : body },
          { subresource: 'status', fieldManager: 'bob' },
        ),
      ).rejects.toMatchObject({ code: 403, message: expect.stringContaining('user not permitted to sign requests') });
    }
    await grant('bob-approves', 'bob', {
      apiGroups: ['certificates.k8s.io'],
      resources: ['signers'],
      resourceNames: ['kubernetes.io/*'],
      verbs: ['approve'],
    });
    await decide(user, 'bob', 'Approved');
    await settled('bob');
  });

  it('another certificate than the one that was issued, or an approval taken back', async () => {
    await ask(admin, 'fixed', { commonName: 'fixed' });
    await decide(admin, 'fixed', 'Approved');
    await settled('fixed');
    const patch = (body: unknown, subresource: 'status' | 'approval') =>
      cluster.client.patch(certificateSigningRequests, { name: 'fixed' }, { type: 'merge', body }, { subresource });
    await expect(patch({ status: { certificate: encoded(cluster.pki.caCertificate) } }, 'status')).rejects.toMatchObject({
      code: 422,
      message: expect.stringContaining('updates may not modify existing certificate content'),
    });
    await ask(admin, 'undecided', { commonName: 'undecided' });
    const conditions = [{ type: 'Approved', status: 'True', reason: 'Sneaked' }];
    await expect(
      cluster.client.patch(
        certificateSigningRequests,
        { name: 'undecided' },
        { type: 'merge', body: { status: { conditions } } },
        { subresource: 'status' },
      ),
    ).rejects.toMatchObject({ code: 422, message: expect.stringContaining('updates may not add a condition of type "Approved"') });
    await expect(patch({ status: { conditions: [] } }, 'approval')).rejects.toMatchObject({
      code: 422,
      message: expect.stringContaining('updates may not remove a condition of type "Approved"'),
    });
  });
});

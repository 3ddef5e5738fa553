import type { Node } from '../../api/core/v1/node.ts';
import type { CertificateRequest } from '../../base/pki/certificate-request.ts';

/** The signers of every cluster: what each of them signs, worded as upstream words its refusals. */

export const kubeApiServerClient = 'kubernetes.io/kube-apiserver-client';
export const kubeApiServerClientKubelet = 'kubernetes.io/kube-apiserver-client-kubelet';
export const kubeletServing = 'kubernetes.io/kubelet-serving';

export type CertificateNames = Omit<CertificateRequest, 'parsed'>;

/** Reason why the signer refuses this request; undefined when it signs. */
type Rule = (request: CertificateNames, usages: readonly string[]) => string | undefined;

const nodePrefix = 'system:node:';
const nodesGroup = 'system:nodes';

const rules: Readonly<Record<string, Rule>> = {
  [kubeApiServerClient]: (_, usages) => {
    const odd = usages.find((usage) => !['client auth', 'digital signature', 'key encipherment'].includes(usage));
    if (odd !== undefined) return `invalid usage for client certificate: ${odd}`;
    return usages.includes('client auth') ? undefined : 'missing required usage for client certificate: client auth';
  },
  [kubeApiServerClientKubelet]: (request, usages) => {
    if (!isOfNodes(request)) return 'subject organization is not system:nodes';
    if (request.dnsNames.length > 0) return 'DNS subjectAltNames are not allowed';
    if (request.emailAddresses.length > 0) return 'Email subjectAltNames are not allowed';
    if (request.ipAddresses.length > 0) return 'IP subjectAltNames are not allowed';
    if (request.uris.length > 0) return 'URI subjectAltNames are not allowed';
    if (!request.commonName.startsWith(nodePrefix)) return 'subject common name does not begin with system:node:';
    return usagesRefusal(usages, 'client auth');
  },
  [kubeletServing]: (request, usages) => {
    if (!isOfNodes(request)) return 'subject organization is not system:nodes';
    if (request.dnsNames.length === 0 && request.ipAddresses.length === 0) return 'DNS or IP subjectAltName is required';
    if (request.emailAddresses.length > 0) return 'Email subjectAltNames are not allowed';
    if (request.uris.length > 0) return 'URI subjectAltNames are not allowed';
    const refusal = usagesRefusal(usages, 'server auth');
    if (refusal !== undefined) return refusal;
    return request.commonName.startsWith(nodePrefix) ? undefined : 'subject common name does not begin with system:node:';
  },
};

const isOfNodes = ({ organizations }: CertificateNames): boolean => organizations.length === 1 && organizations[0] === nodesGroup;

/** Exactly these; keys other than RSA do without encipherment. */
function usagesRefusal(usages: readonly string[], purpose: string): string | undefined {
  const given = new Set(usages);
  const optional = given.delete('key encipherment') ? 1 : 0;
  const fits = given.size === 2 && given.has('digital signature') && given.has(purpose) && usages.length === 2 + optional;
  return fits ? undefined : `usages did not match [${['digital signature', 'key encipherment', purpose].sort().join(' ')}]`;
}

/** Others are for somebody else to sign. */
export const isOwnSigner = (signerName: string): boolean => Object.hasOwn(rules, signerName);

/** @param signerName  one of our own */
export const refusalOf = (signerName: string, request: CertificateNames, usages: readonly string[]): string | undefined =>
  rules[signerName]?.(request, usages);

interface ClientRequest {
  readonly signerName: string;
  readonly names: CertificateNames;
  readonly username: string;
  readonly usages: readonly string[];
}

/**
 * Rights by which a node's request for its client certificate is approved without a person: for itself, or for any node.
 *
 * @see Kubernetes, "TLS bootstrapping", "Approval"
 */
export function approvalsOf({
  signerName,
  names,
  username,
  usages,
}: ClientRequest): readonly { readonly subresource: string; readonly message: string }[] {
  if (signerName !== kubeApiServerClientKubelet || refusalOf(signerName, names, usages) !== undefined) return [];
  const forAny = { subresource: 'nodeclient', message: 'Auto approving kubelet client certificate after SubjectAccessReview.' };
  const forSelf = { subresource: 'selfnodeclient', message: 'Auto approving self kubelet client certificate after SubjectAccessReview.' };
  return names.commonName === username ? [forSelf, forAny] : [forAny];
}

/** `worker-1` of `system:node:worker-1`. */
export const nodeNameOf = (commonName: string): string => (commonName.startsWith(nodePrefix) ? commonName.slice(nodePrefix.length) : '');

export interface ServingRequest {
  readonly names: CertificateNames;
  readonly username: string;
  readonly usages: readonly string[];
  /** All there are. */
  readonly nodes: Iterable<Node>;
}

/**
 * True for a node's own request whose names are its name and addresses of its Node. An address of two Nodes does not count.
 * A node that lies about its address could otherwise answer in place of another machine.
 */
export function isServingOfNode({ names, username, usages, nodes }: ServingRequest): boolean {
  if (names.commonName !== username || refusalOf(kubeletServing, names, usages) !== undefined) return false;
  const own = nodeNameOf(username);
  const ownAddresses = new Set<string>();
  const others = new Set<string>();
  for (const { metadata, status } of nodes)
    for (const { address } of status?.addresses ?? []) (metadata.name === own ? ownAddresses : others).add(address);
  return [...names.dnsNames, ...names.ipAddresses].every((name) => ownAddresses.has(name) && !others.has(name));
}

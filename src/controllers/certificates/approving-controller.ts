import { subjectAccessReviews } from '../../api/authorization/v1/subject-access-review.ts';
import { type CertificateSigningRequest, certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import { nodes } from '../../api/core/v1/node.ts';
import { timestampOf } from '../../base/clock.ts';
import { parseCertificateRequest } from '../../base/pki/certificate-request.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { hasCondition, requestPemOf } from './request-conditions.ts';
import { approvalsOf, isServingOfNode, kubeApiServerClientKubelet, kubeletServing, nodeNameOf } from './signers.ts';

export interface CertificateApprovingOptions extends ControllerDependencies {
  /**
   * Machines join by themselves. A token then admits no machine under the name of a Node that exists, as with k3s' node
   * passwords. A node gets a certificate of its kubelet API for the addresses of its Node.
   */
  readonly admitsMachines?: boolean;
}

/** Approves what nodes ask for when they join or renew, for those who may: a SubjectAccessReview of the requester decides. */
export function createCertificateApprovingController(options: CertificateApprovingOptions): Controller {
  const { client, informers, clock, admitsMachines = false } = options;
  const informer = informers.get(certificateSigningRequests);
  const signers = new Set([kubeApiServerClientKubelet, ...(admitsMachines ? [kubeletServing] : [])]);
  const nodeInformer = admitsMachines ? informers.get(nodes) : undefined;

  const controller = createInformedController(options, {
    name: 'csrapproving',
    reconcile,
  });
  informer.addHandler(({ after }) => {
    if (after !== undefined && signers.has(after.spec.signerName)) controller.enqueue(after.metadata.name);
  });
  return controller;

  async function reconcile(name: string, context: ReconcileContext): Promise<undefined> {
    const request = informer.get({ name });
    if (request === undefined || hasCondition(request, 'Approved') || hasCondition(request, 'Denied')) return;
    let names: Awaited<ReturnType<typeof parseCertificateRequest>>;
    try {
      names = await parseCertificateRequest(requestPemOf(request));
    } catch {
      // The API takes no such request, so it is an old one; a person may still deny it.
      return;
    }
    const { signerName, username = '', usages = [] } = request.spec;
    if (nodeInformer !== undefined && signerName === kubeletServing) {
      if (isServingOfNode({ names, username, usages, nodes: nodeInformer.list() }))
        await decide(request, { type: 'Approved', reason: 'AutoApproved', message: servingMessage }, context);
      return;
    }
    const taken = nodeInformer?.get({ name: nodeNameOf(names.commonName) });
    if (taken !== undefined && names.commonName !== username && isJoining(request)) {
      const message = `There is a Node ${taken.metadata.name} already, and a token does not replace it.`;
      await decide(request, { type: 'Denied', reason: 'NodeNameTaken', message }, context);
      return;
    }
    for (const { subresource, message } of approvalsOf({ signerName, names, username, usages })) {
      if (!(await mayCreate(request, subresource, context))) continue;
      await decide(request, { type: 'Approved', reason: 'AutoApproved', message }, context);
      return;
    }
  }

  async function mayCreate({ spec }: CertificateSigningRequest, subresource: string, { signal }: ReconcileContext): Promise<boolean> {
    const { username = '', uid, groups = [], extra } = spec;
    const { group, resource } = certificateSigningRequests;
    const review = await client.create(
      subjectAccessReviews,
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        metadata: {},
        spec: {
          user: username,
          groups,
          ...(uid === undefined ? {} : { uid }),
          ...(extra === undefined ? {} : { extra }),
          resourceAttributes: { group, resource, subresource, verb: 'create' },
        },
      },
      { signal },
    );
    return review.status?.allowed === true;
  }

  async function decide(request: CertificateSigningRequest, decision: Decision, { signal }: ReconcileContext): Promise<void> {
    const condition = { ...decision, status: 'True', lastUpdateTime: timestampOf(clock.now()) };
    const conditions = [...(request.status?.conditions ?? []), condition];
    try {
      await client.update(
        certificateSigningRequests,
        { ...request, status: { ...request.status, conditions } },
        { subresource: 'approval', signal },
      );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

interface Decision {
  readonly type: 'Approved' | 'Denied';
  readonly reason: string;
  readonly message: string;
}

const servingMessage = 'Auto approving kubelet serving certificate for the addresses of the Node.';

const isJoining = ({ spec }: CertificateSigningRequest): boolean => spec.groups?.includes('system:bootstrappers') === true;

import { subjectAccessReviews } from '../../api/authorization/v1/subject-access-review.ts';
import { type CertificateSigningRequest, certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import { timestampOf } from '../../base/clock.ts';
import { parseCertificateRequest } from '../../base/pki/certificate-request.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { hasCondition, requestPemOf } from './request-conditions.ts';
import { approvalsOf, kubeApiServerClientKubelet } from './signers.ts';

/** Approves what nodes ask for when they join or renew, for those who may: a SubjectAccessReview of the requester decides. */
export function createCertificateApprovingController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, metrics } = dependencies;
  const informer = informers.get(certificateSigningRequests);

  const controller = createController({
    name: 'csrapproving',
    clock,
    log,
    observer: metrics.observerOf('csrapproving'),
    waitForSync: (wait) => informers.waitForSync(wait),
    reconcile,
  });
  informer.addHandler(({ after }) => {
    if (after?.spec.signerName === kubeApiServerClientKubelet) controller.enqueue(after.metadata.name);
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
    for (const { subresource, message } of approvalsOf(signerName, username, names, usages)) {
      if (!(await mayCreate(request, subresource, context))) continue;
      await approve(request, message, context);
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

  async function approve(request: CertificateSigningRequest, message: string, { signal }: ReconcileContext): Promise<void> {
    const condition = {
      type: 'Approved',
      status: 'True',
      reason: 'AutoApproved',
      message,
      lastUpdateTime: timestampOf(clock.now()),
    };
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

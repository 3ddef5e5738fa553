import { X509Certificate } from 'node:crypto';
import { type CertificateSigningRequest, certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { certificateOf, findCondition } from './request-conditions.ts';

const hourMs = 3_600_000;
const pendingMs = 24 * hourMs;

/** Deletes requests that nobody needs any more: settled ones an hour later, those that nobody decided after a day. */
export function createCertificateCleaningController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, metrics } = dependencies;
  const informer = informers.get(certificateSigningRequests);

  const controller = createController({
    name: 'csrcleaner',
    clock,
    log,
    workers: 1,
    observer: metrics.observerOf('csrcleaner'),
    waitForSync: (wait) => informers.waitForSync(wait),
    reconcile,
  });
  informer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(after.metadata.name);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const request = informer.get({ name });
    if (request === undefined) return;
    const deadline = deadlineOf(request);
    if (deadline === undefined) return;
    const remainingMs = deadline - clock.now();
    if (remainingMs > 0) return { requeueAfterMs: remainingMs };
    const { uid, resourceVersion } = request.metadata;
    const preconditions = { ...(uid === undefined ? {} : { uid }), ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    try {
      await client.delete(certificateSigningRequests, { name }, { preconditions, signal });
    } catch (err) {
      // Changed meanwhile: its event brings it back here.
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
    return;
  }
}

/** When the request may go, in milliseconds since the epoch; undefined: it waits for a signer of somebody else. */
export function deadlineOf(request: CertificateSigningRequest): number | undefined {
  const settled = (['Denied', 'Failed', ...(certificateOf(request) === '' ? [] : (['Approved'] as const))] as const)
    .map((type) => findCondition(request, type))
    .flatMap((condition) =>
      condition === undefined ? [] : [Date.parse(condition.lastUpdateTime ?? request.metadata.creationTimestamp ?? '')],
    );
  const created = Date.parse(request.metadata.creationTimestamp ?? '');
  const isPending = findCondition(request, 'Approved') === undefined && settled.length === 0;
  const deadlines = [...settled.map((time) => time + hourMs), ...(isPending ? [created + pendingMs] : []), ...expiryOf(request)];
  const known = deadlines.filter((time) => !Number.isNaN(time));
  return known.length === 0 ? undefined : Math.min(...known);
}

function expiryOf(request: CertificateSigningRequest): readonly number[] {
  const pem = certificateOf(request);
  if (pem === '') return [];
  try {
    return [Date.parse(new X509Certificate(pem).validTo)];
  } catch {
    // Signed by somebody else, in a form that is not ours to judge.
    return [];
  }
}

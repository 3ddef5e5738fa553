import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext, type Result } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';

const namespace = 'kube-system';

/** Deletes bootstrap tokens when they have expired. */
export function createBootstrapTokenCleaner(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, metrics } = dependencies;
  const informer = informers.get(secrets, { namespace, fieldSelector: 'type=bootstrap.kubernetes.io/token' });

  const controller = createController({
    name: 'token-cleaner',
    clock,
    log,
    workers: 1,
    observer: metrics.observerOf('token-cleaner'),
    waitForSync: (wait) => informers.waitForSync(wait),
    reconcile,
  });
  informer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(after.metadata.name);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const secret = informer.get({ namespace, name });
    const expiresAt = secret === undefined ? Number.NaN : expiryOf(secret);
    if (secret === undefined || Number.isNaN(expiresAt)) return;
    const remainingMs = expiresAt - clock.now();
    if (remainingMs > 0) return { requeueAfterMs: remainingMs };
    const { uid } = secret.metadata;
    try {
      await client.delete(secrets, { namespace, name }, { ...(uid === undefined ? {} : { preconditions: { uid } }), signal });
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
    return;
  }
}

/** Not a number for one without an end, and for one whose end cannot be read, which lets nobody in. */
const expiryOf = ({ data }: Secret): number => Date.parse(Buffer.from(data?.expiration ?? '', 'base64').toString());

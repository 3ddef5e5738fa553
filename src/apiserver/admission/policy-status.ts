import { type ValidatingAdmissionPolicy, validatingAdmissionPolicies } from '../../api/admissionregistration/v1/admission-policy.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { createWorkLoop } from '../../base/work-loop.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import { followObjects } from '../registry/follow.ts';
import type { Registry } from '../registry/registry.ts';
import type { Writer } from '../registry/writes.ts';
import { apiServerUser } from '../user.ts';
import { type TypeCheckOptions, typeWarnings } from './policy-types.ts';

export interface PolicyStatusOptions extends TypeCheckOptions {
  readonly registry: Registry;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly log: Log;
}

const policies = validatingAdmissionPolicies as KindDefinition;
const manager = 'validatingadmissionpolicy-status';
const request = {
  kind: policies,
  user: apiServerUser,
  userAgent: manager,
  fieldManager: manager,
  subresource: 'status',
  force: true,
} as const;

/**
 * Writes type errors of each ValidatingAdmissionPolicy's expressions to its status, once for each generation. Kinds
 * that appear later are not checked, as upstream.
 */
export function startPolicyStatus({ registry, writer, clock, log, ...types }: PolicyStatusOptions): { stop(): void } {
  const queue = createWorkLoop({
    clock,
    work: reconcile,
    onFailure: (name, err) => log.warn({ err, validatingAdmissionPolicy: name }, 'Could not write the status of policy'),
  });

  async function reconcile(name: string): Promise<void> {
    // Deferred, so that it does not run within the commit that notified us.
    await Promise.resolve();
    const policy = registry.get(policies, name) as ValidatingAdmissionPolicy | undefined;
    const { generation = 0, deletionTimestamp } = policy?.metadata ?? {};
    if (policy === undefined || deletionTimestamp !== undefined || generation <= (policy.status?.observedGeneration ?? 0)) return;
    const expressionWarnings = await typeWarnings(policy, types);
    const typeChecking = expressionWarnings.length === 0 ? {} : { expressionWarnings };
    const patch = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: policies.kind,
      metadata: { name },
      status: { observedGeneration: generation, typeChecking },
    };
    try {
      await writer.apply(request, { name }, { part: 'status', patch });
    } catch (err) {
      // It is gone, or another server was faster.
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }

  const leave = followObjects(registry, policies, ({ metadata }, gone) => {
    if (!gone) queue.add(metadata.name);
  });
  return {
    stop() {
      leave();
      queue.close();
    },
  };
}

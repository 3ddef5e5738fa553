import { horizontalPodAutoscalers } from '../../api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { deepEqual, keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { createScaleTargets } from '../scale-targets.ts';
import { createAutoscalerMetrics } from './autoscaler-metrics.ts';
import { type AutoscalingParts, type AutoscalingPass, scaleOnce } from './autoscaling-pass.ts';
import { createMetricsClient, type RawReader } from './metrics-client.ts';
import { emptyMemory, type ScalingMemory } from './scaling-pace.ts';
import { createSelectorBook } from './selector-book.ts';

/** Upstream's `--horizontal-pod-autoscaler-sync-period`. */
const syncPeriodMs = 15_000;

export interface AutoscalerDependencies extends ControllerDependencies {
  /** Reads the metrics APIs through the API server, which passes them on. */
  readonly rawReader: RawReader;
}

/**
 * Sets the replicas of what autoscalers name, by their metrics, every 15 s.
 *
 * A pass: read the scale, ask the metrics, take the highest proposal, slow it down, write the scale, write the status. A pass that fails
 * is not retried sooner: the next one comes in 15 s.
 */
export function createHorizontalPodAutoscalerController(dependencies: AutoscalerDependencies): Controller {
  const { client, informers, clock } = dependencies;
  const autoscalers = informers.get(horizontalPodAutoscalers);
  const parts: AutoscalingParts = {
    ...dependencies,
    podInformer: informers.get(pods),
    targets: createScaleTargets({ client, clock }),
    metricsClient: createMetricsClient(dependencies.rawReader),
    metrics: createAutoscalerMetrics(dependencies.metrics.registry),
    selectors: createSelectorBook(),
  };
  const memories = new Map<string, ScalingMemory>();

  const controller = createInformedController(dependencies, { name: 'horizontalpodautoscaler', reconcile });
  autoscalers.addHandler(({ before, after }) => {
    if (after === undefined) {
      if (before === undefined) return;
      memories.delete(keyOf(before));
      parts.selectors.forget(keyOf(before));
    } else if (before === undefined || before.spec !== after.spec) controller.enqueue(keyOf(after));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const autoscaler = autoscalers.getByKey(key);
    if (autoscaler === undefined) return undefined;
    const startedAt = clock.monotonicMs();
    const memory = memories.get(key) ?? emptyMemory();
    memories.set(key, memory);
    let stored = { ...autoscaler, status: autoscaler.status ?? { desiredReplicas: 0 } };
    const writeStatus = async (): Promise<void> => {
      if (deepEqual(stored.status, pass.status)) return;
      const written = await client.update(horizontalPodAutoscalers, { ...stored, status: pass.status }, { subresource: 'status', signal });
      stored = { ...written, status: pass.status };
    };
    const { status } = stored;
    const pass: AutoscalingPass = { parts, autoscaler, key, memory, signal, writeStatus, status, action: 'none', failed: false };
    try {
      await scaleOnce(pass);
      await writeStatus();
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    } finally {
      parts.metrics.reconciled({ action: pass.action, failed: pass.failed, durationMs: clock.monotonicMs() - startedAt });
    }
    return { requeueAfterMs: syncPeriodMs };
  }
}

import type { Metrics } from '../../base/metrics.ts';
import type { BoundHistogram } from '../../base/series.ts';
import type { AdmissionPhase, AdmissionStep, Operation } from './admission.ts';

/** The `apiserver_admission_*` families, under their names and labels upstream. */
export interface AdmissionMetrics {
  /** A step let a write pass. Each write calls this for each step, so that the parameters are positional. */
  passed(step: AdmissionStep, operation: Operation, startedAtMs: number): void;
  /** A step refused a write. */
  refused(step: AdmissionStep, operation: Operation, startedAtMs: number): void;
  /** A webhook was called, or should have been. */
  called(call: WebhookCall): void;
  nowMs(): number;
}

export interface WebhookCall {
  readonly webhook: string;
  readonly mutating: boolean;
  readonly operation: Operation;
  readonly startedAtMs: number;
  readonly outcome:
    | { readonly type: 'allowed' }
    | { readonly type: 'denied'; readonly code: number }
    /** `ignored`: the write went on, because the webhook's `failurePolicy` says so. */
    | { readonly type: 'failed'; readonly ignored: boolean };
}

const controllerBuckets = [0.005, 0.025, 0.1, 0.5, 1, 2.5];
const webhookBuckets = [...controllerBuckets, 10, 25];
/** Webhooks with series of their own; those that come later share the empty name, since users choose names. */
const maxWebhookNames = 200;

export function createAdmissionMetrics(metrics: Metrics, clock: { monotonicMs(): number }): AdmissionMetrics {
  const labelNames = ['name', 'operation', 'type', 'rejected'] as const;
  const controllers = metrics.histogram({
    name: 'apiserver_admission_controller_admission_duration_seconds',
    help: 'Time an admission step took, by its name.',
    labelNames,
    buckets: controllerBuckets,
  });
  const webhooks = metrics.histogram({
    name: 'apiserver_admission_webhook_admission_duration_seconds',
    help: 'Time an admission webhook took, by its name.',
    labelNames,
    buckets: webhookBuckets,
  });
  const requests = metrics.counter({
    name: 'apiserver_admission_webhook_request_total',
    help: 'Calls of admission webhooks, by their outcome.',
    labelNames: ['name', 'type', 'operation', 'code', 'rejected'],
  });
  const rejections = metrics.counter({
    name: 'apiserver_admission_webhook_rejection_count',
    help: 'Writes refused because of an admission webhook.',
    labelNames: ['name', 'type', 'operation', 'error_type', 'rejection_code'],
  });
  const openings = metrics.counter({
    name: 'apiserver_admission_webhook_fail_open_count',
    help: 'Failed calls of admission webhooks that were ignored.',
    labelNames: ['name', 'type'],
  });
  const bound = new WeakMap<AdmissionStep, Map<Operation, { readonly passed: BoundHistogram; readonly refused: BoundHistogram }>>();
  const webhookNames = new Set<string>();

  function seriesOf(step: AdmissionStep, operation: Operation) {
    let ofStep = bound.get(step);
    if (ofStep === undefined) {
      ofStep = new Map();
      bound.set(step, ofStep);
    }
    let found = ofStep.get(operation);
    if (found === undefined) {
      const labels = { name: step.name, operation: operation.toUpperCase(), type: typeOf(step.phase) };
      found = {
        passed: controllers.labels({ ...labels, rejected: 'false' }),
        refused: controllers.labels({ ...labels, rejected: 'true' }),
      };
      ofStep.set(operation, found);
    }
    return found;
  }

  function nameOf(webhook: string): string {
    if (webhookNames.has(webhook)) return webhook;
    if (webhookNames.size >= maxWebhookNames) return '';
    webhookNames.add(webhook);
    return webhook;
  }

  const secondsSince = (startedAtMs: number): number => (clock.monotonicMs() - startedAtMs) / 1_000;

  return {
    nowMs: () => clock.monotonicMs(),
    passed: (step, operation, startedAtMs) => seriesOf(step, operation).passed.observe(secondsSince(startedAtMs)),
    refused: (step, operation, startedAtMs) => seriesOf(step, operation).refused.observe(secondsSince(startedAtMs)),
    called({ webhook, mutating, operation: method, startedAtMs, outcome }) {
      const name = nameOf(webhook);
      const operation = method.toUpperCase();
      const type = mutating ? 'admit' : 'validating';
      const isRejected = outcome.type === 'denied' || (outcome.type === 'failed' && !outcome.ignored);
      const rejected = String(isRejected);
      const code = codeOf(outcome);
      webhooks.observe({ name, operation, type, rejected }, secondsSince(startedAtMs));
      requests.inc({ name, type, operation, code, rejected });
      if (outcome.type === 'failed' && outcome.ignored) openings.inc({ name, type });
      if (!isRejected) return;
      const errorType = outcome.type === 'denied' ? 'no_error' : 'calling_webhook_error';
      rejections.inc({ name, type, operation, error_type: errorType, rejection_code: code });
    },
  };
}

const typeOf = (phase: AdmissionPhase | undefined): 'admit' | 'validate' => (phase === 'validating' ? 'validate' : 'admit');

function codeOf(outcome: WebhookCall['outcome']): string {
  switch (outcome.type) {
    case 'allowed':
      return '200';
    case 'denied':
      return String(outcome.code);
    case 'failed':
      return '503';
    default:
      return outcome satisfies never;
  }
}

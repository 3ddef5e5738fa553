import type { Rule } from '../../api/admissionregistration/v1/match-rules.ts';
import {
  mutatingWebhookConfigurations,
  validatingWebhookConfigurations,
  type Webhook,
  type WebhookConfiguration,
} from '../../api/admissionregistration/v1/webhook-configuration.ts';
import type { Log } from '../../base/log.ts';
import { applyJsonPatch } from '../../machinery/json-patch.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { badRequest, forbidden, internalError, type Status, StatusError } from '../../machinery/status-error.ts';
import type { BodyDecoder } from '../registry/decoding.ts';
import type { Registry } from '../registry/registry.ts';
import { isApiServer } from '../user.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import type { AdmissionMetrics, WebhookCall } from './admission-metrics.ts';
import { reviewOf, reviewRequestOf, withoutSystemFields } from './admission-review.ts';
import { bodyIsOther, changedObject } from './changed-object.ts';
import { deriveFromAll, memoize } from './derive-from-all.ts';
import { type Criteria, isAdmissionConfiguration, type Match, type Matcher } from './match.ts';
import type { MatchConditions } from './match-conditions.ts';
import type { WebhookClient } from './webhook-client.ts';

export interface WebhookOptions {
  readonly registry: Pick<Registry, 'stateOf' | 'revision'>;
  readonly matcher: Matcher;
  readonly conditions: MatchConditions;
  readonly client: WebhookClient;
  readonly decoder: BodyDecoder;
  readonly newUid: () => string;
  readonly metrics: AdmissionMetrics | undefined;
  readonly log: Log;
}

/** A webhook with what is made of it once. */
interface Hook {
  readonly webhook: Webhook;
  readonly criteria: Criteria;
}

/** Answer of a webhook that did not refuse. */
interface Verdict {
  readonly patch: unknown;
}

/**
 * Calls the mutating webhooks one after the other, in the order of their configurations' names. After a change the
 * server's own steps run once more, and then the webhooks with `reinvocationPolicy: IfNeeded`. Writes of the server
 * itself skip webhooks. An unreachable webhook must neither keep the server from starting nor keep old Events from
 * expiring.
 *
 * @see Kubernetes reference, "Dynamic Admission Control"
 */
export function mutatingWebhooks(options: WebhookOptions): AdmissionStep {
  const hooks = hooksIn(options, mutatingWebhookConfigurations);

  async function admit(
    request: AdmissionRequest,
    called: readonly Hook[],
    again: (object: KubeObject) => Promise<KubeObject>,
  ): Promise<KubeObject> {
    let current = request;
    const seen = new Map<Hook, KubeObject>();
    for (const hook of called) {
      const object = await call(current, hook);
      if (object === undefined) continue;
      if (object !== current.object) current = { ...current, object };
      seen.set(hook, object);
    }
    if (current.object === request.object) return request.object;
    current = { ...current, object: await again(current.object) };
    for (const [hook, object] of seen) {
      if (hook.webhook.reinvocationPolicy !== 'IfNeeded' || object === current.object) continue;
      const changed = await call(current, hook);
      if (changed !== undefined && changed !== current.object) current = { ...current, object: changed };
    }
    return current.object;
  }

  /** The object as the webhook leaves it; undefined when it was not asked. */
  async function call(request: AdmissionRequest, hook: Hook): Promise<KubeObject | undefined> {
    const match = await matchOf(options, hook, request);
    if (match === undefined) return undefined;
    const shown =
      request.operation === 'create' && request.subresource === ''
        ? { ...match, object: withoutSystemFields(match.object, request.isGenerated) }
        : match;
    const verdict = await ask(options, { hook, match: shown, mutating: true }, request);
    if (verdict?.patch === undefined) return request.object;
    return patchedObject(options, { hook, match: shown, patch: verdict.patch }, request);
  }

  return {
    name: 'MutatingAdmissionWebhook',
    subresources: 'all',
    isIdle: () => hooks().length === 0,
    appliesTo: (kind) => !isAdmissionConfiguration(kind),
    admit: (request, again) => (isApiServer(request.user) ? request.object : admit(request, hooks(), again)),
  };
}

/** Calls the validating webhooks, all at once. If several refuse, the client gets the refusal of the first by name. */
export function validatingWebhooks(options: WebhookOptions): AdmissionStep {
  const hooks = hooksIn(options, validatingWebhookConfigurations);

  async function check(request: AdmissionRequest, called: readonly Hook[]): Promise<KubeObject> {
    const asked = called.map(async (hook) => {
      const match = await matchOf(options, hook, request);
      if (match !== undefined) await ask(options, { hook, match, mutating: false }, request);
    });
    for (const outcome of await Promise.allSettled(asked)) if (outcome.status === 'rejected') throw outcome.reason;
    return request.object;
  }

  return {
    name: 'ValidatingAdmissionWebhook',
    phase: 'validating',
    subresources: 'all',
    isIdle: () => hooks().length === 0,
    appliesTo: (kind) => !isAdmissionConfiguration(kind),
    admit: (request) => (isApiServer(request.user) ? request.object : check(request, hooks())),
  };
}

function hooksIn({ registry, log }: WebhookOptions, kind: KindDefinition<WebhookConfiguration>): () => readonly Hook[] {
  return memoize(deriveFromAll({ registry, kind, make: hooksOf, log }), (hooks) => hooks.flat());
}

const hooksOf = ({ webhooks = [] }: WebhookConfiguration): readonly Hook[] =>
  webhooks.map((webhook) => {
    const { rules = [], namespaceSelector, objectSelector, matchPolicy } = webhook;
    return {
      webhook,
      criteria: {
        rules: rules as readonly Rule[],
        ...(namespaceSelector === undefined ? {} : { namespaceSelector }),
        ...(objectSelector === undefined ? {} : { objectSelector }),
        ...(matchPolicy === undefined ? {} : { matchPolicy }),
      },
    };
  });

const failsClosed = ({ failurePolicy }: Webhook): boolean => failurePolicy !== 'Ignore';

async function matchOf(
  { matcher, conditions }: WebhookOptions,
  { webhook, criteria }: Hook,
  request: AdmissionRequest,
): Promise<Match | undefined> {
  const match = matcher.match(criteria, request);
  if (match === undefined || webhook.matchConditions === undefined || webhook.matchConditions.length === 0) return match;
  const result = conditions.evaluate(webhook.matchConditions, request, match);
  if (result.error === undefined) return result.matches ? match : undefined;
  // The failure policy decides when a condition cannot be evaluated.
  if (!failsClosed(webhook)) return undefined;
  throw forbidden(request.kind, request.name, result.error);
}

interface Question {
  readonly hook: Hook;
  readonly match: Match;
  readonly mutating: boolean;
}

const callFailed = ({ name }: Webhook, why: string): string => `failed calling webhook ${JSON.stringify(name)}: ${why}`;

/**
 * @throws StatusError what the webhook says when it refuses; `InternalError` when it cannot be asked, unless its failures are ignored
 */
async function ask(
  { client, newUid, metrics, log }: WebhookOptions,
  { hook: { webhook }, match, mutating }: Question,
  request: AdmissionRequest,
): Promise<Verdict | undefined> {
  if (request.dryRun && webhook.sideEffects !== 'None' && webhook.sideEffects !== 'NoneOnDryRun') {
    throw badRequest(`admission webhook ${JSON.stringify(webhook.name)} does not support dry run`);
  }
  const startedAtMs = metrics?.nowMs() ?? 0;
  const settle = (outcome: WebhookCall['outcome']): void =>
    metrics?.called({ webhook: webhook.name, mutating, operation: request.operation, startedAtMs, outcome });
  const uid = newUid();
  let response: ReviewResponse;
  try {
    const text = await post(client.post(webhook, reviewOf(reviewRequestOf(request, match, uid)), request.signal));
    response = readResponse(text, uid, mutating);
  } catch (err) {
    const message = callFailed(webhook, err instanceof Error ? err.message : String(err));
    // A client that went away says nothing of the webhook.
    if (request.signal?.aborted !== true) settle({ type: 'failed', ignored: !failsClosed(webhook) });
    if (failsClosed(webhook)) throw internalError(message, err);
    log.warn({ webhook: webhook.name, err }, 'Could not call webhook, whose failures are ignored');
    return undefined;
  }
  for (const warning of response.warnings) request.warn(warning);
  for (const [key, value] of Object.entries(response.auditAnnotations)) request.annotate(`${webhook.name}/${key}`, value);
  if (!response.allowed) {
    const error = denial(webhook, response.status);
    settle({ type: 'denied', code: error.code });
    throw error;
  }
  settle({ type: 'allowed' });
  return { patch: response.patch };
}

async function post(answer: Promise<string>): Promise<string> {
  try {
    return await answer;
  } catch (err) {
    throw new Error(`failed to call webhook: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
}

interface ReviewResponse {
  readonly allowed: boolean;
  readonly status: Partial<Status> | undefined;
  readonly patch: unknown;
  readonly warnings: readonly string[];
  readonly auditAnnotations: Readonly<Record<string, string>>;
}

const reviewType = 'admission.k8s.io/v1, Kind=AdmissionReview';
const maxWarnings = 100;
const maxAnnotations = 100;

/** @throws Error for an answer that is not to this question, or says what it must not */
function readResponse(text: string, uid: string, mutating: boolean): ReviewResponse {
  const refuse = (why: string): Error => new Error(`received invalid webhook response: ${why}`);
  let review: unknown;
  try {
    review = JSON.parse(text);
  } catch (cause) {
    throw new Error(`failed to call webhook: couldn't get version/kind; json parse error: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(review)) throw refuse('webhook response was absent');
  const { apiVersion, kind, response } = review;
  if (!isObject(response)) throw refuse('webhook response was absent');
  if (response.uid !== uid) throw refuse(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response.uid ?? '')}`);
  if (apiVersion !== 'admission.k8s.io/v1' || kind !== 'AdmissionReview') {
    throw refuse(`expected webhook response of ${reviewType}, got ${shownType(apiVersion, kind)}`);
  }
  const { patch, patchType } = response;
  const hasPatch = typeof patch === 'string' && patch !== '';
  const hasType = patchType !== undefined && patchType !== null;
  if (!mutating && hasPatch) throw refuse('validating webhook may not return response.patch');
  if (!mutating && hasType) throw refuse('validating webhook may not return response.patchType');
  if (hasPatch && !hasType) throw refuse('webhook returned response.patch but not response.patchType');
  if (!hasPatch && hasType) throw refuse('webhook returned response.patchType but not response.patch');
  if (patchType === '') throw refuse('webhook returned invalid response.patchType of ""');
  if (hasPatch && patchType !== 'JSONPatch') throw new Error(`unsupported patch type ${JSON.stringify(patchType)}`);
  return {
    allowed: response.allowed === true,
    status: isObject(response.status) ? (response.status as Partial<Status>) : undefined,
    patch: hasPatch ? readPatch(patch) : undefined,
    warnings: stringsIn(response.warnings).slice(0, maxWarnings),
    auditAnnotations: Object.fromEntries(
      Object.entries(isObject(response.auditAnnotations) ? response.auditAnnotations : {})
        .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
        .slice(0, maxAnnotations),
    ),
  };
}

function readPatch(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
  } catch (cause) {
    throw new Error('received invalid webhook response: the patch is not JSON', { cause });
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const stringsIn = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];

const shownType = (apiVersion: unknown, kind: unknown): string => {
  const version = typeof apiVersion === 'string' ? apiVersion : '';
  return `${version.includes('/') ? version : `/${version}`}, Kind=${typeof kind === 'string' ? kind : ''}`;
};

/** A refusal is an error, whatever code the webhook gives it. */
function denial({ name }: Webhook, status: Partial<Status> | undefined): StatusError {
  const by = `admission webhook ${JSON.stringify(name)} denied the request`;
  const given = typeof status?.message === 'string' ? status.message : '';
  const reason = typeof status?.reason === 'string' ? status.reason : '';
  const why = given !== '' ? given : reason;
  const code =
    typeof status?.code === 'number' && Number.isInteger(status.code) && status.code >= 400 && status.code <= 599 ? status.code : 400;
  return new StatusError({
    code,
    reason: reason as StatusError['reason'],
    message: why === '' ? `${by} without explanation` : `${by}: ${why}`,
    ...(isObject(status?.details) ? { details: status.details as NonNullable<Status['details']> } : {}),
  });
}

/** The object with a webhook's patch. Patches of deletions have nothing to change. */
function patchedObject(
  options: WebhookOptions,
  { hook: { webhook }, match, patch }: Pick<Question, 'hook' | 'match'> & { readonly patch: unknown },
  request: AdmissionRequest,
): KubeObject {
  const { kind, operation, subresource } = request;
  if (operation === 'delete') return request.object;
  let patched: KubeObject;
  try {
    patched = applyJsonPatch(match.object, patch) as KubeObject;
  } catch (err) {
    const { cause } = err as Error;
    throw internalError(cause instanceof Error ? cause.message : (err as Error).message, err);
  }
  if (!isObject(patched) || !isObject(patched.metadata)) throw internalError(callFailed(webhook, 'the patch leaves no object'));
  if (operation === 'connect' || bodyIsOther(kind, subresource)) return patched;
  return changedObject(options.decoder, request, { match, changed: patched });
}

import type { IncomingMessage } from 'node:http';
import { secrets } from '../../api/core/v1/secret.ts';
import { parseDuration } from '../../api/flux.ts';
import { kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import type { CrossNamespaceReference } from '../../api/notification/cross-namespace-reference.ts';
import { type Receiver, receivers } from '../../api/notification/v1/receiver.ts';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations } from '../../api/well-known.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Metrics } from '../../base/metrics.ts';
import { tryGet } from '../../client/try-get.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { deepEqual, type KubeObject, keyOf, type ObjectRef, refOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { createController } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { watchValues } from '../../reconcile/watched-values.ts';
import { isSame, supportedReceiverTypes, verifierOf, webhookPathOf } from './verification.ts';

export interface WebhooksOptions extends Omit<ControllerDependencies, 'recorder'> {
  /** Registry of `/metrics/gitops`. */
  readonly gitopsMetrics: Metrics;
}

export interface Webhooks extends Component {
  readonly mount: HttpMount;
}

/** GitHub cuts a payload at 25 MB. It is read to verify its signature and not kept. */
const maxBodyBytes = 25 * 1024 * 1024;
const bodyTimeoutMs = 30_000;
/** Requests that are read at the same time. */
const maxRequests = 32;
/** A Receiver acts once in this time: what comes in between is answered by one act at its end. */
const paceMs = 1_000;
const byPath = 'webhook-path';
const defaultIntervalMs = 10 * 60_000;
const minIntervalMs = 1_000;
/** Meaning of an answer's code, for the metric; other codes are `refused`, too. */
const results: Readonly<Record<number, string>> = { 200: 'accepted', 400: 'refused', 404: 'not_found', 500: 'failed', 503: 'unavailable' };

/**
 * Receivers: a Git host announces a push, and the GitRepositories that its Receiver names are read at once. The answer is
 * 200 when the request is accepted, 400 when its Receiver expects another, and 404 for an unknown path. None says why.
 */
export function createWebhooks(options: WebhooksOptions): Webhooks {
  const { client, informers, clock, log, metrics, gitopsMetrics } = options;
  const known = informers.get(receivers);
  known.addIndex(byPath, pathIndex);
  /** When a Receiver acted last, and the act that waits for its time. */
  const acts = new Map<string, { at: number; cancel?: () => void }>();
  let reading = 0;
  const requests = gitopsMetrics.counter({
    name: 'gitops_webhook_requests_total',
    help: 'Requests to Receivers by their type, unknown for those to no Receiver, and by what became of them.',
    labelNames: ['provider', 'result'],
  });
  for (const provider of [...supportedReceiverTypes, 'unknown']) {
    for (const result of Object.values(results)) requests.inc({ provider, result }, 0);
  }

  const controller = createController({
    name: 'receiver',
    clock,
    log,
    reconcile,
    waitForSync: ({ signal }) => untilAborted(known.whenSynced, signal),
    observer: metrics.observerOf('receiver'),
  });
  return {
    name: 'webhooks',
    async start({ signal }) {
      followReceivers();
      await controller.start({ signal });
    },
    async stop() {
      for (const { cancel } of acts.values()) cancel?.();
      acts.clear();
      await controller.stop();
    },
    mount: {
      prefix: '/hook/',
      // Git hosts reach this port by whatever name leads to it; what they must know is in the path and in the signature.
      acceptsAnyHost: true,
      async handle(request, response) {
        let provider = 'unknown';
        const status =
          reading >= maxRequests
            ? 503
            : await answer(request, (type) => {
                provider = type;
              });
        requests.inc({ provider, result: results[status] ?? 'refused' });
        response.writeHead(status, { Connection: 'close' }).end();
      },
    },
  };

  function followReceivers(): void {
    known.addHandler(({ before, after }) => {
      const object = after ?? before;
      if (object !== undefined && (before === undefined || after === undefined || isNews(before, after))) controller.enqueue(keyOf(object));
    });

    watchValues({
      owners: known,
      informers,
      refsOf: ({ spec }) => (spec === undefined ? [] : [{ kind: 'Secret', name: spec.secretRef.name }]),
      onChange: (receiver) => controller.enqueue(keyOf(receiver)),
    });
  }

  /** @param onFound  gets the type of the Receiver that is meant, once its path was found to be right */
  async function answer(request: IncomingMessage, onFound: (type: string) => void): Promise<number> {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const [receiver] = request.method === 'POST' ? known.byIndex(byPath, path) : [];
    const spec = receiver?.spec;
    if (receiver === undefined || spec === undefined) return 404;
    const key = keyOf(receiver);
    const token = await tokenOf(receiver);
    // The status may be behind a token that was changed.
    if (token === undefined || token === '' || !isSame(path, webhookPathOf(token, receiver))) return 404;
    onFound(spec.type);
    if (spec.suspend === true || findUnsupported(receiver) !== undefined) return 503;
    const verifier = verifierOf(spec.type, token, request.headers);
    if (verifier === undefined) return 503;
    reading += 1;
    try {
      const tooLarge = await readBody(request, clock, (chunk) => verifier.update(chunk));
      if (tooLarge !== undefined) return tooLarge;
    } finally {
      reading -= 1;
    }
    const { events = [] } = spec;
    const refusal =
      verifier.finish() ??
      (verifier.event !== undefined && events.length > 0 && !events.some((name) => name.toLowerCase() === verifier.event?.toLowerCase())
        ? `event ${JSON.stringify(verifier.event.slice(0, 100))} is not one of spec.events`
        : undefined);
    if (refusal !== undefined) {
      log.warn({ receiver: key, reason: refusal }, 'Refused webhook request');
      return 400;
    }
    log.debug({ receiver: key, event: verifier.event }, 'Accepted webhook request');
    // A delivery that is sent again counts: a person redelivers it, or a branch went back and forth. A look at the
    // repository changes nothing by itself, and the pace bounds what a recorded request can cause.
    return act(key);
  }

  /** Acts now, or once the time since the last act is over. */
  async function act(key: string): Promise<number> {
    const last = acts.get(key);
    if (last?.cancel !== undefined) return 200;
    const now = clock.monotonicMs();
    const waitMs = last === undefined ? 0 : last.at + paceMs - now;
    if (waitMs > 0) {
      const cancel = clock.after(waitMs, () => {
        acts.set(key, { at: clock.monotonicMs() });
        const receiver = known.getByKey(key);
        if (receiver !== undefined) void request(receiver);
      });
      acts.set(key, { at: last?.at ?? now, cancel });
      return 200;
    }
    acts.set(key, { at: now });
    const receiver = known.getByKey(key);
    return receiver === undefined || (await request(receiver)) ? 200 : 500;
  }

  /** Annotates the objects; false when that failed for one of them. */
  async function request(receiver: Receiver): Promise<boolean> {
    const body = { metadata: { annotations: { [annotations.reconcileRequestedAt]: new Date(clock.now()).toISOString() } } };
    const write = { fieldManager: 'midship-webhook' };
    let isDone = true;
    for (const resource of receiver.spec?.resources ?? []) {
      if (resource.name === '*' && resource.matchLabels === undefined) {
        // As with Flux: all objects of a namespace are meant by nobody who forgot to say which.
        isDone = false;
        log.warn({ receiver: keyOf(receiver), kind: resource.kind }, 'Could not request a look: name * needs matchLabels');
        continue;
      }
      for (const ref of refsOf(resource, receiver)) {
        try {
          if (resource.kind === 'Kustomization') await client.patch(kustomizations, ref, { type: 'merge', body }, write);
          else await client.patch(gitRepositories, ref, { type: 'merge', body }, write);
        } catch (err) {
          isDone = false;
          log.warn({ receiver: keyOf(receiver), object: `${resource.kind} ${ref.namespace}/${ref.name}`, err }, 'Could not request a look');
        }
      }
    }
    return isDone;
  }

  function refsOf({ kind, name, namespace, matchLabels = {} }: CrossNamespaceReference, receiver: Receiver): readonly ObjectRef[] {
    const space = namespace ?? receiver.metadata.namespace ?? '';
    if (name !== '*') return [{ namespace: space, name }];
    const objects: readonly KubeObject[] =
      kind === 'Kustomization' ? [...informers.get(kustomizations).list()] : [...informers.get(gitRepositories).list()];
    return objects
      .filter(
        ({ metadata }) =>
          metadata.namespace === space && Object.entries(matchLabels).every(([label, value]) => metadata.labels?.[label] === value),
      )
      .map(({ metadata }) => ({ namespace: space, name: metadata.name }));
  }

  async function tokenOf({ metadata, spec }: Receiver): Promise<string | undefined> {
    if (spec === undefined) return undefined;
    const secret = await tryGet(client, secrets, { namespace: metadata.namespace, name: spec.secretRef.name });
    return secret?.data?.token === undefined ? undefined : Buffer.from(secret.data.token, 'base64').toString('utf8');
  }

  /** The status of one Receiver: its path, and whether requests to it are taken. */
  async function reconcile(key: string) {
    const receiver = known.getByKey(key);
    if (receiver === undefined) {
      acts.get(key)?.cancel?.();
      acts.delete(key);
      return undefined;
    }
    const { metadata, spec, status } = receiver;
    if (spec?.suspend === true) return undefined;
    const token = await tokenOf(receiver);
    const unsupported = findUnsupported(receiver);
    const path = token === undefined || token === '' || unsupported !== undefined ? undefined : webhookPathOf(token, receiver);
    const secret = `secret '${metadata.namespace}/${spec?.secretRef.name}'`;
    const finding =
      unsupported !== undefined
        ? { reason: 'NotSupported', message: `not supported: ${unsupported}` }
        : path === undefined
          ? { reason: 'TokenNotFound', message: `${secret} does not have the key token` }
          : { reason: 'Succeeded', message: `Receiver initialized for path: ${path}` };
    const generation = metadata.generation ?? 0;
    const ready = {
      type: 'Ready',
      status: path === undefined ? ('False' as const) : ('True' as const),
      ...finding,
      observedGeneration: generation,
    };
    const others = (status?.conditions ?? []).filter(({ type }) => type !== 'Stalled');
    const now = timestampOf(clock.now());
    const stalled = { ...ready, type: 'Stalled', status: 'True' as const };
    const conditions = setCondition(unsupported === undefined ? others : setCondition(others, stalled, now), ready, now);
    const requestedAt = metadata.annotations?.[annotations.reconcileRequestedAt];
    const next = {
      conditions,
      observedGeneration: generation,
      webhookPath: path ?? null,
      ...(requestedAt === undefined ? {} : { lastHandledReconcileAt: requestedAt }),
    };
    if (!deepEqual({ ...status, webhookPath: status?.webhookPath ?? null }, { ...status, ...next })) {
      try {
        await client.patch(
          receivers,
          refOf(key),
          { type: 'merge', body: { status: next } },
          { subresource: 'status', fieldManager: 'midship' },
        );
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    }
    if (unsupported !== undefined) return undefined;
    const intervalMs = spec?.interval === undefined ? defaultIntervalMs : Math.max(minIntervalMs, parseDuration(spec.interval));
    return { requeueAfterMs: intervalMs };
  }
}

/** Another spec, or someone asks for a look. */
const isNews = (before: Receiver, after: Receiver): boolean =>
  before.metadata.generation !== after.metadata.generation ||
  before.metadata.annotations?.[annotations.reconcileRequestedAt] !== after.metadata.annotations?.[annotations.reconcileRequestedAt];

const pathIndex = ({ status }: Receiver): readonly string[] => (status?.webhookPath === undefined ? [] : [status.webhookPath]);

function findUnsupported({ spec }: Receiver): string | undefined {
  if (spec === undefined) return 'a Receiver without spec';
  if (!supportedReceiverTypes.includes(spec.type)) return `spec.type ${spec.type}`;
  if (spec.resourceFilter !== undefined) return 'spec.resourceFilter';
  const other = spec.resources.find(({ kind }) => kind !== 'GitRepository' && kind !== 'Kustomization');
  return other === undefined ? undefined : `${other.kind} in spec.resources`;
}

/** Reads a body to its end. The status to answer with when it is too large or too slow; what else comes of it is then not read. */
function readBody(request: IncomingMessage, clock: Clock, onChunk: (chunk: Uint8Array) => void): Promise<number | undefined> {
  return new Promise((resolve) => {
    let received = 0;
    const finish = (status: number | undefined): void => {
      cancel();
      request.pause();
      resolve(status);
    };
    const cancel = clock.after(bodyTimeoutMs, () => finish(408));
    request.on('data', (chunk: Buffer) => {
      received += chunk.byteLength;
      if (received > maxBodyBytes) finish(413);
      else onChunk(chunk);
    });
    request.on('end', () => finish(undefined));
    // The sender went away; there is nobody to tell.
    request.on('error', () => finish(408));
    request.on('close', () => finish(408));
  });
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Api, ApiRequest, Thing } from './api.ts';
import { type Call, colorOf, type History, type Item, isAnswered, type Outcome, resourceOf } from './history.ts';

export const resources = ['configmaps', 'secrets'] as const;
const kinds: Readonly<Record<string, string>> = { configmaps: 'ConfigMap', secrets: 'Secret' };
const keysOfEach = 4;
const colors = ['red', 'blue'];
export const keys = resources.flatMap((resource) => Array.from({ length: keysOfEach }, (_, n) => `${resource}/k${n}`));

/** The annotation with the value of a write. */
const valueAnnotation = 'fault/value';
const maxPauseMs = 30;
const failedPauseMs = 100;
/** Objects with and without a body, so that a full disk stops some and not others. */
const maxBodyChars = 4_000;

export interface TrafficOptions {
  readonly client: number;
  /** A client of each server. */
  readonly apis: readonly Api[];
  readonly random: () => number;
  readonly history: History;
  readonly isOver: () => boolean;
  readonly onAnswer: () => void;
}

export const pathOf = (resource: string, name = ''): string => `/api/v1/namespaces/default/${resource}${name === '' ? '' : `/${name}`}`;

export const itemOf = (resource: string, { metadata }: Thing): Item => ({
  key: `${resource}/${metadata.name}`,
  revision: Number(metadata.resourceVersion),
  value: metadata.annotations?.[valueAnnotation] ?? '',
});

/** A client: it reads, and writes what it has read, something older, or without having read. */
export async function runClient({ client, apis, random, history, isOver, onAnswer }: TrafficOptions): Promise<void> {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  /** Versions that this client has seen. */
  const seen = new Map<string, number>();
  for (let n = 0; !isOver(); n += 1) {
    const server = Math.floor(random() * apis.length);
    const api = apis[server] as Api;
    const key = pick(keys);
    const value = `${client}-${n}-${pick(colors)}`;
    const drawn = random();
    if (drawn < 0.12) await list({ api, client, server, random, history }, resourceOf(key), random() < 0.8);
    else {
      const verb = verbOf(drawn, random);
      // Often the newest version that it knows: others may have written since.
      const expected = verb === 'update' ? (seen.get(key) ?? 1) : verb === 'delete' && random() < 0.3 ? seen.get(key) : undefined;
      const body = 'x'.repeat(random() < 0.7 ? 0 : Math.floor(random() * maxBodyChars));
      const call = await send(api, { client, server, key, value, expected, verb, body });
      if (call.outcome.kind === 'ok' && call.outcome.revision !== undefined) seen.set(key, call.outcome.revision);
      history.append(call);
      if (!isAnswered(call)) await sleep(failedPauseMs);
      else onAnswer();
    }
    await sleep(random() * maxPauseMs);
  }
}

function verbOf(drawn: number, random: () => number): Call['verb'] {
  if (drawn < 0.4) return 'get';
  if (drawn < 0.68) return random() < 0.75 ? 'update' : 'patch';
  if (drawn < 0.85) return 'create';
  return random() < 0.3 ? 'apply' : 'delete';
}

interface CallOptions extends Pick<Call, 'client' | 'server' | 'key' | 'verb'> {
  readonly value: string;
  readonly expected: number | undefined;
  readonly body: string;
}

/** Sends one request and says what became of it. */
export async function send(api: Api, { client, server, key, value, expected, verb, body }: CallOptions): Promise<Call> {
  const start = performance.now();
  const outcome = await api.request(requestOf({ key, value, expected, verb, body })).then(
    (answer) => outcomeOf(verb, key, answer),
    (err: NodeJS.ErrnoException): Outcome => ({ kind: isUnsent(err) ? 'unsent' : 'unknown', why: err.message }),
  );
  const isWrite = verb !== 'get' && verb !== 'delete';
  return {
    ...{ type: 'call', client, server, verb, key, start, end: performance.now(), outcome },
    ...(isWrite ? { value } : {}),
    ...(expected === undefined ? {} : { expected }),
  };
}

/** A request leaves the client only after the handshake of TLS. */
const isUnsent = ({ code, message }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNREFUSED' || message.includes('before secure TLS connection was established');

function requestOf({ key, value, expected, verb, body }: Pick<CallOptions, 'key' | 'value' | 'expected' | 'verb' | 'body'>): ApiRequest {
  const resource = resourceOf(key);
  const name = key.slice(resource.length + 1);
  const path = pathOf(resource, name);
  const version = expected === undefined ? {} : { resourceVersion: String(expected) };
  const labels = { color: colorOf(value) };
  const annotations = { [valueAnnotation]: value };
  const data = { body: Buffer.from(body).toString('base64') };
  const metadata = { name, labels, annotations };
  const object = { apiVersion: 'v1', kind: kinds[resource], metadata: { ...metadata, ...version }, data };
  switch (verb) {
    case 'get':
      return { method: 'GET', path };
    case 'create':
      return { method: 'POST', path: pathOf(resource), body: object };
    case 'update':
      return { method: 'PUT', path, body: object };
    case 'patch':
      return { method: 'PATCH', path, body: { metadata: { labels, annotations } }, contentType: 'application/merge-patch+json' };
    case 'apply':
      return { method: 'PATCH', path: `${path}?fieldManager=fault&force=true`, body: object, contentType: 'application/apply-patch+yaml' };
    case 'delete':
      return { method: 'DELETE', path, ...(expected === undefined ? {} : { body: { preconditions: version } }) };
    default:
      return verb satisfies never;
  }
}

function outcomeOf(verb: Call['verb'], key: string, { code, body }: Answer): Outcome {
  const thing = body as Thing & { readonly reason?: string };
  if (code === 200 || code === 201) {
    if (verb === 'delete') return { kind: 'ok' };
    const { revision, value } = itemOf(resourceOf(key), thing);
    return { kind: 'ok', revision, value };
  }
  const why = `${code} ${thing.message ?? ''}`;
  if (code === 404) return { kind: 'absent' };
  if (code === 409) return { kind: thing.reason === 'AlreadyExists' ? 'exists' : 'conflict' };
  // Its disk is full, or it is not its turn: nothing was begun.
  if (code === 507 || (code >= 400 && code < 500)) return { kind: 'refused', why };
  return { kind: 'unknown', why };
}

/** Reads all objects of a resource, in one answer or in pages; one that is not answered as a whole says nothing. */
export async function list(
  {
    api,
    client,
    server,
    random,
    history,
  }: Pick<TrafficOptions, 'client' | 'random' | 'history'> & { readonly api: Api; readonly server: number },
  resource: string,
  isConsistent: boolean,
): Promise<{ readonly revision: number; readonly items: readonly Item[] } | undefined> {
  const start = performance.now();
  const limit = random() < 0.4 ? '&limit=2' : '';
  const items: Item[] = [];
  let revision = 0;
  for (let next = isConsistent ? '' : '&resourceVersion=0'; ; ) {
    const answer = await api.request({ method: 'GET', path: `${pathOf(resource)}?${limit}${next}` }).catch(() => undefined);
    if (answer?.code !== 200) return undefined;
    const { metadata, items: found } = answer.body as ListAnswer;
    revision = Number(metadata.resourceVersion);
    // Others of the namespace, as the certificates of the cluster, are no part of the history.
    items.push(...found.map((thing) => itemOf(resource, thing)).filter(({ value }) => value !== ''));
    if (metadata.continue === undefined || metadata.continue === '') break;
    next = `&continue=${encodeURIComponent(metadata.continue)}`;
  }
  history.append({ type: 'list', client, server, resource, isConsistent, start, end: performance.now(), revision, items });
  return { revision, items };
}

interface ListAnswer {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly Thing[];
}

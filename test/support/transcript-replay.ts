import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { protobufType } from '../../src/apiserver/http/content-negotiation.ts';
import { decodeAnswer } from '../../src/apiserver/http/protobuf/decode.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import type { StoredEntry } from '../../src/storage/storage.ts';
import { admin } from './api.ts';
import { adminToken, startTestApiServer, type TestApiServer } from './api-server.ts';
import { decodeWatchEvent, encodeObject } from './protobuf.ts';
import { type Exchange, isObject, type Json, objectInProtobuf, type Transcript } from './transcript.ts';
import { type Answer, differencesOf } from './transcript-comparison.ts';
import { startRecordedExtension } from './transcript-extension.ts';
import { hiddenActs } from './transcript-hidden.ts';
import { metadataOf, type ObjectIndex, objectsIn, textOf } from './transcript-objects.ts';
import { appliedToNothing, suiteActs } from './transcript-suites.ts';
import { Translation } from './transcript-translation.ts';
import { createRecordedWebhooks } from './transcript-webhooks.ts';
import { kindOf, targetOf, transcriptKinds, World } from './transcript-world.ts';
import { until } from './until.ts';

export interface Outcome {
  readonly transcript: Transcript;
  readonly exchange: Exchange;
  /** Empty when the answers agree. */
  readonly differences: readonly string[];
}

/** Address of the recorded cluster. */
const recordedServiceCidr = '10.96.0.0/16';

/** User of most requests. */
const recordedAdministrator = { 'impersonate-user': 'admin', 'impersonate-uid': 'u-admin', 'impersonate-group': 'system:masters' };

const serverOptions = { kinds: transcriptKinds, serviceCidr: recordedServiceCidr };

let startedObjects: Promise<readonly StoredEntry[]> | undefined;

/** The objects of a fresh cluster. They are made once, because a start that finds them takes a third of the time. */
async function makeStartedObjects(): Promise<readonly StoredEntry[]> {
  const storage = await openMemoryStorage();
  const cluster = await startTestApiServer({ storage, ...serverOptions });
  const { entries } = await storage.range({ prefix: '' });
  await cluster.stop();
  return entries;
}

/** A handshake for each request would take more time than the answers. A server that stops closes its own. */
const connections = new Agent({ keepAlive: true });

const requestTimeoutMs = 15_000;
const eventTimeoutMs = 2_000;

/** Sends a conversation to a server of its own, one request after the other, and compares the answers. */
export async function replayTranscript(transcript: Transcript, index: ObjectIndex): Promise<readonly Outcome[]> {
  const storage = await openMemoryStorage();
  // The recorded server had been running for a while, and its first revisions were forgotten.
  for (const name of ['a', 'b', 'c']) await storage.create(`history/${name}`, { text: '{}' });
  await storage.compact(storage.currentRevision);
  startedObjects ??= makeStartedObjects();
  const started = await startedObjects;
  await Promise.all(started.map(({ key, text }) => storage.create(key, { text })));
  const cluster = await startTestApiServer({ storage, ...serverOptions });
  const translation = new Translation(() => storage.currentRevision);
  const request = { user: admin, userAgent: 'transcripts' };
  const settle = async (revision: number): Promise<void> => {
    await cluster.api.kubeApi.list(
      { ...request, kind: namespaces },
      {
        resourceVersion: String(revision),
        resourceVersionMatch: 'NotOlderThan',
        limit: 1,
      },
    );
  };
  const world = new World({ storage, index, translation, settle });
  const webhooks = createRecordedWebhooks(cluster, (act) => world.act(act));
  const extension = await startRecordedExtension(transcript, cluster, (act) => world.act(act));
  const watches: { readonly exchange: Exchange; readonly position: number; readonly watch: OpenWatch }[] = [];
  const outcomes = new Map<number, Outcome>();
  try {
    for (const [position, exchange] of transcript.exchanges.entries()) {
      if (exchange.apart !== undefined) continue;
      let differences: readonly string[];
      const acts = (hiddenActs[transcript.name] ?? suiteActs[transcript.name])?.[exchange.line] ?? [];
      for (const act of acts) await webhooks.perform(act);
      try {
        await extension?.prepare(exchange);
        if (exchange.recorded.events !== undefined && exchange.recorded.status === 200) {
          const { watch, isOpen } = await replayWatch(cluster, world, translation, transcript, position);
          if (isOpen) {
            watches.push({ exchange, position, watch });
            continue;
          }
          differences = differencesOf(exchange.recorded, await watch.finish(), world.isUnknown);
          outcomes.set(position, { transcript, exchange, differences });
          continue;
        }
        const findsNothing = appliedToNothing.has(`${transcript.name}:${exchange.line}`);
        if (!findsNothing) await world.prepare(exchange, transcript.exchanges.slice(position + 1));
        const answer = await send(cluster, translation, exchange);
        differences = differencesOf(exchange.recorded, answer, world.isUnknown);
        if (answer.status === exchange.recorded.status) translation.learn(exchange.recorded.body, jsonOf(answer.text));
        await letDefinitionGo(cluster, exchange);
      } catch (err) {
        differences = [`replay: ${(err as Error).message}`];
      }
      outcomes.set(position, { transcript, exchange, differences });
    }
    for (const { exchange, position, watch } of watches) {
      const differences = differencesOf(exchange.recorded, await watch.finish(), world.isUnknown);
      outcomes.set(position, { transcript, exchange, differences });
    }
  } finally {
    for (const { watch } of watches) watch.close();
    await cluster.stop();
    await extension?.stop();
    await webhooks.stop();
  }
  return [...outcomes].sort(([a], [b]) => a - b).map(([, outcome]) => outcome);
}

/** The recorded client paused after it had deleted a definition: the server takes a moment until it no longer serves the kind. */
async function letDefinitionGo(cluster: TestApiServer, { method, path }: Exchange): Promise<void> {
  if (method !== 'DELETE' || !path.includes('/customresourcedefinitions/')) return;
  const isGone = async () => (await cluster.fetch(path.split('?', 1)[0] ?? '')).status === 404;
  await until(isGone, { timeoutMs: eventTimeoutMs, intervalMs: 10, what: 'the definition is gone' }).catch(() => undefined);
}

interface OpenWatch {
  /** Waits for as many events as were recorded, and ends. */
  finish(): Promise<Answer>;
  close(): void;
}

async function replayWatch(
  cluster: TestApiServer,
  world: World,
  translation: Translation,
  { exchanges }: Transcript,
  position: number,
): Promise<{ readonly watch: OpenWatch; readonly isOpen: boolean }> {
  const exchange = exchanges[position] as Exchange;
  const target = targetOf(exchange.path);
  const kind = target === undefined ? undefined : kindOf(target);
  const events = (exchange.recorded.events ?? []).map(({ ev }) => ev).filter(isObject);
  const query = new URLSearchParams(exchange.path.split('?')[1] ?? '');
  const { caused, deleted } = broughtAboutBy(exchanges.slice(position + 1));
  // A watch without a version begins with what is there.
  const fromState = ['', '0', null].includes(query.get('resourceVersion'));
  const initial = fromState ? events.findIndex(({ type }) => type !== 'ADDED') : 0;
  const later = events.splice(initial === -1 ? events.length : initial);
  const isOthers = ({ type, object }: (typeof events)[number]): boolean => {
    const [found] = objectsIn(object);
    if (found === undefined || (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED')) return false;
    const { resourceVersion, uid } = metadataOf(found.object);
    if (translation.knows(found.object) || caused.has(textOf(resourceVersion))) return false;
    return !(type === 'DELETED' && deleted.has(textOf(uid)));
  };
  const play = async (list: typeof events): Promise<void> => {
    for (const event of list) {
      const [found] = objectsIn(event.object);
      if (kind !== undefined && found !== undefined && isOthers(event)) await world.play(textOf(event.type), found, kind);
    }
  };
  await world.prepare({ ...exchange, method: 'WATCH' });
  await play(events);
  const watch = await openWatch(cluster, translation, exchange);
  await play(later);
  const isOpen = later.some((event) => {
    const [found] = objectsIn(event.object);
    const { resourceVersion, uid } = metadataOf(found?.object);
    return caused.has(textOf(resourceVersion)) || (event.type === 'DELETED' && deleted.has(textOf(uid)));
  });
  return { watch, isOpen };
}

/** Versions that the following requests make, and objects that they delete. */
function broughtAboutBy(exchanges: readonly Exchange[]): { readonly caused: ReadonlySet<string>; readonly deleted: ReadonlySet<string> } {
  const caused = new Set<string>();
  const deleted = new Set<string>();
  for (const { method, recorded } of exchanges) {
    if (method === 'GET' || recorded.status >= 300) continue;
    const { body } = recorded;
    for (const { object } of objectsIn(body)) {
      caused.add(textOf(metadataOf(object).resourceVersion));
      if (method === 'DELETE') deleted.add(textOf(metadataOf(object).uid));
    }
    if (method === 'DELETE' && isObject(body) && isObject(body.details)) deleted.add(textOf(body.details.uid));
  }
  return { caused, deleted };
}

async function openWatch(cluster: TestApiServer, translation: Translation, exchange: Exchange): Promise<OpenWatch> {
  const { request, response } = await open(cluster, translation, exchange);
  const events: Json[] = [];
  const read = eventReader(isProtobuf(response), (event) => events.push(event));
  let ended = false;
  response.on('data', read);
  response.on('close', () => {
    ended = true;
  });
  response.on('error', () => undefined);
  const { events: expected = [] } = exchange.recorded;
  const seconds = Number(new URLSearchParams(exchange.path.split('?')[1] ?? '').get('timeoutSeconds') ?? 0);
  const endsItself = seconds > 0 && seconds < 10;
  return {
    async finish() {
      const timeoutMs = endsItself ? seconds * 1_000 + eventTimeoutMs : eventTimeoutMs;
      const done = () => ended || (!endsItself && events.length >= expected.length);
      await until(done, { timeoutMs, intervalMs: 10, what: 'events' }).catch(() => undefined);
      request.destroy();
      return { status: response.statusCode ?? 0, headers: response.headers as Answer['headers'], text: '', events };
    },
    close: () => request.destroy(),
  };
}

const isProtobuf = ({ headers }: IncomingMessage): boolean => headers['content-type']?.startsWith(protobufType) === true;

/** Events are lines of JSON, or frames of protobuf with their length in front. */
function eventReader(isFramed: boolean, onEvent: (event: Json) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const end = isFramed ? (rest.length < 4 ? -1 : 4 + rest.readUInt32BE()) : rest.indexOf('\n') + 1;
      if (end <= 0 || end > rest.length) return;
      const bytes = rest.subarray(isFramed ? 4 : 0, end);
      rest = rest.subarray(end);
      onEvent(isFramed ? (decodeWatchEvent(bytes) as Json) : (jsonOf(bytes.toString()) ?? bytes.toString()));
    }
  };
}

async function send(cluster: TestApiServer, translation: Translation, exchange: Exchange): Promise<Answer> {
  const { response } = await open(cluster, translation, exchange);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const text = isProtobuf(response) ? JSON.stringify(decodeAnswer(bytes)) : bytes.toString();
  return { status: response.statusCode ?? 0, headers: response.headers as Answer['headers'], text };
}

async function open(cluster: TestApiServer, translation: Translation, exchange: Exchange) {
  const { hostname, port } = new URL(cluster.server.url);
  const { method, body } = exchange;
  const bytes = typeof body === 'string' ? Buffer.from(translation.body(body)) : translatedProtobuf(body, translation);
  const request = httpsRequest({
    hostname,
    port,
    path: await currentPath(cluster, translation.path(exchange.path), exchange),
    method,
    ca: cluster.pki.caCertificate,
    agent: connections,
    headers: {
      ...headersOf(cluster, exchange),
      ...(await etagOf(cluster, exchange)),
      ...(bytes === undefined ? {} : { 'content-length': bytes.length }),
    },
    signal: AbortSignal.timeout(requestTimeoutMs),
  });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
    request.end(bytes);
  });
  request.on('error', () => undefined);
  return { request, response };
}

/** Versions and uids in the request become ours; the rest is sent unchanged. */
function translatedProtobuf(body: Buffer | undefined, translation: Translation): Buffer | undefined {
  const object = objectInProtobuf(body);
  if (object === undefined || textOf(metadataOf(object).resourceVersion) === '') return body;
  return encodeObject(JSON.parse(translation.body(JSON.stringify(object))) as object);
}

/** Clients ask for a schema by the hash from an earlier answer. */
async function currentPath(cluster: TestApiServer, path: string, { recorded }: Exchange): Promise<string> {
  const [target = '', hash] = path.split(/[?&]hash=/);
  if (!target.startsWith('/openapi/v3/') || hash === undefined || recorded.status !== 200) return path;
  const { json } = await cluster.fetch('/openapi/v3');
  return json.paths[target.slice('/openapi/v3/'.length)]?.serverRelativeURL ?? path;
}

/** A 304 shows that the client has kept an answer. */
async function etagOf(cluster: TestApiServer, { path, headers, recorded }: Exchange): Promise<Record<string, string>> {
  if (recorded.status !== 304) return {};
  const { headers: answered } = await cluster.fetch(path, { headers: { accept: headers.accept ?? '*/*' } });
  return answered.etag === undefined ? {} : { 'if-none-match': answered.etag };
}

function headersOf(cluster: TestApiServer, { path, headers, body, recorded }: Exchange): Record<string, string> {
  const { user, authorization, connection: _, upgrade: __, ...given } = headers;
  const sent = Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== null));
  if (body !== undefined && given['content-type'] === undefined) sent['content-type'] = 'application/json';
  // The recordings hold no credentials: which ones were sent is seen by the answer.
  if (recorded.status === 401) sent.authorization = 'Bearer nobody';
  else if (authorization !== null) sent.authorization = `Bearer ${user === 'alice' ? cluster.aliceToken : adminToken}`;
  if (given['impersonate-user'] !== undefined || given['impersonate-group'] !== undefined || user !== undefined) return sent;
  const refused =
    recorded.status === 403 ? /User "([^"]+)" cannot/.exec(textOf(isObject(recorded.body) ? recorded.body.message : ''))?.[1] : undefined;
  if (refused !== undefined && authorization !== null && refused !== 'system:anonymous') sent['impersonate-user'] = refused;
  else if (path.includes('/selfsubjectreviews')) Object.assign(sent, recordedAdministrator);
  return sent;
}

function jsonOf(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

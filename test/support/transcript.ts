import { decodeAnswer } from '../../src/apiserver/http/protobuf/decode.ts';
import { type RecordedSet, recordedFiles, recordedLines } from './recorded-lines.ts';

/**
 * The recorded conversations of real clients with a real API server, read into one form.
 *
 * Some bodies are not in the recordings: those that hold credentials, those that are too large to keep, and texts that
 * parsing changed (duplicate keys). The body is rebuilt from the answer if that shows it; else the exchange is
 * `withheld`.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

export interface WatchEvent {
  readonly ev: Json;
}

export interface RecordedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Json | undefined;
  /** Parts that the recording left out of the body, as paths: `metadata/annotations`. */
  readonly dropped?: readonly string[] | undefined;
  /** Headers were not kept. */
  readonly noHeaders?: boolean | undefined;
  /** The body was protobuf: fields that hold nothing are not in it. */
  readonly decoded?: boolean | undefined;
  /** For a watch: the events until one side ended it. */
  readonly events?: readonly WatchEvent[] | undefined;
  /** The first events alone were kept. */
  readonly isBeginning?: boolean;
}

/**
 * Reason why an exchange is not compared: it needs a node that runs containers, or its request is not in the recording.
 */
export type Apart = 'containers' | 'withheld';

export interface Exchange {
  /** Line of the file, from 1. */
  readonly line: number;
  readonly title: string;
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** As recorded; `user` and `authorization` are credentials that the replay has to find. */
  readonly headers: Readonly<Record<string, string | null>>;
  readonly body: string | Buffer | undefined;
  readonly recorded: RecordedAnswer;
  readonly apart: Apart | undefined;
}

export interface Transcript {
  /** `api/errors` */
  readonly name: string;
  /** The row of the score it counts for: the file of api/, the number of kubectl/, the folder of the rest. */
  readonly area: string;
  readonly exchanges: readonly Exchange[];
}

/** The area, and the set of recordings, of requests that are no conversation. */
export const sampleArea = 'components';

/** Every conversation, in the order in which the files were recorded. */
export function readTranscripts(): readonly Transcript[] {
  const conversations = (['api', 'kubectl', 'helm', 'client-node'] as const).flatMap((part) =>
    Object.keys(recordedFiles(part)).map((file) => readTranscript(part, file)),
  );
  const samples = Object.keys(recordedFiles(sampleArea)).flatMap(readSamples);
  return [...conversations, ...samples, ...Object.keys(recordedFiles('second')).map(readSuite)];
}

/**
 * One exchange of each kind that upstream's scheduler, controller manager or kubelet makes. Nothing is known of what lies between two of
 * them, so each one that names a version gets a server of its own.
 */
function readSamples(file: string): readonly Transcript[] {
  const transcript = readTranscript(sampleArea, file);
  const exchanges = transcript.exchanges.map((exchange) => {
    const { headers, recorded } = exchange;
    const user = userOfSample(file, exchange);
    return {
      ...exchange,
      headers: user === undefined ? headers : { ...headers, 'impersonate-user': user },
      recorded: recorded.events === undefined ? recorded : { ...recorded, isBeginning: true },
    };
  });
  const isApart = ({ method, body }: Exchange) => method !== 'POST' && typeof body === 'string' && /"(resourceVersion|uid)":/.test(body);
  const apart = exchanges.filter(isApart).map((exchange) => ({ ...transcript, exchanges: [exchange] }));
  return [{ ...transcript, exchanges: exchanges.filter((exchange) => !isApart(exchange)) }, ...apart];
}

/** Credentials were not recorded. Controllers have accounts of their own, which the samples do not name. */
function userOfSample(file: string, { method }: Exchange): string | undefined {
  if (file.startsWith('kube-scheduler')) return 'system:kube-scheduler';
  return file.startsWith('kube-controller-manager') && method === 'GET' ? 'system:kube-controller-manager' : undefined;
}

/** Requests of a suite that was run against the real server: one namespace an area, without the answers of what it set up. */
function readSuite(file: string): Transcript {
  const name = `second/${file}`;
  const exchanges = recordedLines('second', file).flatMap((text, index) => {
    const exchange = suiteExchangeOf(JSON.parse(text.replaceAll('-TAG', '-tag')) as SuiteLine, index + 1);
    return exchange === undefined ? [] : [{ ...exchange, apart: apartOf(exchange) }];
  });
  return { name, area: name, exchanges };
}

interface SuiteLine {
  readonly title: string;
  readonly req?: {
    readonly method: string;
    readonly path: string;
    readonly q?: Readonly<Record<string, string>>;
    /** A patch type or a media type. */
    readonly ct?: string;
    readonly accept?: string;
    readonly as?: string;
    readonly body?: Json;
  };
  readonly res: { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body?: Json };
  readonly drop?: readonly string[];
  readonly noHeaders?: boolean;
}

const mediaTypes: Readonly<Record<string, string>> = {
  merge: 'application/merge-patch+json',
  jp: 'application/json-patch+json',
  smp: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
  json: 'application/json',
};

function suiteExchangeOf({ title, req, res, drop = [], noHeaders }: SuiteLine, line: number): Exchange | undefined {
  if (req === undefined) return undefined;
  const { method, path, q, ct, accept, as, body } = req;
  const query = q === undefined ? '' : `?${new URLSearchParams(q).toString()}`;
  const headers = {
    'user-agent': title === 'PUT by user agent' ? 'my-agent/1' : 'held-out/1',
    ...(ct === undefined ? {} : { 'content-type': mediaTypes[ct] ?? ct }),
    ...(accept === undefined ? {} : { accept }),
    ...credentialsOf(title, as),
  };
  return {
    line,
    title,
    method,
    path: `${path}${query}`,
    headers,
    body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    recorded: { ...res, body: keptBody(res.body), dropped: drop, noHeaders },
    apart: undefined,
  };
}

/** Users of the suite, as far as its titles and answers tell who they were. */
function credentialsOf(title: string, as: string | undefined): Exchange['headers'] {
  if (/^(anonymous (list|metrics|api|unknown path)|Basic auth|empty bearer)$/.test(title)) return { authorization: null };
  if (title === 'impersonated group only') return { 'impersonate-group': 'g' };
  if (title === 'account token: self review') return { 'impersonate-user': 'system:serviceaccount:az-tag:default' };
  if (as === undefined) return {};
  if (as === 'alice') return { user: as };
  const groups: Readonly<Record<string, string>> = { bob: 'ops', x: 'system:masters' };
  const group = groups[as];
  return { 'impersonate-user': as, ...(group === undefined ? {} : { 'impersonate-group': group }) };
}

/** For some answers the suite kept the form and the kind alone, or its own reading of them. */
function keptBody(body: Json | undefined): Json | undefined {
  if (Array.isArray(body)) return body[0] === 'object' && body.length === 2 && typeof body[1] === 'string' ? { kind: body[1] } : undefined;
  if (isObject(body)) return body.kind === undefined ? undefined : body;
  return typeof body === 'string' ? body : undefined;
}

function readTranscript(part: RecordedSet, file: string): Transcript {
  const name = `${part}/${file}`;
  const exchanges = recordedLines(part, file).flatMap((text, index) => {
    const exchange = exchangeOf(JSON.parse(text) as JsonObject, index + 1);
    return exchange === undefined ? [] : [{ ...exchange, apart: apartOf(exchange) }];
  });
  return { name, area: areaOf(part, file), exchanges };
}

const areaOf = (part: RecordedSet, file: string): string =>
  part === 'api' ? `api/${file}` : part === 'kubectl' ? `kubectl ${/^\d+/.exec(file)?.[0] ?? 'protobuf'}` : part;

/** Undefined for notes and for the command that the following requests belong to. */
function exchangeOf(line: JsonObject, number: number): Exchange | undefined {
  if (typeof line.bodyBase64 === 'string') return protobufExchangeOf(line, number);
  const { req, watch, res } = line;
  if (!isObject(res)) return undefined;
  const title = typeof line.title === 'string' ? line.title : '';
  const answer = answerOf({ ...res, ...(Array.isArray(line.events) ? { events: line.events } : {}) } as unknown as RecordedAnswer);
  if (isObject(watch)) {
    const headers = typeof watch.accept === 'string' ? { accept: watch.accept } : {};
    return { line: number, title, method: 'GET', path: String(watch.path), headers, body: undefined, recorded: answer, apart: undefined };
  }
  if (!isObject(req)) return undefined;
  const query = typeof req.query === 'string' && req.query !== '' ? `?${req.query}` : '';
  const method = String(req.method);
  const path = `${String(req.path)}${query}`;
  const headers = (req.headers ?? {}) as Readonly<Record<string, string | null>>;
  const body = bodyOf(method, req.body, answer);
  const apart = (body === undefined && isWithheld(req.body)) || holdsCredential(body) ? ('withheld' as const) : undefined;
  return { line: number, title, method, path, headers, body, recorded: answer, apart };
}

/** With a body that was recorded as protobuf in JSON form. */
function answerOf(answer: RecordedAnswer): RecordedAnswer {
  const { body } = answer;
  if (!isObject(body) || typeof body.base64 !== 'string' || isCut(body)) return answer;
  // The server reads no lists, so their layout is not known.
  const object = objectInProtobuf(Buffer.from(body.base64, 'base64'));
  return object === undefined ? answer : { ...answer, body: object, decoded: true };
}

/** The object that a protobuf body holds; undefined for others, and for kinds that no client sends. */
export function objectInProtobuf(body: string | Buffer | undefined): JsonObject | undefined {
  if (!Buffer.isBuffer(body)) return undefined;
  return decodeAnswer(body) as JsonObject | undefined;
}

function protobufExchangeOf(line: JsonObject, number: number): Exchange {
  const { method, path, query, contentType, bodyBase64, status, jsonAnswer } = line as Readonly<Record<string, string>>;
  return {
    line: number,
    title: 'protobuf body',
    method: method ?? '',
    path: query === undefined ? (path ?? '') : `${path}?${query}`,
    headers: { accept: 'application/json', 'content-type': contentType ?? '' },
    body: Buffer.from(bodyBase64 ?? '', 'base64'),
    recorded: { status: Number(status), headers: { 'content-type': 'application/json' }, body: (jsonAnswer as unknown as Json) ?? null },
    apart: undefined,
  };
}

/** Kept out of the recordings because of what it holds. */
const isWithheld = (body: Json | undefined): boolean => isObject(body) && (body.binaryBytes !== undefined || isCut(body));

/** A word replaces a credential in the body. */
const holdsCredential = (body: string | Buffer | undefined): boolean =>
  typeof body === 'string' && /"<(jwt|pem|base64-pem|redacted)>"/.test(body);

/** Long protobuf bodies were not kept whole. */
const isCut = ({ base64 }: JsonObject): boolean => typeof base64 === 'string' && base64.endsWith('…');

const duplicateKeys = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"fv"},"data":{"a":"1","a":"2"},"data":{"b":"1"}}';

function bodyOf(method: string, body: Json | undefined, { status, body: answer }: RecordedAnswer): string | Buffer | undefined {
  if (isWithheld(body)) return undefined;
  if (isObject(body) && typeof body.base64 === 'string') return Buffer.from(body.base64, 'base64');
  if (isObject(body)) {
    const { data, metadata } = body;
    // Parsing took the first of two `data`; the answer has both.
    if (isObject(data) && data.b === '1' && Object.keys(data).length === 1 && isObject(metadata) && metadata.name === 'fv')
      return duplicateKeys;
  }
  if (typeof body === 'string') return body;
  if (body !== undefined) return JSON.stringify(body);
  if (method !== 'POST' || !isObject(answer)) return undefined;
  const { kind, apiVersion, metadata, code, details } = answer;
  if (status === 413) return JSON.stringify({ metadata: { name: 'big' }, data: { a: 'x'.repeat(3 * 1024 * 1024) } });
  if (code === 422 && isObject(details) && details.name === 'big')
    return JSON.stringify({ metadata: { name: 'big' }, data: { a: 'x'.repeat(1_100_000) } });
  if (status !== 201 || kind === 'Status' || !isObject(metadata)) return undefined;
  // The created object, without fields that only a server sets.
  const { status: _, metadata: __, ...rest } = answer;
  const { name, namespace, labels, annotations } = metadata;
  return JSON.stringify({ ...rest, kind, apiVersion, metadata: { name, namespace, labels, annotations } });
}

const streams = /\/(exec|attach|portforward)$/;

function apartOf({ apart, path, recorded }: Exchange): Apart | undefined {
  if (apart !== undefined) return apart;
  const [target = ''] = path.split('?', 1);
  // Refusals before the stream begins need no node.
  if (recorded.status === 101 || (recorded.status < 400 && streams.test(target))) return 'containers';
  if (recorded.status === 200 && target.endsWith('/log')) return 'containers';
  return undefined;
}

import type { ServerResponse } from 'node:http';
import type { KubeObject } from '../../machinery/object.ts';
import { expired, isExpired } from '../../machinery/status-error.ts';
import type { WatchRecord } from '../kube-api.ts';
import { type ApiRequest, type HandlerContext, nextSlice, protobufOf, requestInfoOf } from './api-request.ts';
import { metaVersionOf, negotiate, protobufType, type Representation } from './content-negotiation.ts';
import { watchQueryOf } from './options.ts';
import { encodeAnswer, encodeWatchEvent } from './protobuf/encode.ts';
import { statusErrorOf, writeChunk } from './respond.ts';
import { bookmarkRowOf, columnDefinitionsOf, includeObjectOf, partialMetadataOf, type RowOptions, rowOf } from './table.ts';
import type { QueuedWatch, WatchMemory } from './watch-memory.ts';

/** Events that may wait for a client that reads slowly; the state a watch begins with does not count. */
const maxQueuedEvents = 5_000;
/** Bytes a record takes in the queue, beside what it retains. */
const recordBytes = 64;
/** Longest time for reading one chunk. */
const stalledMs = 60_000;
/** Longest time for reading the rest after the end. */
const lingerMs = 10_000;
/** Time before a watch's timeout at which the client gets a bookmark: the same as the real server's. */
const bookmarksBeforeEndMs = [2_400, 1_300] as const;
const sliceMs = 3;
const chunkLength = 65_536;
/** Without a wish of the client a watch ends after 30 to 60 minutes, as on the real server. */
const defaultTimeoutSeconds = 1_800;

/**
 * GET of a collection with `watch=true`: one JSON event a line until the timeout, the client or the server ends it.
 *
 * An expired revision is reported in the stream, as an ERROR event after 200, because clients look for it there.
 */
export async function handleWatch(request: ApiRequest, context: HandlerContext): Promise<void> {
  const { kind, target, response, signal } = request;
  const representation = negotiate(request.raw.headers.accept, 'watch', { protobuf: protobufOf(request.kind) });
  const { timeoutSeconds, ...options } = watchQueryOf(request.query);
  const encode = eventEncoder(request, context, representation);
  const watching = new AbortController();
  const stream = new WatchStream({
    response,
    isProtobuf: representation.encoding === 'protobuf',
    encode,
    context,
    signal,
    nextTurn: () => nextSlice(request, context),
    onSent: (count) => context.metrics.watchEvents(kind, count),
  });

  const stop = (): void => {
    watching.abort();
    stream.end();
  };
  signal.addEventListener('abort', stop, { once: true });
  context.stopping.addEventListener('abort', stop, { once: true });
  const seconds = timeoutSeconds ?? defaultTimeoutSeconds * (1 + context.random());
  const cancelTimers = [context.clock.after(seconds * 1_000, stop)];
  try {
    const started = context.clock.monotonicMs();
    const watch = await context.kubeApi.watch(requestInfoOf(request), {
      namespace: target.namespace,
      ...options,
      fieldSelector: target.name === undefined ? options.fieldSelector : nameSelector(target.name, options.fieldSelector),
      signal: watching.signal,
      onEvents: (records) => {
        if (!stream.push(records)) watching.abort();
      },
      onEnd: (err) => stream.end(err),
    });
    stream.open();
    // It has begun; from here on it waits for events.
    request.seat?.leave();
    const remainingMs = seconds * 1_000 - (context.clock.monotonicMs() - started);
    for (const beforeEndMs of bookmarksBeforeEndMs) {
      if (remainingMs > beforeEndMs) cancelTimers.push(context.clock.after(remainingMs - beforeEndMs, () => watch.bookmark()));
    }
    if (context.stopping.aborted || signal.aborted) stop();
    await stream.closed;
  } catch (err) {
    if (!isExpired(err)) throw err;
    request.seat?.leave();
    stream.open();
    stream.end(err);
    await stream.closed;
  } finally {
    for (const cancel of cancelTimers) cancel();
    watching.abort();
    signal.removeEventListener('abort', stop);
    context.stopping.removeEventListener('abort', stop);
  }
}

const nameSelector = (name: string, selector: string | undefined): string =>
  `metadata.name=${name.replace(/[\\,=]/g, '\\$&')}${selector === undefined ? '' : `,${selector}`}`;

interface WatchStreamOptions {
  readonly response: ServerResponse;
  /** Events are frames of bytes then, and lines of JSON otherwise. */
  readonly isProtobuf: boolean;
  readonly encode: (record: WatchRecord) => string;
  readonly context: HandlerContext;
  readonly signal: AbortSignal;
  readonly onSent: (count: number) => void;
  /** Resolves when the next part of many events may be written. */
  nextTurn(): Promise<void>;
}

/** Owns the answer of one watch: what waits to be written, and how it ends. */
class WatchStream implements QueuedWatch {
  /** Resolves when the answer is over, one way or the other. */
  readonly closed: Promise<void>;
  readonly #options: WatchStreamOptions;
  readonly #memory: WatchMemory;
  /** Records before `#next` are already written. */
  #queue: (WatchRecord | undefined)[] = [];
  #next = 0;
  #queuedBytes = 0;
  /** Records and bytes of the state the watch began with that are still in the queue. */
  #initial = 0;
  #initialBytes = 0;
  #open = false;
  #pumping = false;
  #ending = false;
  #lastEvent = '';

  constructor(options: WatchStreamOptions) {
    this.#options = options;
    const { response, context } = options;
    this.#memory = context.watchMemory;
    this.#memory.join(this);
    this.closed = new Promise((resolve) => {
      const close = (): void => {
        this.#drop();
        this.#memory.leave(this);
        resolve();
      };
      if (response.closed) close();
      else response.once('close', close);
    });
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get #waiting(): number {
    return this.#queue.length - this.#next;
  }

  /** Sends the head. Events pushed before it are the initial state of the watch. */
  open(): void {
    const { response, isProtobuf } = this.#options;
    if (this.#open || response.destroyed) return;
    this.#open = true;
    response.writeHead(200, { 'content-type': isProtobuf ? `${protobufType};stream=watch` : 'application/json' });
    response.flushHeaders();
    this.#schedule();
  }

  /** Notes events to be written. False: the client is too far behind, and the stream ends. */
  push(records: readonly WatchRecord[]): boolean {
    if (this.#ending) return false;
    for (const record of records) this.#add(record);
    if (!this.#open) {
      this.#initial = this.#waiting;
      this.#initialBytes = this.#queuedBytes;
    } else if (this.#waiting - this.#initial > maxQueuedEvents || this.#queuedBytes - this.#initialBytes > this.#memory.maxBytesOfWatch) {
      this.fallBehind();
    }
    this.#memory.makeRoom();
    this.#schedule();
    return !this.#ending;
  }

  fallBehind(): void {
    const events = this.#waiting;
    this.#drop();
    this.end(expired(`too old resource version: this watch is ${events} events behind, more than are kept for it`));
  }

  cut(): void {
    this.#options.response.destroy();
  }

  /** Ends the answer after what is noted; an error becomes the last event. */
  end(err?: Error): void {
    if (this.#ending) return;
    this.#ending = true;
    const { response, context, isProtobuf } = this.#options;
    if (err !== undefined) {
      const object = statusErrorOf(err).toStatus();
      this.#lastEvent = isProtobuf
        ? encodeWatchEvent('ERROR', encodeAnswer(object) ?? '')
        : `${JSON.stringify({ type: 'ERROR', object })}\n`;
    }
    // A client that went away closed the answer, and no second event would cancel the timer.
    if (!response.destroyed) {
      const cancel = context.clock.after(lingerMs, () => response.destroy());
      response.once('close', cancel);
    }
    this.#schedule();
  }

  #add(record: WatchRecord): void {
    this.#queue.push(record);
    const { retains } = record;
    if (retains !== undefined) this.#memory.hold(retains);
    this.#memory.count(recordBytes);
    this.#queuedBytes += recordBytes + (retains?.bytes ?? 0);
  }

  /** The next record, which nothing keeps any more once it is written. */
  #take(): WatchRecord | undefined {
    const record = this.#queue[this.#next];
    if (record === undefined) return undefined;
    this.#queue[this.#next] = undefined;
    this.#next += 1;
    if (this.#next * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#next);
      this.#next = 0;
    }
    const { retains } = record;
    if (retains !== undefined) this.#memory.release(retains);
    this.#memory.count(-recordBytes);
    const bytes = recordBytes + (retains?.bytes ?? 0);
    this.#queuedBytes -= bytes;
    if (this.#initial > 0) {
      this.#initial -= 1;
      this.#initialBytes -= bytes;
    }
    return record;
  }

  #drop(): void {
    while (this.#take() !== undefined);
  }

  /** Writing waits for the end of the turn: events of several commits then leave in one chunk. */
  #schedule(): void {
    if (!this.#open || this.#pumping) return;
    this.#pumping = true;
    this.#options.context.turns.add(() => void this.#pump());
  }

  async #pump(): Promise<void> {
    const { response, signal, encode, onSent, nextTurn, context, isProtobuf } = this.#options;
    const charset = isProtobuf ? 'latin1' : 'utf8';
    while (this.#waiting > 0 && !signal.aborted) {
      const sliceStart = context.clock.monotonicMs();
      let sent = 0;
      let text = '';
      while (text.length < chunkLength && context.clock.monotonicMs() - sliceStart <= sliceMs) {
        const record = this.#take();
        if (record === undefined) break;
        text += encode(record);
        sent += 1;
      }
      onSent(sent);
      const reading = writeChunk(response, { chunk: text, charset }, signal);
      if (reading !== undefined) await this.#stalled(text.length, reading);
      if (this.#waiting > 0) await nextTurn();
    }
    this.#pumping = false;
    if (signal.aborted || !this.#ending) return;
    response.end(this.#lastEvent, charset);
  }

  /** Counts what the client has not taken, and does not wait for it forever. */
  async #stalled(bytes: number, reading: Promise<void>): Promise<void> {
    const { response, context } = this.#options;
    const cancel = context.clock.after(stalledMs, () => response.destroy());
    this.#memory.count(bytes);
    this.#queuedBytes += bytes;
    this.#initialBytes += bytes;
    this.#memory.makeRoom();
    await reading;
    this.#memory.count(-bytes);
    this.#queuedBytes -= bytes;
    this.#initialBytes -= bytes;
    cancel();
  }
}

/** Each event is a line, or a frame of protobuf. Table columns are described in the first event only. */
function eventEncoder(
  request: ApiRequest,
  { clock, encoder }: HandlerContext,
  representation: Representation,
): (record: WatchRecord) => string {
  const { as, encoding } = representation;
  if (encoding === 'protobuf') {
    if (as === undefined) return ({ type, object }) => encodeWatchEvent(type, encoder.protobuf(object));
    const partial = { apiVersion: metaVersionOf(representation), kind: 'PartialObjectMetadata' };
    return ({ type, object }) => encodeWatchEvent(type, encodeAnswer({ ...partialMetadataOf(object), ...partial }) ?? '');
  }
  const line = (type: string, json: string): string => `{"type":"${type}","object":${json}}\n`;
  switch (as) {
    case undefined:
      return (record) => line(record.type, record.json());
    case 'PartialObjectMetadata':
      return ({ type, object }) => line(type, JSON.stringify(partialMetadataOf(object)));
    case 'Table':
      return tableEncoder(request, clock, line);
    default:
      return as satisfies never;
  }
}

function tableEncoder(
  { kind, query }: ApiRequest,
  clock: HandlerContext['clock'],
  line: (type: string, json: string) => string,
): (record: WatchRecord) => string {
  const include = includeObjectOf(query);
  let first = true;
  const tableOf = (object: KubeObject, row: unknown): unknown => {
    const table = {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { resourceVersion: object.metadata.resourceVersion },
      columnDefinitions: first ? columnDefinitionsOf(kind) : null,
      rows: [row],
    };
    first = false;
    return table;
  };
  return ({ type, object }) => {
    const options: RowOptions = { kind, include, now: clock.now() };
    const row = type === 'BOOKMARK' ? bookmarkRowOf(object, options) : rowOf(object, options);
    return line(type, JSON.stringify(tableOf(object, row)));
  };
}

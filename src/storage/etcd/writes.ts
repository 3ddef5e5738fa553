import type { Clock } from '../../base/clock.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import { insufficientStorage, isInsufficientStorage, StatusError, tooLarge } from '../../machinery/status-error.ts';
import type { Value, WriteResult } from '../storage.ts';
import { type EtcdClient, isOpen } from './client.ts';
import type { StoreKeys } from './keys.ts';
import { type LiveWatch, settleMs } from './live-watch.ts';
import type { EtcdEvent, TxnAnswer, TxnRequest } from './messages.ts';

/**
 * Writes of one key each. etcd puts what is in flight into one fsync, so there are no groups. The writes of one key go one after the
 * other, and each is acknowledged when the live watch has delivered it.
 *
 * A call whose answer was lost may have been done, or may be done later. Its outcome is found out, and not reported as an error:
 *
 * - Updates and deletions are sent again as they are. They win now, or another write has won. Then the first change after the
 *   expected revision says whether it was the same update. A deletion has no author: when one is found, the outcome stays unknown.
 * - A creation must not be sent again just so, because absence comes back. It compares a fence, a key of this server. Once that is
 *   raised, the first try can never be done later, because it compared the old one.
 */
export interface EtcdWrites {
  create(key: string, value: Value): Promise<WriteResult>;
  update(key: string, value: Value, expectedRevision: number): Promise<WriteResult>;
  delete(key: string, expectedRevision: number): Promise<WriteResult>;
  /** The object whose text a write of this process sends now; undefined for what others wrote. */
  decodedOf(event: EtcdEvent): unknown;
  /** Raises the fence, also for what an earlier process of this server sent. */
  raiseFence(): Promise<void>;
  /** The failure of the last write, until one succeeds. While etcd is full, the one that says so. */
  readonly failure: Error | undefined;
  /** Says whether etcd is full, which a server that writes nothing would not notice. */
  noteFull(isFull: boolean): void;
  /** Waits for writes in flight. */
  drain(): Promise<void>;
}

export interface EtcdWritesOptions {
  readonly client: EtcdClient;
  readonly live: LiveWatch;
  readonly keys: StoreKeys;
  /** The same over restarts, and no other server's. */
  readonly serverId: string;
  readonly clock: Clock;
}

/** Transactions in flight; more wait here. */
const maxInFlight = 256;
/** etcd takes requests of 1.5 MiB; key and frame come on top of the text. */
const maxTextBytes = 1.5 * 1024 * 1024 - 64 * 1024;

export function createEtcdWrites({ client, live, keys, serverId, clock }: EtcdWritesOptions): EtcdWrites {
  const fenceKey = keys.fence(serverId);
  let fence = 0;
  let raising: Promise<void> | undefined;
  let failure: Error | undefined;
  /** The end of the chain of writes of each key. */
  const chains = new Map<string, Promise<unknown>>();
  const sending = new Map<string, Value>();
  let inFlight = 0;
  const waiting: (() => void)[] = [];
  live.subscribe({
    onEvents(events) {
      for (const { key, revision } of events) if (key === fenceKey) fence = revision;
    },
    onEnd: () => undefined,
  });

  /** Runs after the earlier writes of the key, and when there is room. */
  async function inTurn(key: string, write: () => Promise<WriteResult>): Promise<WriteResult> {
    const before = chains.get(key);
    const mine = (async () => {
      await before?.catch(() => undefined);
      if (inFlight >= maxInFlight) await new Promise<void>((resolve) => void waiting.push(resolve));
      inFlight += 1;
      try {
        const result = await write();
        if (result.ok) failure = undefined;
        return result;
      } catch (err) {
        throw noteFailure(err);
      } finally {
        inFlight -= 1;
        waiting.shift()?.();
      }
    })();
    chains.set(key, mine);
    try {
      return await mine;
    } finally {
      if (chains.get(key) === mine) chains.delete(key);
    }
  }

  function noteFailure(err: unknown): unknown {
    const translated = translate(err);
    if (translated instanceof StatusError && translated.code === 413) return translated;
    failure = translated as Error;
    return translated;
  }

  async function acknowledge(revision: number): Promise<WriteResult> {
    await live.reach(revision);
    return { ok: true, revision };
  }

  /** Another write won. Memory has to know it before the caller tries again. */
  async function lose({ found, revision }: TxnAnswer): Promise<WriteResult> {
    await live.reach(found?.modRevision ?? revision);
    return { ok: false, currentRevision: found?.modRevision ?? 0 };
  }

  /** An update or a deletion, until its outcome is known. */
  async function replace(request: TxnRequest, expected: number, text: string | undefined): Promise<WriteResult> {
    const deadline = clock.monotonicMs() + settleMs;
    let isSettling = false;
    for (;;) {
      try {
        const answer = await client.txn(request);
        if (answer.succeeded) return await acknowledge(answer.revision);
        const lost = await lose(answer);
        const first = isSettling ? await firstChange(request.read, expected + 1, live.position) : undefined;
        if (text === undefined && first?.type === 'delete') throw unknownDeletion();
        return first?.type === 'put' && first.text === text ? { ok: true, revision: first.revision } : lost;
      } catch (err) {
        if (!isOpen(err)) throw err;
        if (clock.monotonicMs() > deadline) throw unknownOutcome(err);
        isSettling = true;
        await pause();
      }
    }
  }

  async function create(key: string, value: Value): Promise<WriteResult> {
    const etcdKey = keys.of(key);
    const deadline = clock.monotonicMs() + settleMs;
    for (;;) {
      const sentAt = live.position;
      const used = fence;
      try {
        const answer = await client.txn({
          compare: [
            { key: etcdKey, revision: 0 },
            { key: fenceKey, revision: used },
          ],
          success: { put: { key: etcdKey, text: value.text } },
          read: etcdKey,
        });
        if (answer.succeeded) return await acknowledge(answer.revision);
        if (answer.found !== undefined) return await lose(answer);
        // The fence was raised meanwhile, for a creation of another key. Its event comes.
        await live.reach(answer.revision);
        // Somebody removed it, which only a person does.
        if (fence === used) await raiseFence();
      } catch (err) {
        if (!isOpen(err)) throw err;
        if (clock.monotonicMs() > deadline) throw unknownOutcome(err);
        await pause();
        await raiseFence().catch((reason: unknown) => {
          throw isOpen(reason) ? unknownOutcome(reason) : reason;
        });
        const own = await ownCreation(etcdKey, { after: sentAt, upTo: live.position, text: value.text });
        if (own !== undefined) return await acknowledge(own);
      }
    }
  }

  /** The revision at which the key was created with this text, within the time in which the first try may have been done. */
  async function ownCreation(
    key: string,
    { after, upTo, text }: { readonly after: number; readonly upTo: number; readonly text: string },
  ): Promise<number | undefined> {
    let from = after + 1;
    while (from <= upTo) {
      const change = await firstChange(key, from, upTo);
      if (change === undefined) return undefined;
      if (change.created && change.text === text) return change.revision;
      from = change.revision + 1;
    }
    return undefined;
  }

  /** The first change of a key from one revision to another, both included. */
  async function firstChange(key: string, from: number, upTo: number): Promise<EtcdEvent | undefined> {
    if (from > upTo) return undefined;
    const abort = new AbortController();
    const cancel = clock.after(settleMs, () => abort.abort());
    try {
      for await (const answer of client.past({ key, startRevision: from, withBefore: false }, abort.signal)) {
        if (answer.compactRevision > 0) throw new GrpcError(grpcCodes.unavailable, answer.canceled ?? 'compacted');
        const [first] = answer.events;
        if (first !== undefined) return first.revision <= upTo ? first : undefined;
        if (!answer.created && answer.revision >= upTo) return undefined;
      }
      return undefined;
    } finally {
      cancel();
    }
  }

  /** One put for all who wait. */
  function raiseFence(): Promise<void> {
    raising ??= (async () => {
      const deadline = clock.monotonicMs() + settleMs;
      try {
        for (;;) {
          try {
            const { revision } = await client.txn({
              compare: [],
              success: { put: { key: fenceKey, text: new Date(clock.now()).toISOString() } },
              read: fenceKey,
            });
            await live.reach(revision);
            return;
          } catch (err) {
            if (!isOpen(err) || clock.monotonicMs() > deadline) throw err;
            await pause();
          }
        }
      } finally {
        raising = undefined;
      }
    })();
    return raising;
  }

  /** Before the next member is asked. */
  async function pause(): Promise<void> {
    client.moveOn();
    await new Promise<void>((resolve) => void clock.after(50, resolve));
  }

  return {
    create: (key, value) => {
      checkSize(value);
      return inTurn(key, () => withValue(key, value, () => create(key, value)));
    },
    update: (key, value, expected) => {
      checkSize(value);
      return inTurn(key, () =>
        withValue(key, value, () =>
          replace(compareAndSet(keys.of(key), expected, { put: { key: keys.of(key), text: value.text } }), expected, value.text),
        ),
      );
    },
    delete: (key, expected) =>
      inTurn(key, () => replace(compareAndSet(keys.of(key), expected, { delete: keys.of(key) }), expected, undefined)),
    decodedOf({ key, text }) {
      const name = keys.nameOf(key);
      const value = name === undefined ? undefined : sending.get(name);
      return value !== undefined && value.text === text ? value.decoded : undefined;
    },
    raiseFence,
    get failure() {
      return failure;
    },
    noteFull(isNow) {
      if (isNow) failure ??= insufficientStorage(fullText);
      else if (failure !== undefined && isInsufficientStorage(failure)) failure = undefined;
    },
    async drain() {
      await Promise.allSettled(chains.values());
    },
  };

  async function withValue(key: string, value: Value, write: () => Promise<WriteResult>): Promise<WriteResult> {
    sending.set(key, value);
    try {
      return await write();
    } finally {
      sending.delete(key);
    }
  }
}

/** A key that never was there has revision 0, and a comparison with that would create it. No key has this revision. */
const neverRevision = Number.MAX_SAFE_INTEGER;

const compareAndSet = (key: string, expected: number, success: TxnRequest['success']): TxnRequest => ({
  compare: [{ key, revision: expected === 0 ? neverRevision : expected }],
  success,
  read: key,
});

function checkSize({ text }: Value): void {
  if (text.length > maxTextBytes || Buffer.byteLength(text) > maxTextBytes) throw tooLarge(maxTextBytes);
}

const fullText =
  'etcd has no space left: its database is at its quota. Objects can be deleted. ' +
  'Replaced values are compacted. Run "etcdctl defrag --cluster" and then "etcdctl alarm disarm", or raise --quota-backend-bytes';

export const isFull = (err: unknown): boolean => err instanceof GrpcError && err.message.includes('database space exceeded');

function translate(err: unknown): unknown {
  if (!(err instanceof GrpcError)) return err;
  if (isFull(err)) return insufficientStorage(fullText);
  if (err.message.includes('request is too large') || err.message.includes('received message larger than max'))
    return tooLarge(maxTextBytes);
  return new StatusError({ code: 500, reason: 'InternalError', message: `etcd refused a write: ${err.message}`, cause: err });
}

/** Our memory may be behind, so the deletion may be older than the request; and the object may be back. */
const unknownDeletion = (): StatusError =>
  new StatusError({
    code: 504,
    reason: 'Timeout',
    message:
      'etcd lost the answer to this deletion. The version that it named is deleted, and etcd does not say by which request. ' +
      'Get the object: when it is there, delete it again',
  });

const unknownOutcome = (cause: unknown): StatusError =>
  new StatusError({
    code: 504,
    reason: 'Timeout',
    message:
      `etcd gave no answer within ${settleMs / 1000} s, and whether the object was written is not known: ${(cause as Error).message}. ` +
      'Check that more than half of its members run: etcdctl endpoint status --cluster',
    cause,
  });

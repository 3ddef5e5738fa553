import type { GrpcMethod } from '../../base/grpc.ts';
import { encode, type Field, FieldReader, flag, integer, message, text } from './protobuf.ts';

/**
 * The calls of etcd's version 3 API that the store makes, and their messages. Fields that it neither sends nor reads are left out.
 * Revisions are numbers: they stay below 2^53.
 *
 * @see https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/, whose field numbers these are
 */

export interface KeyValue {
  readonly key: string;
  readonly text: string;
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface RangeRequest {
  readonly key: string;
  /** Absent: this key alone. */
  readonly rangeEnd?: string;
  readonly limit?: number;
  /** Absent: the newest. */
  readonly revision?: number;
}

export interface RangeAnswer {
  readonly revision: number;
  readonly entries: readonly KeyValue[];
  readonly more: boolean;
}

export interface TxnRequest {
  /** All must hold: the newest revision of each key, 0 for a key that is absent. */
  readonly compare: readonly { readonly key: string; readonly revision: number }[];
  readonly success: { readonly put: { readonly key: string; readonly text: string } } | { readonly delete: string };
  /** Read when a comparison fails. */
  readonly read: string;
}

export interface TxnAnswer {
  readonly revision: number;
  readonly succeeded: boolean;
  /** Undefined after a success, and when the key is absent. */
  readonly found: KeyValue | undefined;
}

export interface WatchRequest {
  readonly key: string;
  readonly rangeEnd?: string;
  readonly startRevision: number;
  /** Changes come with the value that they replaced. */
  readonly withBefore: boolean;
}

/** An answer of a watch, or a part of one. */
export interface WatchPiece {
  /** Without changes: nothing up to here is missing, unless `created`. */
  readonly revision: number;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly cancelReason: string;
  readonly compactRevision: number;
  /** The rest of the answer follows in other ones. */
  readonly fragment: boolean;
  readonly events: readonly EtcdEvent[];
}

export interface EtcdEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: number;
  readonly created: boolean;
  /** Empty for deletions. */
  readonly text: string;
  readonly before: KeyValue | undefined;
}

export interface EtcdStatus {
  /** The same for all members of a cluster. */
  readonly clusterId: string;
  readonly version: string;
  readonly sizeBytes: number;
  /** Without what a defragmentation would free. */
  readonly inUseBytes: number;
  /** 0 before etcd 3.6, which does not say it here. */
  readonly quotaBytes: number;
  readonly hasLeader: boolean;
  /** The member that answers leads. */
  readonly isLeader: boolean;
}

export const alarmTypes = ['NOSPACE', 'CORRUPT'] as const;
/** While one is raised etcd refuses writes; a person disarms it. */
export type Alarm = (typeof alarmTypes)[number];

export const calls = {
  range: callOf<RangeRequest, RangeAnswer>('KV/Range', rangeFields, readRange),
  txn: callOf<TxnRequest, TxnAnswer>('KV/Txn', txnFields, readTxn),
  compact: callOf<{ readonly revision: number; readonly physical: boolean }, void>(
    'KV/Compact',
    ({ revision, physical }) => [integer(1, revision), flag(2, physical)],
    () => undefined,
  ),
  watch: callOf<WatchRequest | 'progress', WatchPiece>('Watch/Watch', watchFields, readWatch),
  /** Gives the token. */
  authenticate: callOf<{ readonly user: string; readonly password: string }, string>(
    'Auth/Authenticate',
    ({ user, password }) => [text(1, user), text(2, password)],
    readToken,
  ),
  status: callOf<void, EtcdStatus>('Maintenance/Status', () => [], readStatus),
  /** Without fields it asks for the alarms that are raised. */
  alarms: callOf<void, readonly Alarm[]>('Maintenance/Alarm', () => [], readAlarms),
};

function callOf<Request, Answer>(
  path: string,
  fieldsOf: (request: Request) => readonly Field[],
  read: (reader: FieldReader) => Answer,
): GrpcMethod<Request, Answer> {
  return {
    path: `/etcdserverpb.${path}`,
    encode: (request) => encode(fieldsOf(request)),
    decode: (bytes) => read(new FieldReader(bytes)),
  };
}

function rangeFields({ key, rangeEnd = '', limit = 0, revision = 0 }: RangeRequest): readonly Field[] {
  return [text(1, key), text(2, rangeEnd), integer(3, limit), integer(4, revision)];
}

/** `Compare.CompareTarget`: the revision at which the key was changed last. The comparison itself is `EQUAL`, which is 0. */
const modTarget = 2;

function txnFields({ compare, success, read }: TxnRequest): readonly Field[] {
  return [
    // The revision of an absent key is 0, and is compared like any other.
    ...compare.map(({ key, revision }) => message(1, [integer(2, modTarget), text(3, key), integer(6, revision, true)])),
    message(
      2,
      'put' in success ? [message(2, [text(1, success.put.key), text(2, success.put.text)])] : [message(3, [text(1, success.delete)])],
    ),
    message(3, [message(1, rangeFields({ key: read }))]),
  ];
}

function watchFields(request: WatchRequest | 'progress'): readonly Field[] {
  if (request === 'progress') return [message(3, [])];
  const { key, rangeEnd = '', startRevision, withBefore } = request;
  const [progressNotify, fragment] = [flag(4, true), flag(8, true)];
  return [message(1, [text(1, key), text(2, rangeEnd), integer(3, startRevision), progressNotify, flag(6, withBefore), fragment])];
}

function readHeader(reader: FieldReader): number {
  let revision = 0;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 3) revision = reader.integer();
    else reader.skip();
  }
  return revision;
}

function readKeyValue(reader: FieldReader): KeyValue {
  let [key, value, createRevision, modRevision] = ['', '', 0, 0];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) key = reader.text();
    else if (field === 2) createRevision = reader.integer();
    else if (field === 3) modRevision = reader.integer();
    else if (field === 5) value = reader.text();
    else reader.skip();
  }
  return { key, text: value, createRevision, modRevision };
}

function readRange(reader: FieldReader): RangeAnswer {
  let revision = 0;
  let more = false;
  const entries: KeyValue[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) revision = readHeader(reader.message());
    else if (field === 2) entries.push(readKeyValue(reader.message()));
    else if (field === 3) more = reader.flag();
    else reader.skip();
  }
  return { revision, entries, more };
}

function readTxn(reader: FieldReader): TxnAnswer {
  let revision = 0;
  let succeeded = false;
  let found: KeyValue | undefined;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) revision = readHeader(reader.message());
    else if (field === 2) succeeded = reader.flag();
    else if (field === 3) found = readResponse(reader.message());
    else reader.skip();
  }
  return { revision, succeeded, found };
}

/** Only the operation for a comparison that failed reads. */
function readResponse(reader: FieldReader): KeyValue | undefined {
  let found: KeyValue | undefined;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) [found] = readRange(reader.message()).entries;
    else reader.skip();
  }
  return found;
}

function readWatch(reader: FieldReader): WatchPiece {
  const piece = { revision: 0, created: false, canceled: false, cancelReason: '', compactRevision: 0, fragment: false };
  const events: EtcdEvent[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) piece.revision = readHeader(reader.message());
    else if (field === 3) piece.created = reader.flag();
    else if (field === 4) piece.canceled = reader.flag();
    else if (field === 5) piece.compactRevision = reader.integer();
    else if (field === 6) piece.cancelReason = reader.text();
    else if (field === 7) piece.fragment = reader.flag();
    else if (field === 11) events.push(readEvent(reader.message()));
    else reader.skip();
  }
  return { ...piece, events };
}

function readEvent(reader: FieldReader): EtcdEvent {
  let isDeletion = false;
  let after: KeyValue = { key: '', text: '', createRevision: 0, modRevision: 0 };
  let before: KeyValue | undefined;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) isDeletion = reader.flag();
    else if (field === 2) after = readKeyValue(reader.message());
    else if (field === 3) before = readKeyValue(reader.message());
    else reader.skip();
  }
  const { key, modRevision: revision, createRevision } = after;
  return {
    type: isDeletion ? 'delete' : 'put',
    key,
    revision,
    created: !isDeletion && createRevision === revision,
    text: isDeletion ? '' : after.text,
    before,
  };
}

function readToken(reader: FieldReader): string {
  let token = '';
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 2) token = reader.text();
    else reader.skip();
  }
  return token;
}

/** Ids have 64 bits, which a number would round. */
const noId = '00';

function readIds(reader: FieldReader): { readonly cluster: string; readonly member: string } {
  let [cluster, member] = [noId, noId];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) cluster = reader.rawInteger();
    else if (field === 2) member = reader.rawInteger();
    else reader.skip();
  }
  return { cluster, member };
}

function readStatus(reader: FieldReader): EtcdStatus {
  const status = { version: '', sizeBytes: 0, inUseBytes: 0, quotaBytes: 0 };
  let ids = { cluster: noId, member: noId };
  let leader = noId;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) ids = readIds(reader.message());
    else if (field === 2) status.version = reader.text();
    else if (field === 3) status.sizeBytes = reader.integer();
    else if (field === 4) leader = reader.rawInteger();
    else if (field === 9) status.inUseBytes = reader.integer();
    else if (field === 12) status.quotaBytes = reader.integer();
    else reader.skip();
  }
  const hasLeader = leader !== noId;
  return { ...status, clusterId: ids.cluster, hasLeader, isLeader: hasLeader && leader === ids.member };
}

function readAlarms(reader: FieldReader): readonly Alarm[] {
  const raised = new Set<Alarm | undefined>();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 2) raised.add(readAlarm(reader.message()));
    else reader.skip();
  }
  return alarmTypes.filter((type) => raised.has(type));
}

function readAlarm(reader: FieldReader): Alarm | undefined {
  let type = 0;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 2) type = reader.integer();
    else reader.skip();
  }
  return alarmTypes[type - 1];
}

import { type Answer, decode, encode } from 'dns-packet';

/** Response codes of RFC 1035 and RFC 6891. */
export const rcodes = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;
export type Rcode = (typeof rcodes)[keyof typeof rcodes];

/** The question of a client. */
export interface Query {
  readonly id: number;
  /** In lower case, without the final dot; empty for the root. */
  readonly name: string;
  /** `A`, `SRV`, or `UNKNOWN_65` for types without a name in `dns-packet`. */
  readonly type: string;
  readonly isInternet: boolean;
  /** Name, type and class as they were sent. */
  readonly question: Buffer;
  readonly recursionDesired: boolean;
  /** Bytes of a UDP answer that the client takes; absent without EDNS. */
  readonly udpBytes: number | undefined;
}

/** A message that asks nothing that can be answered: no answer at all, or one with a code. */
export interface BadMessage {
  readonly reply: Buffer | undefined;
  readonly rcode: Rcode | undefined;
}

const headerBytes = 12;
/** Questions are small; anything longer is an attack or an error. */
export const maxQueryBytes = 4_096;
/** Smallest and largest UDP answer: RFC 1035, and what passes any network without fragments. */
const udpBytes = { least: 512, most: 1_232 } as const;
const flags = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100, recursionAvailable: 0x0080 } as const;
/** Records beside the question: EDNS, and a signature that is not looked at. */
const maxAdditionals = 2;

export const isBadMessage = (message: Query | BadMessage): message is BadMessage => 'reply' in message;

/** Reads the message of a client. Costs at most some microseconds, whatever it holds. */
export function parseQuery(message: Buffer): Query | BadMessage {
  // An answer to an answer would let two servers talk forever.
  if (message.length < headerBytes || (message.readUInt16BE(2) & flags.response) !== 0) return { reply: undefined, rcode: undefined };
  if (((message.readUInt16BE(2) >> 11) & 0xf) !== 0) return refuse(message, rcodes.notImplemented);
  const [questions = 0, answers = 0, authorities = 0, additionals = 0] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at));
  if (message.length > maxQueryBytes || questions !== 1 || answers !== 0 || authorities !== 0 || additionals > maxAdditionals)
    return refuse(message, rcodes.formatError);
  try {
    const { questions: [asked] = [], additionals: extra = [] } = decode(message);
    if (asked === undefined) return refuse(message, rcodes.formatError);
    const end = questionEnd(message);
    const question = message.subarray(headerBytes, end);
    const edns = extra.find(({ type }) => type === 'OPT') as
      | { readonly udpPayloadSize?: number; readonly ednsVersion?: number }
      | undefined;
    const query: Query = {
      id: message.readUInt16BE(0),
      name: asked.name === '.' ? '' : asked.name.toLowerCase(),
      type: asked.type,
      isInternet: asked.class === 'IN',
      question,
      recursionDesired: (message.readUInt16BE(2) & flags.recursionDesired) !== 0,
      udpBytes: edns === undefined ? undefined : Math.min(Math.max(edns.udpPayloadSize ?? 0, udpBytes.least), udpBytes.most),
    };
    if (edns !== undefined && (edns.ednsVersion ?? 0) !== 0)
      return { reply: encodeReply(query, { rcode: rcodes.badVersion, answers: [] }, udpBytes.least), rcode: rcodes.badVersion };
    return query;
  } catch {
    // Truncated in the middle, or a name that points at itself.
    return refuse(message, rcodes.formatError);
  }
}

/** @throws RangeError when the message ends first, Error when the name is a pointer: nothing lies before the first name */
function questionEnd(message: Buffer): number {
  let at = headerBytes;
  for (let length = message.readUInt8(at); length !== 0; length = message.readUInt8(at)) {
    if (length > 63) throw new Error('compressed question');
    at += 1 + length;
  }
  if (at + 5 > message.length) throw new RangeError('question without type and class');
  return at + 5;
}

/** Header only: no part of a message that cannot be read is repeated. */
function refuse(message: Buffer, rcode: Rcode): BadMessage {
  const reply = Buffer.alloc(headerBytes);
  message.copy(reply, 0, 0, 2);
  reply.writeUInt16BE(flags.response | (message.readUInt16BE(2) & (0x7800 | flags.recursionDesired)) | rcode, 2);
  return { reply, rcode };
}

export interface Reply {
  readonly rcode: Rcode;
  readonly answers: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly additionals?: readonly Answer[];
  readonly authoritative?: boolean;
}

/** Longest answer to a query over UDP. */
export const udpLimit = (query: Query): number => query.udpBytes ?? udpBytes.least;
/** Longest answer over TCP, whose length has two bytes. */
export const tcpLimit = 65_535;

/**
 * Writes an answer of at most `limit` bytes. Answers that do not fit are left out, and the message then says so (TC). A client that never
 * asks again over TCP still gets the first ones. Additional records are left out without a word.
 */
export function encodeReply(
  query: Query,
  { rcode, answers, authorities = [], additionals = [], authoritative = false }: Reply,
  limit: number,
): Buffer {
  const head = replyHead(query, rcode, authoritative ? flags.authoritative : 0);
  const parts: Buffer[] = [head, query.question];
  let room = limit - headerBytes - query.question.length - (query.udpBytes === undefined ? 0 : optBytes);
  let isFull = false;
  for (const [at, section] of [answers, authorities, additionals].entries()) {
    let count = 0;
    for (const record of section) {
      if (isFull) break;
      const bytes = encodeRecord(query, record);
      if (bytes.length > room) {
        isFull = true;
        if (at === 0) head.writeUInt16BE(head.readUInt16BE(2) | flags.truncated, 2);
        break;
      }
      room -= bytes.length;
      parts.push(bytes);
      count += 1;
    }
    head.writeUInt16BE(count, 6 + 2 * at);
  }
  if (query.udpBytes !== undefined) appendOpt(head, parts, rcode);
  return Buffer.concat(parts);
}

/** The record, with a pointer for its name when that is the question's: half of the bytes of a long list. */
function encodeRecord(query: Query, record: Answer): Buffer {
  const bytes = encode({ type: 'response', answers: [record] }).subarray(headerBytes);
  const nameBytes = query.question.length - 4;
  return record.name === query.name && query.name !== '' ? Buffer.concat([pointerToQuestion, bytes.subarray(nameBytes)]) : bytes;
}

const pointerToQuestion = Buffer.from([0xc0, headerBytes]);

function replyHead(query: Query, rcode: number, extraFlags: number): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.writeUInt16BE(query.id, 0);
  head.writeUInt16BE(
    flags.response | extraFlags | (query.recursionDesired ? flags.recursionDesired : 0) | flags.recursionAvailable | (rcode & 0xf),
    2,
  );
  head.writeUInt16BE(1, 4);
  return head;
}

const optBytes = 11;

/** Says the size that this server takes, and the upper bits of the code. */
function appendOpt(head: Buffer, parts: Buffer[], rcode: number): void {
  const opt = Buffer.alloc(optBytes);
  opt.writeUInt16BE(optType, 1);
  opt.writeUInt16BE(udpBytes.most, 3);
  opt.writeUInt8(rcode >> 4, 5);
  parts.push(opt);
  head.writeUInt16BE(head.readUInt16BE(10) + 1, 10);
}

const optType = 41;
const soaType = 6;

/** The answer of another server, kept as it came. */
export interface ForeignReply {
  readonly message: Buffer;
  readonly rcode: number;
  readonly isTruncated: boolean;
  readonly records: readonly ForeignRecord[];
  /** Time for which it may be kept: that of its first record to expire, or of the absence that it states. */
  readonly ttlSeconds: number;
}

interface ForeignRecord {
  /** 0 answer, 1 authority, 2 additional. */
  readonly section: number;
  readonly start: number;
  readonly end: number;
  readonly ttlAt: number;
  readonly ttl: number;
}

/** A question to another server, in lower case, with an identifier that a stranger cannot guess. */
export function encodeForeignQuery(id: number, question: Buffer): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(flags.recursionDesired, 2);
  head.writeUInt16BE(1, 4);
  const parts = [head, question];
  appendOpt(head, parts, 0);
  return Buffer.concat(parts);
}

/** Letters of names in lower case; the lengths of labels are below the letters. */
export function lowerCaseQuestion(question: Buffer): Buffer {
  const lower = Buffer.from(question);
  for (let at = 0; at < lower.length - 4; at += 1) {
    const byte = lower.readUInt8(at);
    if (byte >= 0x41 && byte <= 0x5a) lower.writeUInt8(byte | 0x20, at);
  }
  return lower;
}

/**
 * Reads the answer to a question that was sent with `id`. Its records stay bytes, so that types which nobody here knows pass unchanged.
 *
 * @returns undefined for a message that is no answer to it
 */
export function tryReadForeign(message: Buffer, id: number, question: Buffer): ForeignReply | undefined {
  const end = headerBytes + question.length;
  if (message.length < end || message.readUInt16BE(0) !== id || (message.readUInt16BE(2) & flags.response) === 0) return undefined;
  if (message.readUInt16BE(4) !== 1 || !lowerCaseQuestion(message.subarray(headerBytes, end)).equals(question)) return undefined;
  try {
    const records: ForeignRecord[] = [];
    let at = end;
    let ttlSeconds = Number.POSITIVE_INFINITY;
    for (const section of [0, 1, 2]) {
      for (let count = message.readUInt16BE(6 + 2 * section); count > 0; count -= 1) {
        const start = at;
        at = skipName(message, at);
        const type = message.readUInt16BE(at);
        const ttlAt = at + 4;
        const ttl = message.readUInt32BE(ttlAt);
        at += 10 + message.readUInt16BE(at + 8);
        if (at > message.length) return undefined;
        // The option is between neighbours; what follows it would have to move.
        if (type === optType) break;
        records.push({ section, start, end: at, ttlAt, ttl });
        ttlSeconds = Math.min(ttlSeconds, ttl);
        if (section === 1 && type === soaType) ttlSeconds = Math.min(ttlSeconds, message.readUInt32BE(at - 4));
      }
    }
    const head = message.readUInt16BE(2);
    return {
      message,
      rcode: head & 0xf,
      isTruncated: (head & flags.truncated) !== 0,
      records,
      ttlSeconds: Number.isFinite(ttlSeconds) ? ttlSeconds : 0,
    };
  } catch {
    // A record beyond the end.
    return undefined;
  }
}

/** @throws RangeError beyond the end */
function skipName(message: Buffer, from: number): number {
  let at = from;
  for (;;) {
    const length = message.readUInt8(at);
    if (length >= 0xc0) return at + 2;
    if (length === 0) return at + 1;
    at += 1 + length;
  }
}

/** The same answer for another query of that question, `ageSeconds` later, cut to `limit` as `encodeReply` does. */
export function encodeForeignReply(
  query: Query,
  { message, rcode, records }: ForeignReply,
  { ageSeconds, limit }: { readonly ageSeconds: number; readonly limit: number },
): Buffer {
  const optRoom = query.udpBytes === undefined ? 0 : optBytes;
  const counts: [number, number, number] = [0, 0, 0];
  let end = headerBytes + query.question.length;
  let isTruncated = false;
  for (const record of records) {
    if (record.end + optRoom > limit) {
      isTruncated = record.section === 0;
      break;
    }
    counts[record.section as 0 | 1 | 2] += 1;
    end = record.end;
  }
  const body = Buffer.from(message.subarray(headerBytes + query.question.length, end));
  const offset = headerBytes + query.question.length;
  for (const record of records) if (record.end <= end) body.writeUInt32BE(Math.max(0, record.ttl - ageSeconds), record.ttlAt - offset);
  const head = replyHead(query, rcode, isTruncated ? flags.truncated : 0);
  for (const [at, count] of counts.entries()) head.writeUInt16BE(count, 6 + 2 * at);
  const parts = [head, query.question, body];
  if (query.udpBytes !== undefined) appendOpt(head, parts, rcode);
  return Buffer.concat(parts);
}

/** Answer records of a foreign reply, decoded; none when one of them cannot be read. */
export function answersOf({ message }: ForeignReply): readonly Answer[] {
  try {
    return decode(message).answers ?? [];
  } catch {
    return [];
  }
}

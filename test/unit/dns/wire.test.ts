import { type Answer, decode, encode } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeForeignReply,
  encodeReply,
  isBadMessage,
  lowerCaseQuestion,
  parseQuery,
  type Query,
  tryReadForeign,
  udpLimit,
} from '../../../src/dns/wire.ts';

const ask = (name: string, edns?: number): Buffer =>
  encode({
    type: 'query',
    id: 77,
    flags: 0x0100,
    questions: [{ name, type: 'A', class: 'IN' }],
    additionals: edns === undefined ? [] : [optOf(edns, 0)],
  });
const optOf = (udpPayloadSize: number, ednsVersion: number): Answer => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize,
  extendedRcode: 0,
  ednsVersion,
  flags: 0,
  flag_do: false,
  options: [],
});
function parsed(message: Buffer): Query {
  const query = parseQuery(message);
  if (isBadMessage(query)) throw new Error(`bad message, ${query.rcode}`);
  return query;
}
const rcodeOf = (message: Buffer): number | undefined => {
  const query = parseQuery(message);
  return isBadMessage(query) ? query.rcode : 0;
};
const addresses = (count: number, name: string): Answer[] =>
  Array.from({ length: count }, (_, index) => ({ name, type: 'A', ttl: 5, data: `10.0.${index >> 8}.${index & 255}` }));

describe('hostile messages', () => {
  const valid = ask('web.default.svc.cluster.local');
  const changed = (change: (message: Buffer) => void): Buffer => {
    const copy = Buffer.from(valid);
    change(copy);
    return copy;
  };

  it.each([
    ['no question', changed((message) => message.writeUInt16BE(0, 4)), 1],
    ['two questions', changed((message) => message.writeUInt16BE(2, 4)), 1],
    ['65,535 records that are not there', changed((message) => message.writeUInt16BE(0xffff, 6)), 1],
    ['65,535 additional records', changed((message) => message.writeUInt16BE(0xffff, 10)), 1],
    ['an update', changed((message) => message.writeUInt16BE(5 << 11, 2)), 4],
    ['a name that points at itself', changed((message) => message.writeUInt16BE(0xc00c, 12)), 1],
    ['a label longer than the message', changed((message) => message.writeUInt8(63, 12)), 1],
    ['a reserved kind of label', changed((message) => message.writeUInt8(0x80, 12)), 1],
    ['a question that is cut', valid.subarray(0, valid.length - 3), 1],
    ['a header alone', valid.subarray(0, 12), 1],
    ['more than a question ever needs', Buffer.concat([valid, Buffer.alloc(5_000)]), 1],
  ])('%s', (_, message, rcode) => {
    expect(rcodeOf(message)).toBe(rcode);
  });

  it('are not answered when they are answers, or shorter than a header', () => {
    expect(parseQuery(changed((message) => message.writeUInt16BE(0x8000, 2)))).toEqual({ reply: undefined, rcode: undefined });
    expect(parseQuery(Buffer.alloc(11))).toEqual({ reply: undefined, rcode: undefined });
  });

  it('get an error that is shorter than they are', () => {
    const query = parseQuery(Buffer.concat([valid, Buffer.alloc(5_000)]));
    expect(isBadMessage(query) && query.reply?.length).toBe(12);
  });

  it('with any content do not throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 600 }), fc.boolean(), (bytes, asQuestion) => {
        const message = Buffer.from(bytes);
        if (asQuestion && message.length >= 12) message.set([0, 0, 0, 1, 0, 0, 0, 0, 0, 1], 2);
        parseQuery(message);
        tryReadForeign(message, message.length >= 2 ? message.readUInt16BE(0) : 0, message.subarray(12, 20));
      }),
      { numRuns: 1_000 },
    );
  });

  it('with a later EDNS get the version in return', () => {
    const later = encode({ type: 'query', id: 1, questions: [{ name: 'a', type: 'A' }], additionals: [optOf(1_232, 1)] });
    expect(rcodeOf(later)).toBe(16);
  });
});

describe('an answer', () => {
  it('repeats the question as it was sent, and points at its name', () => {
    const query = parsed(ask('WeB.default'));
    expect(query).toMatchObject({ name: 'web.default', type: 'A', isInternet: true, recursionDesired: true });
    const reply = encodeReply(query, { rcode: 0, answers: addresses(2, 'web.default'), authoritative: true }, 512);
    expect(reply.length).toBe(12 + query.question.length + 2 * 16);
    expect(decode(reply)).toMatchObject({
      id: 77,
      flag_aa: true,
      flag_ra: true,
      rcode: 'NOERROR',
      questions: [{ name: 'WeB.default' }],
      answers: [{ name: 'WeB.default', data: '10.0.0.0' }, { data: '10.0.0.1' }],
    });
  });

  it.each([
    ['without EDNS', undefined, 512],
    ['with a small buffer', 100, 512],
    ['with a buffer that would need fragments', 4_096, 1_232],
  ])('is cut, and says so, %s', (_, edns, limit) => {
    const query = parsed(ask('hl.default', edns));
    expect(udpLimit(query)).toBe(limit);
    const reply = encodeReply(query, { rcode: 0, answers: addresses(300, 'hl.default') }, udpLimit(query));
    expect(reply.length).toBeLessThanOrEqual(limit);
    const { flag_tc, answers = [], additionals = [] } = decode(reply);
    expect(flag_tc).toBe(true);
    // As many as fit: a client that never asks by TCP works with these.
    expect(answers.length).toBeGreaterThan(limit / 20);
    expect(additionals.map(({ type }) => type)).toEqual(edns === undefined ? [] : ['OPT']);
  });

  it('leaves additional records out without saying so', () => {
    const query = parsed(ask('hl.default'));
    const reply = decode(encodeReply(query, { rcode: 0, answers: addresses(20, 'hl.default'), additionals: addresses(40, 'other') }, 512));
    expect(reply.flag_tc).toBe(false);
    expect(reply.answers).toHaveLength(20);
    expect(reply.additionals?.length).toBeLessThan(40);
  });
});

describe('the answer of another server', () => {
  const query = parsed(ask('WWW.example.com', 4_096));
  const question = lowerCaseQuestion(query.question);
  const foreign = (answers: Answer[], authorities: Answer[] = [], id = 9): Buffer =>
    encode({
      type: 'response',
      id,
      questions: [{ name: 'www.example.com', type: 'A' }],
      answers,
      authorities,
      additionals: [optOf(1_232, 0)],
    });

  it('passes with what is left of its time, to the client as it asked', () => {
    const reply = tryReadForeign(foreign(addresses(2, 'www.example.com')), 9, question);
    expect(reply).toMatchObject({ rcode: 0, ttlSeconds: 5, isTruncated: false });
    if (reply === undefined) return;
    expect(decode(encodeForeignReply(query, reply, { ageSeconds: 3, limit: 1_232 }))).toMatchObject({
      id: 77,
      flag_aa: false,
      questions: [{ name: 'WWW.example.com' }],
      answers: [{ ttl: 2, data: '10.0.0.0' }, { ttl: 2 }],
      additionals: [{ type: 'OPT' }],
    });
  });

  it('is cut to what the client takes', () => {
    const reply = tryReadForeign(foreign(addresses(100, 'www.example.com')), 9, question);
    if (reply === undefined) throw new Error('no reply');
    const cut = encodeForeignReply(query, reply, { ageSeconds: 0, limit: 512 });
    expect(cut.length).toBeLessThanOrEqual(512);
    expect(decode(cut)).toMatchObject({ flag_tc: true });
  });

  it('is kept as long as the absence that it states', () => {
    const soa: Answer = { type: 'SOA', name: 'example.com', ttl: 900, data: { mname: 'a', rname: 'b', serial: 1, minimum: 20 } };
    expect(tryReadForeign(foreign([], [soa]), 9, question)?.ttlSeconds).toBe(20);
  });

  it('is no answer with another identifier, another question or a record beyond its end', () => {
    const good = foreign(addresses(1, 'www.example.com'));
    expect(tryReadForeign(good, 10, question)).toBeUndefined();
    expect(tryReadForeign(good, 9, lowerCaseQuestion(parsed(ask('ww2.example.com')).question))).toBeUndefined();
    expect(tryReadForeign(good.subarray(0, good.length - 13), 9, question)).toBeUndefined();
  });
});

import { describe, expect, it } from 'vitest';
import { calls } from '../../../../src/storage/etcd/messages.ts';
import { encode, FieldReader, integer, text } from '../../../../src/storage/etcd/protobuf.ts';

describe('messages of etcd', () => {
  // As protobufjs encodes the same requests.
  it('are encoded as by a library that knows their schema', () => {
    const txn = calls.txn.encode({
      compare: [
        { key: '/é', revision: 0 },
        { key: '/b', revision: 300 },
      ],
      success: { put: { key: '/é', text: '{}' } },
      read: '/é',
    });
    expect(Buffer.from(txn).toString('hex')).toBe(
      '0a0910021a032fc3a930000a0910021a022f6230ac02120b12090a032fc3a912027b7d1a070a050a032fc3a9',
    );
    expect(Buffer.from(calls.watch.encode('progress')).toString('hex')).toBe('1a00');
    const never = encode([integer(6, -1), integer(6, Number.MAX_SAFE_INTEGER)]);
    expect(never.toString('hex')).toBe('30ffffffffffffffffff0130ffffffffffffff0f');
  });

  it('are refused when they are cut short, or a field is of another type', () => {
    const whole = encode([text(1, 'x'.repeat(200))]);
    const readText = (bytes: Buffer) => {
      const reader = new FieldReader(bytes);
      return reader.next() === 1 ? reader.text() : undefined;
    };
    expect(readText(whole)).toBe('x'.repeat(200));
    for (const end of [1, 2, 100, 202]) expect(() => readText(whole.subarray(0, end))).toThrow('cut short');
    expect(() => readText(encode([integer(1, 5)]))).toThrow('another type');
    const endless = new FieldReader(Buffer.from([8, ...Array.from({ length: 12 }, () => 0xff)]));
    endless.next();
    expect(() => endless.integer()).toThrow('more than 64 bits');
  });

  it('are read past fields that they did not have before', () => {
    const later = Buffer.from([0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4, 0x72, 1, 0, 0x68, 7, 0x10, 1]);
    expect(calls.txn.decode(later)).toEqual({ revision: 0, succeeded: true, found: undefined });
  });
});

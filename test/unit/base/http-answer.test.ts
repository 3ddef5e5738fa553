import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readAnswer, readAnswerStart } from '../../../src/base/http-answer.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('the body of an HTTP answer', () => {
  it('is read as one text, also when a character is split between chunks', async () => {
    const answer = new PassThrough();
    const [head, tail] = [Buffer.from('aé').subarray(0, 2), Buffer.from('aé').subarray(2)];
    answer.write(head);
    answer.end(tail);
    expect(await readAnswer(answer, { maxBytes: 3 })).toBe('aé');
  });

  it('above the bound is an error that names the bound, and the connection is closed', async () => {
    const answer = new PassThrough();
    answer.write('four');
    await expect(readAnswer(answer, { maxBytes: 3 })).rejects.toThrow('the answer is larger than 3 bytes');
    expect(answer.destroyed).toBe(true);
  });

  it('above the bound is cut where a part is enough, and the connection is closed', async () => {
    const answer = new PassThrough();
    answer.write('four');
    expect(await readAnswerStart(answer, { maxBytes: 3 })).toBe('fou');
    expect(answer.destroyed).toBe(true);
  });

  it('that does not end is given up after its time', async () => {
    const clock = createManualClock();
    const answer = new PassThrough();
    answer.write('one');
    const read = readAnswer(answer, { maxBytes: 10, time: { clock, maxMs: 5_000 } });
    const refused = expect(read).rejects.toThrow('the answer did not end within 5000 ms');
    clock.advance(4_999);
    expect(answer.destroyed).toBe(false);
    clock.advance(1);
    await refused;
    expect(clock.pending).toBe(0);
  });

  it('leaves no timer when it ends in time', async () => {
    const clock = createManualClock();
    const answer = new PassThrough();
    answer.end('one');
    expect(await readAnswer(answer, { maxBytes: 10, time: { clock, maxMs: 5_000 } })).toBe('one');
    expect(clock.pending).toBe(0);
  });
});

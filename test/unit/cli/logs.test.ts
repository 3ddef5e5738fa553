import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { copyLines } from '../../../src/cli/logs.ts';

async function copy(chunks: readonly Buffer[], prefix = ''): Promise<string> {
  let text = '';
  const output = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  async function* log(): AsyncIterable<Buffer> {
    yield* chunks;
  }
  await copyLines(log(), { prefix, output, signal: new AbortController().signal });
  return text;
}

it('writes whole lines with their prefix, wherever the chunks of the log end', async () => {
  const bytes = Buffer.from('one – two\nthree\nwithout an end');
  for (let at = 0; at <= bytes.length; at += 1) {
    expect(await copy([bytes.subarray(0, at), bytes.subarray(at)], '[pod/a/b] ')).toBe(
      '[pod/a/b] one – two\n[pod/a/b] three\n[pod/a/b] without an end\n',
    );
  }
});

it('keeps colours, and no other escape sequence of a pod', async () => {
  expect(await copy([Buffer.from('\u001b[31mred\u001b[0m \u001b]0;title\u0007 \u001b[2J\n')])).toBe(
    '\u001b[31mred\u001b[0m  ]0;title   [2J\n',
  );
});

it('prints a line without an end in pieces, so that it takes no memory without a bound', async () => {
  const chunk = Buffer.alloc(40_000, 'x');
  const lines = (await copy(Array.from({ length: 10 }, () => chunk))).split('\n');
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(104_000);
  expect(lines.join('').length).toBe(400_000);
});

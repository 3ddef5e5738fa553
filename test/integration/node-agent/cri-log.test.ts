import { appendFile, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { type LogOptions, readLog } from '../../../src/node-agent/container-log.ts';
import type { CriClient } from '../../../src/node-agent/containerd/cri-client.ts';
import { rotateLogs } from '../../../src/node-agent/containerd/runtime-watch.ts';
import { createManualClock } from '../../support/manual-clock.ts';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-cri-log-'));
  path = join(directory, '0.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const all: LogOptions = { follow: false, tailLines: undefined, since: undefined, timestamps: false, limitBytes: undefined };

const open = (changes: Partial<LogOptions>, isRunning = (): boolean => false, signal = new AbortController().signal) =>
  readLog({ log: { path }, options: { ...all, ...changes }, isRunning, clock: systemClock, signal });

async function read(changes: Partial<LogOptions> = {}): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of open(changes)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** As containerd writes it: both streams, a line in two pieces, a fraction without trailing zeros. */
const lines = [
  '2026-12-01T10:00:00.5Z stdout F one',
  '2026-12-01T10:00:01.123456789Z stderr F two',
  '2026-12-01T10:00:02Z stdout P thr',
  '2026-12-01T10:00:02.1Z stdout F ee',
  '2026-12-01T10:00:03Z stdout F ',
  '2026-12-01T10:00:04Z stdout P unfinished',
];

describe('a log in the format of the Container Runtime Interface', () => {
  it('is read whole, from its last lines, from a time, up to a size, and with the times of its lines', async () => {
    await writeFile(path, `${lines.join('\n')}\n`);
    expect(await read()).toBe('one\ntwo\nthree\n\nunfinished');
    expect(await read({ tailLines: 3 })).toBe('three\n\nunfinished');
    expect(await read({ tailLines: 0 })).toBe('');
    expect(await read({ tailLines: 99 })).toBe('one\ntwo\nthree\n\nunfinished');
    expect(await read({ limitBytes: 6 })).toBe('one\ntw');
    expect(await read({ since: Date.parse('2026-12-01T10:00:02Z') })).toBe('three\n\nunfinished');
    expect(await read({ since: Date.parse('2026-12-01T10:00:02Z'), tailLines: 1 })).toBe('unfinished');
    expect(await read({ timestamps: true, tailLines: 4 })).toBe(
      '2026-12-01T10:00:01.123456789Z two\n2026-12-01T10:00:02Z three\n2026-12-01T10:00:03Z \n2026-12-01T10:00:04Z unfinished',
    );
  });

  it('goes on from the rotated part, and leaves out what is no line of this format', async () => {
    await writeFile(`${path}.1`, `${lines.slice(0, 2).join('\n')}\n`);
    await writeFile(path, `garbage\n\0\0\0\n${lines[4]}\n2026-12-01T10:00:05Z stdout F last\n2026-12-01T10:00:06Z stdout F being writ`);
    expect(await read()).toBe('one\ntwo\n\nlast\n');
    expect(await read({ tailLines: 3 })).toBe('two\n\nlast\n');
  });

  it('is empty when there is no file', async () => {
    expect(await read()).toBe('');
    expect(await read({ tailLines: 5 })).toBe('');
  });

  it('keeps memory bounded by a file without line ends', async () => {
    await writeFile(path, Buffer.alloc(3 * 1024 * 1024, 0x61));
    expect(await read()).toBe('');
  });

  it('is followed through a rotation until the program ends', async () => {
    await writeFile(path, `${lines[0]}\n`);
    let running = true;
    let text = '';
    const reading = (async () => {
      for await (const chunk of open({ follow: true }, () => running)) text += chunk.toString('utf8');
    })();
    await expect.poll(() => text).toBe('one\n');
    await appendFile(path, `${lines[1]}\n`);
    await expect.poll(() => text).toBe('one\ntwo\n');
    await rename(path, `${path}.1`);
    await writeFile(path, '2026-12-01T10:00:07Z stdout F after\n');
    await expect.poll(() => text, { timeout: 5_000 }).toBe('one\ntwo\nafter\n');
    running = false;
    await reading;
    expect(text).toBe('one\ntwo\nafter\n');
  });

  it('is moved at 10 MiB, comes back when the runtime opens no other file, and is opened again when it is missing', async () => {
    const clock = createManualClock();
    const abort = new AbortController();
    let isAway = true;
    let asked = 0;
    const client = {
      async reopenContainerLog() {
        asked += 1;
        if (isAway) throw new Error('the connection broke');
        await writeFile(path, '', { flag: 'a' });
        return {};
      },
    } as unknown as CriClient;
    const log = createLog({ level: 'silent' });
    const rotating = rotateLogs({ client, own: {}, clock, log, signal: abort.signal, openLogs: () => [['c', path]] });
    /** Looks at the log once more, to the end of that look. */
    const look = async (): Promise<string> => {
      await expect.poll(() => clock.pending).toBe(1);
      clock.advance(10_000);
      await expect.poll(() => clock.pending).toBe(1);
      const names = (await readdir(directory)).sort();
      return (await Promise.all(names.map(async (name) => `${name} ${(await stat(join(directory, name))).size}`))).join(', ');
    };
    const size = 10 * 1024 * 1024 + 1;
    await writeFile(path, Buffer.alloc(size - 1));
    expect([await look(), asked]).toEqual([`0.log ${size - 1}`, 0]);
    await appendFile(path, 'x');
    expect([await look(), asked]).toEqual([`0.log ${size}`, 1]);
    isAway = false;
    expect([await look(), asked]).toEqual([`0.log 0, 0.log.1 ${size}`, 2]);
    await rm(path);
    expect([await look(), asked]).toEqual([`0.log 0, 0.log.1 ${size}`, 3]);
    abort.abort();
    await rotating.catch(() => undefined);
  });
});

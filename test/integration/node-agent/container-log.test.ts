import { appendFile, chmod, copyFile, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { type LogOptions, readLog } from '../../../src/node-agent/container-log.ts';
import type { ContainerLog } from '../../../src/node-agent/container-runtime.ts';
import { recordLogTimes } from '../../../src/node-agent/process/log-times.ts';
import { until } from '../../support/until.ts';

let directory: string;
let log: Required<ContainerLog>;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-log-'));
  log = { path: join(directory, '0.log'), timesPath: join(directory, '0.log.times') };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const all: LogOptions = { follow: false, tailLines: undefined, since: undefined, timestamps: false, limitBytes: undefined };

async function read(changes: Partial<LogOptions> = {}): Promise<string> {
  const chunks: Buffer[] = [];
  const options = { ...all, ...changes };
  for await (const chunk of readLog({ log, options, isRunning: () => false, clock: systemClock, signal: new AbortController().signal }))
    chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

describe('a log', () => {
  it('is read whole, from its last lines, up to a size, and with the times of its lines', async () => {
    await writeFile(log.path, 'one\ntwo\nthree\nlast without newline');
    await writeFile(log.timesPath, '4 1000\n8 2000\n999 3000\n');
    expect(await read()).toBe('one\ntwo\nthree\nlast without newline');
    expect(await read({ tailLines: 2 })).toBe('three\nlast without newline');
    expect(await read({ tailLines: 0 })).toBe('');
    expect(await read({ tailLines: 99 })).toBe('one\ntwo\nthree\nlast without newline');
    expect(await read({ limitBytes: 6 })).toBe('one\ntw');
    expect(await read({ since: 2000 })).toBe('two\nthree\nlast without newline');
    expect(await read({ since: 2001, tailLines: 5 })).toBe('three\nlast without newline');
    expect(await read({ timestamps: true, tailLines: 3 })).toBe(
      '1970-01-01T00:00:02.000Z two\n1970-01-01T00:00:03.000Z three\n1970-01-01T00:00:03.000Z last without newline',
    );
  });

  it('begins in the part that was rotated away', async () => {
    await writeFile(`${log.path}.1`, 'a\nb\nc\n');
    await writeFile(log.path, 'd\ne\n');
    expect(await read()).toBe('a\nb\nc\nd\ne\n');
    expect(await read({ tailLines: 3 })).toBe('c\nd\ne\n');
    expect(await read({ tailLines: 2 })).toBe('d\ne\n');
  });

  it('keeps the end of what a program wrote faster than it was looked at', async () => {
    await writeFile(log.path, `${'x'.repeat(9_999)}\n${'y'.repeat(99)}\nlast\n`);
    const times = recordLogTimes({ log, clock: systemClock, logger: createLog({ level: 'silent' }), maxBytes: 200 });
    await until(async () => (await stat(log.path)).size === 0, { what: 'the log is cut' });
    await times.close();
    expect((await stat(`${log.path}.1`)).size).toBe(200);
    expect(await read({ tailLines: 2, timestamps: true })).toMatch(/^[-0-9T:.]+Z y{99}\n[-0-9T:.]+Z last\n$/);
  });

  it('is found from its end also over chunks, and with lines longer than one', async () => {
    const long = 'x'.repeat(200_000);
    await writeFile(log.path, `first\n${long}\nlast\n`);
    expect(await read({ tailLines: 2 })).toBe(`${long}\nlast\n`);
    expect((await read({ tailLines: 2, timestamps: true })).match(/Z /g)?.length).toBe(2);
  });

  it('is followed while its container runs, over a rotation, to the last line', async () => {
    await writeFile(log.path, 'before\n');
    let running = true;
    let received = '';
    const reading = (async () => {
      const options = { ...all, follow: true };
      for await (const chunk of readLog({
        log,
        options,
        isRunning: () => running,
        clock: systemClock,
        signal: new AbortController().signal,
      })) {
        received += chunk.toString('utf8');
      }
    })();
    await until(() => received === 'before\n', { what: 'start', intervalMs: 5 });
    await appendFile(log.path, 'after\n');
    await until(() => received === 'before\nafter\n', { what: 'following line', intervalMs: 5 });
    await copyFile(log.path, `${log.path}.1`);
    await truncate(log.path, 0);
    await appendFile(log.path, 'new\n');
    await until(() => received.endsWith('new\n'), { what: 'line after the rotation', intervalMs: 5 });
    running = false;
    await appendFile(log.path, 'end\n');
    await reading;
    expect(received).toBe('before\nafter\nnew\nend\n');
  });
});

describe('the times of a log', () => {
  it('are noted as it grows, and it is cut when it is too long', async () => {
    await writeFile(log.path, '');
    const times = recordLogTimes({ log, clock: systemClock, logger: createLog({ level: 'silent' }), maxBytes: 100 });
    const before = Date.now();
    await appendFile(log.path, 'line\n');
    await until(async () => /Z line\n$/.test(await read({ timestamps: true })), { what: 'line', intervalMs: 5 });
    await times.close();
    const [, stamp = ''] = /^(\S+) line\n$/.exec(await read({ timestamps: true })) ?? [];
    expect(Math.abs(Date.parse(stamp) - before)).toBeLessThan(5_000);

    const again = recordLogTimes({ log, clock: systemClock, logger: createLog({ level: 'silent' }), maxBytes: 100 });
    await appendFile(log.path, `${'y'.repeat(120)}\n`);
    await until(async () => (await read({ tailLines: 1 })) !== '' && (await stat(log.path)).size === 0, {
      what: 'rotation',
      intervalMs: 5,
    });
    await appendFile(log.path, 'fresh\n');
    expect(await read()).toBe(`line\n${'y'.repeat(120)}\nfresh\n`);
    await again.close();
  });

  it('stay a small file, whatever a program trickles, and right for the lines at the end', async () => {
    const notes = 60_000;
    await writeFile(log.path, 'x\n'.repeat(notes));
    await writeFile(
      log.timesPath,
      Array.from({ length: notes }, (_, index) => `${2 * (index + 1)} ${1_700_000_000_000 + 1_000 * index}\n`).join(''),
    );
    const times = recordLogTimes({ log, clock: systemClock, logger: createLog({ level: 'silent' }) });
    await appendFile(log.path, 'end\n');
    await times.close();
    expect((await stat(log.timesPath)).size).toBeLessThan(256 * 1024);
    const lines = (await read({ timestamps: true, tailLines: 40 })).split('\n').slice(0, -2);
    for (const [index, line] of lines.entries()) {
      const written = 1_700_000_000_000 + 1_000 * (notes - lines.length + index);
      const late = Date.parse(line.slice(0, line.indexOf(' '))) - written;
      expect(late).toBeGreaterThanOrEqual(0);
    }
  });

  it('are noted of a log that its program has closed to its reader, or says to be larger than a disk', async () => {
    await writeFile(log.path, 'line\n');
    await chmod(log.path, 0o000);
    const times = recordLogTimes({ log, clock: systemClock, logger: createLog({ level: 'silent' }), maxBytes: 100 });
    await until(async () => ((await stat(log.path)).mode & 0o600) === 0o600, { what: 'the log is open again', intervalMs: 5 });
    await truncate(log.path, 8 * 1024 ** 4);
    await until(async () => (await stat(log.path)).size === 0, { what: 'the log is cut', intervalMs: 5 });
    await times.close();
    expect((await stat(`${log.path}.1`)).size).toBeLessThanOrEqual(200);
  });
});

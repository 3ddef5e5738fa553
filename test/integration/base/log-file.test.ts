import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openLogFile } from '../../../src/base/log-file.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

describe('a log file', () => {
  it('outlives a disk that takes nothing, and says what was lost', async () => {
    const path = join(await temporaryDirectory('log'), 'midship.log');
    // A directory in its place refuses writes to root as well.
    await mkdir(path);
    const log = openLogFile({ path });
    for (const line of ['one\n', 'two\n']) log.write(line);
    await new Promise((resolve) => setImmediate(resolve));
    await rmdir(path);
    await until(
      async () => {
        log.write('three\n');
        return (await textOf(path)).includes('three');
      },
      { what: 'the log is written again' },
    );
    expect(await textOf(path)).toMatch(/"lines":\d+,"msg":"Lost log lines"/);
  });

  it('keeps one older file and no more', async () => {
    const path = join(await temporaryDirectory('log'), 'midship.log');
    const log = openLogFile({ path, maxBytes: 100 });
    for (let index = 0; index < 20; index += 1) {
      const line = `${String(index).padStart(49, '.')}\n`;
      log.write(line);
      await until(async () => `${await textOf(`${path}.1`)}${await textOf(path)}`.includes(line), { what: `line ${index} is there` });
    }
    expect((await textOf(path)).length + (await textOf(`${path}.1`)).length).toBeLessThanOrEqual(250);
  });

  it('writes what is in memory at the end', async () => {
    const path = join(await temporaryDirectory('log'), 'midship.log');
    const log = openLogFile({ path });
    for (let index = 0; index < 3; index += 1) log.write(`${index}\n`);
    log.flush();
    await until(async () => (await textOf(path)).split('\n').length === 4, { what: 'all lines' });
  });
});

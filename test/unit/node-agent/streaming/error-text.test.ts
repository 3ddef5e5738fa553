import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { errorText } from '../../../../src/node-agent/streaming/error-text.ts';

const errorOf = (action: Promise<unknown>): Promise<unknown> =>
  action.then(
    () => undefined,
    (err: unknown) => err,
  );

it('gives a client the error of a file, without its path on this machine', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'error-text-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const pipe = join(directory, 'stdin');
  execFileSync('mkfifo', [pipe]);
  const noReader = await errorOf(open(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
  expect(errorText(noReader)).toBe('ENXIO: no such device or address');
  expect(errorText(await errorOf(readFile(join(directory, 'gone'))))).toBe('ENOENT: no such file or directory');
  const spawned = Object.assign(new Error(`spawn ${pipe} EACCES`), { code: 'EACCES', path: pipe, syscall: `spawn ${pipe}` });
  expect(errorText(spawned)).toBe('EACCES');
});

it('leaves what the runtime says of a container', () => {
  expect(errorText(new Error('container web is not running'))).toBe('container web is not running');
});

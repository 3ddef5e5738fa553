import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { processStat } from '../../src/base/process-identity.ts';
import { type CommandResult, type Endpoints, program, run } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';

const midship = (...args: string[]): Promise<CommandResult> => run(process.execPath, [program, ...args], { ...process.env, NO_COLOR: '1' });
const upFlags = (data: string): readonly string[] => ['--data-dir', data, '--api-port', '0', '--http-port', '0', '--runtime', 'simulated'];
const endpointsOf = async (data: string): Promise<Endpoints> => JSON.parse(await readFile(join(data, 'endpoints.json'), 'utf8'));

it.skipIf(!existsSync('/usr/bin/script'))(
  'a job in the background of a shell runs, answers and ends on demand (needs /usr/bin/script)',
  async () => {
    const data = await temporaryDirectory('job');
    const job = [process.execPath, program, 'up', ...upFlags(data)].join(' ');
    // With job control the shell keeps the foreground of the terminal for itself.
    const shell = spawn('script', ['--quiet', '--flush', '--return', '--command', `bash -c 'set -m; ${job} & wait $!'`, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, NO_COLOR: '1', SHELL: '/bin/bash' },
    });
    let text = '';
    shell.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const ended = new Promise<number | null>((resolve) => shell.once('exit', resolve));
    const { pid } = await until(() => (existsSync(join(data, 'endpoints.json')) ? endpointsOf(data) : undefined), {
      what: () => `the start is over; ${text}`,
    });
    try {
      await until(() => text.includes('Push to'), { what: () => `addresses; ${text}` });
      expect(await midship('status', '--data-dir', data)).toMatchObject({ code: 0, stderr: '' });
      expect((await processStat(pid))?.state).not.toBe('T');
      expect(await midship('down', '--data-dir', data)).toMatchObject({ code: 0 });
      expect(await ended).toBe(0);
      expect(text).not.toContain('q stops');
    } finally {
      if ((await processStat(pid)) !== undefined) process.kill(pid, 'SIGKILL');
    }
  },
);

it('up -d ends when the cluster answers, prints its addresses, and leaves its output in a file', async () => {
  const data = await temporaryDirectory('detached');
  const started = await midship('up', '--detach', ...upFlags(data));
  const { http, pid } = await endpointsOf(data);
  try {
    expect(started).toMatchObject({ code: 0, stderr: '' });
    for (const text of [http, join(data, 'kubeconfig'), '/git/cluster.git', join(data, 'logs', 'terminal.log'), String(pid)])
      expect(started.stdout).toContain(text);
    expect(await midship('status', '--data-dir', data)).toMatchObject({ code: 0 });
    const { of, settings } = JSON.parse((await midship('config', '--data-dir', data, '-o', 'json')).stdout);
    expect([of, settings]).toEqual(['running', expect.arrayContaining([{ name: '--data-dir', value: data, from: 'flag' }])]);
    for (const detached of [['-d'], []]) {
      const second = await midship('up', ...detached, ...upFlags(data));
      expect(second).toMatchObject({ code: 2, stderr: expect.stringMatching(/is running\n +It is process \d+\.\n.*midship down/) });
    }
    const copy = await temporaryDirectory('copied');
    for (const file of ['endpoints.json', 'network.json']) await cp(join(data, file), join(copy, file));
    // Refused for the addresses: the process in the file of the copy is that of the original.
    expect(await midship('down', '--data-dir', copy)).toMatchObject({ code: 2, stderr: expect.stringContaining('are in use by another') });
  } finally {
    expect(await midship('down', '--data-dir', data)).toMatchObject({ code: 0, stderr: 'stopped\n' });
  }
  expect(await processStat(pid)).toBeUndefined();
  expect(await readFile(join(data, 'logs', 'terminal.log'), 'utf8')).toMatch(/✓ API server[\s\S]*data stays in .*\n +stopped\n/);
});

it('up -d says why a start failed, as a start in the foreground does', async () => {
  const data = await temporaryDirectory('failed');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const failed = await midship('up', '-d', ...upFlags(data), '--api-port', String(port));
  server.close();
  expect(failed).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(`✗ port ${port} is taken\n`) });
});

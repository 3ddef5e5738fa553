import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import { openProcessHost, type ProcessHost } from '../../src/node-agent/process/process-host.ts';
import { openProcessRuntime } from '../../src/node-agent/process/process-runtime.ts';
import { eventually, RuntimeFixture, type RuntimeUnderTest } from './container-runtime.ts';

const log = createLog({ level: 'silent' });
const searchPath = process.env.PATH ?? '';

/** This machine as the process runtime finds it, and as it is without namespaces. */
export const hosts = {
  namespaces: await openProcessHost({ nodePath: process.execPath, searchPath }),
  plain: await openProcessHost({ nodePath: process.execPath, searchPath, plain: true, insecurePlainPods: true }),
  withoutCgroups: await openProcessHost({ nodePath: process.execPath, searchPath, cgroupRoot: '/nowhere' }),
};
export const isolated = hosts.namespaces.isolation.mode === 'namespaces';

/** An argument of sleep that no other process of this machine has. */
export const sleepLike = (seconds: number): string => `${seconds}.${process.pid}5`;

const podCidr = '127.200.16.0/24';

/** The process runtime on a machine as `host` says it is. */
export function processRuntime(name: string, host: ProcessHost): RuntimeUnderTest {
  const hasVolumes = host.isolation.mode === 'namespaces';
  return {
    name: `process, ${name}`,
    runsPrograms: true,
    skip: name === 'namespaces' && !hasVolumes ? 'this machine gives no namespaces' : undefined,
    open: (directory) =>
      openProcessRuntime({
        host,
        directory: join(directory, 'pods', 'node-a', 'runtime'),
        podCidr,
        version: '0',
        clock: systemClock,
        log,
      }),
    image: 'host/sh',
    badImage: 'not an image',
    survivesRestart: true,
    hasContainers: false,
    hasVolumes,
    isFirstProcess: false,
    seesEndBehindChild: true,
    listener: (address, port) => [
      'node',
      '-e',
      `require("net").createServer((socket) => socket.end("hello")).listen(${port}, "${address}", () => console.log("listening"))`,
    ],
  };
}

export const createProcessFixture = (host: ProcessHost): Promise<RuntimeFixture> =>
  RuntimeFixture.create(processRuntime(host.isolation.mode, host));

/** `PID ARGUMENTS` of every process of this machine. */
export async function commandLines(): Promise<string[]> {
  const lines: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      lines.push(`${pid} ${await readFile(`/proc/${pid}/cmdline`, 'utf8')}`);
    } catch {
      // Ended while it was looked at.
    }
  }
  return lines;
}

export async function killByCommandLine(text: string): Promise<void> {
  const line = await eventually(`process ${text}`, async () => (await commandLines()).find((candidate) => candidate.includes(` ${text}`)));
  process.kill(Number(line.split(' ')[0]), 'SIGKILL');
}

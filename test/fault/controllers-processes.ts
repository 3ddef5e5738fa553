import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { pods } from '../../src/api/core/v1/pod.ts';
import { timestampOf } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import type { ControllerDependencies } from '../../src/reconcile/dependencies.ts';
import { startTestApiServer } from '../support/api-server.ts';
import { program } from '../support/cluster.ts';
import { startControllers } from '../support/control-plane.ts';
import { createServerPart, type Host } from './controllers-host.ts';
import type { HostOptions } from './controllers-run.ts';

const commands = ['controllers', 'scheduler'] as const;
/** A process that has just begun needs a second or more until it works; after that nothing more may be due. */
const maxWaitMs = 5_000;
/** From its first write after an act to the signal: in the middle of what the act made necessary. */
const maxDelayMs = 150;
const flags: Readonly<Record<(typeof commands)[number], readonly string[]>> = {
  // The lease of the killed one would have to end before each new one.
  controllers: ['--leader-elect', 'false', '--secure-port', '0', '--node-monitor-grace-period', '1h'],
  scheduler: ['--leader-elect', 'false', '--secure-port', '0'],
};

/** An API server here, and the controllers and the scheduler as processes of the built program. The part of a server runs here, too. */
export async function startProcesses({ prepare, random }: HostOptions & { readonly random: () => number }): Promise<Host> {
  const server = await startTestApiServer();
  const people = server.client;
  const now = (): string => timestampOf(Date.now());
  const { cloudUrl } = await prepare({ people, now });
  const part = await startControllers(server.api.clientFor(), [(dependencies) => asOne(dependencies, cloudUrl)]);
  const startCommand = (name: (typeof commands)[number]): ChildProcess =>
    spawn(process.execPath, [program, name, '--kubeconfig', server.kubeconfig, ...flags[name]], { stdio: 'ignore' });
  const running = new Map(commands.map((name) => [name, startCommand(name)]));

  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const tick = (times: number): Promise<void> => pause(25 * times);
  const version = async (): Promise<string | undefined> => (await people.list(pods, { limit: 1 })).metadata.resourceVersion;

  async function end(child: ChildProcess | undefined): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  return {
    ...{ people, now, tick, endRounds: 2 },
    // A process that starts on a busy machine is silent for seconds.
    quietLooks: 160,
    skip: async () => undefined,
    killInCall: () => undefined,
    async kill() {
      const name = commands[Math.floor(random() * commands.length)] ?? 'controllers';
      const before = await version();
      const deadline = Date.now() + maxWaitMs;
      while ((await version()) === before && Date.now() < deadline) await pause(10);
      const isInterrupted = (await version()) !== before;
      await pause(random() * maxDelayMs);
      await end(running.get(name));
      running.set(name, startCommand(name));
      return isInterrupted;
    },
    async stop() {
      for (const child of running.values()) await end(child);
      await part.stop();
      await server.stop();
    },
  };
}

function asOne(dependencies: ControllerDependencies, cloudUrl: string): Component {
  const all = createServerPart(() => dependencies, cloudUrl);
  return {
    name: 'server-part',
    start: async (options) => void (await Promise.all(all.map((each) => each.start(options)))),
    stop: async () => void (await Promise.all(all.map((each) => each.stop()))),
  };
}

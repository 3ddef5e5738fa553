import { type Clock, timestampOf } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import { createLog } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { startAll } from '../../src/base/shutdown.ts';
import { createControllers } from '../../src/cli/compose/controllers.ts';
import type { Client } from '../../src/client/client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { createCloudControllers } from '../../src/cloud/cloud-controllers.ts';
import { createLocalPathClassController } from '../../src/controllers/local-path/local-path-class.ts';
import { createLocalPathClaimController, createLocalPathVolumeController } from '../../src/controllers/local-path/local-path-controller.ts';
import { localPathProvisioner } from '../../src/lifecycle/local-path-volume.ts';
import { createControllerMetrics } from '../../src/reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../../src/reconcile/dependencies.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { createScheduler } from '../../src/scheduler/scheduler.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { createLife, type Faults, type Life, withFaults } from '../support/faults.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import type { HostOptions, Surroundings } from './controllers-run.ts';

/** An API, and the controllers that work on it until they are killed. */
export interface Host {
  /** An administrator, whom no fault meets. */
  readonly people: Client;
  /** The time, as objects say it. */
  now(): string;
  /** Lets 25 ms pass, `times` times. */
  tick(times: number): Promise<void>;
  /** Lets time pass that nothing has to be computed for. */
  skip(ms: number): Promise<void>;
  /** Looks 25 ms apart without a write after which nothing more is expected. */
  readonly quietLooks: number;
  readonly endRounds: number;
  /** The process is going to die in a call of that component from now on. */
  killInCall(component: string, calls: number): void;
  /** The process dies if it has not yet, and another one starts. @returns true when work was interrupted */
  kill(): Promise<boolean>;
  stop(): Promise<void>;
}

const log = createLog({ level: 'silent' });

/** Everything in this process, on a clock that only the run moves. A dead life hears nothing and has no effect. */
export async function startHost({ prepare, faults }: HostOptions & { readonly faults: Faults }): Promise<Host> {
  const clock = createManualClock(Math.floor(Date.now() / 1000) * 1000);
  const api = await startTestApi({ clock });
  const people = api.clientFor();
  const now = (): string => timestampOf(clock.now());
  const surroundings = await prepare({ people, now });
  let life = startLife({ api, clock, faults, surroundings });
  let isStopped = false;

  async function tick(times: number): Promise<void> {
    for (let done = 0; done < times; done += 1) {
      if (life.isOver && !isStopped) life = startLife({ api, clock, faults, surroundings });
      clock.advance(25);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  let armed: Life | undefined;
  return {
    ...{ people, now, tick, quietLooks: 10, endRounds: 6 },
    async skip(ms) {
      clock.advance(ms);
      await tick(1);
    },
    killInCall(component, calls) {
      armed = life;
      armed.endAfter(calls, component);
    },
    async kill() {
      const dying = armed ?? life;
      armed = undefined;
      for (let waited = 0; waited < 40 && !dying.isOver; waited += 1) await tick(1);
      const isInterrupted = dying.isOver;
      dying.endAfter(0);
      await tick(1);
      return isInterrupted;
    },
    async stop() {
      isStopped = true;
      life.endAfter(0);
      await api.stop();
    },
  };
}

interface LifeOptions {
  readonly api: TestApi;
  readonly clock: ManualClock;
  readonly faults: Faults;
  readonly surroundings: Surroundings;
}

/** A process with all controllers and the scheduler. */
function startLife({ api, clock: time, faults, surroundings: { cloudUrl, metrics: rawReader } }: LifeOptions): Life {
  const life = createLife();
  // A dead process tries nothing again. Its calls of the API have no effect, but those of the cloud would.
  const clock: Clock = { ...time, after: (ms, action) => time.after(ms, () => !life.isOver && action()) };
  const abort = new AbortController();
  life.onEnd(() => abort.abort(new Error('the process is dead')));
  const clientOf = (component: string): Client => withFaults(api.clientFor(), faults, life.of(component));
  const metrics = createMetrics();
  const informers = createInformerSet({ client: clientOf('caches'), clock, log });
  const events = createEventQueue({ client: clientOf('events'), clock, log, metrics });
  const controllerMetrics = createControllerMetrics({ metrics, clock });
  const steps = createStepLog({ clock, log, metrics });
  const dependencies = (component: string): ControllerDependencies => ({
    ...{ client: clientOf(component), informers, clock, log, steps },
    ...{ recorder: events.recorder(component), metrics: controllerMetrics },
  });
  const components = [
    ...createControllers({
      dependencies,
      caCertificate: undefined,
      admitsMachines: false,
      clusterCidr: undefined,
      // No agent sends heartbeats here.
      nodeGraceMs: Number.MAX_SAFE_INTEGER,
      rawReader,
    }),
    ...createServerPart(dependencies, cloudUrl),
    createScheduler({ ...dependencies('scheduler'), metrics, random: faults.random }),
  ];
  informers.start({ signal: abort.signal });
  // A process whose start fails ends, and its service manager starts it again.
  startAll([events, ...components], { clock, log, signal: abort.signal }).catch(() => life.endAfter(0));
  return life;
}

/** Controllers that stay with a server when the others run apart. */
export const createServerPart = (dependencies: (component: string) => ControllerDependencies, cloudUrl: string): readonly Component[] => [
  createLocalPathClassController({ ...dependencies(localPathProvisioner), isWanted: true }),
  createLocalPathClaimController(dependencies(localPathProvisioner)),
  createLocalPathVolumeController(dependencies(localPathProvisioner)),
  ...createCloudControllers({
    dependencies,
    clusterCidr: undefined,
    settings: { remote: { url: cloudUrl }, hasLoadBalancers: true, reservedPorts: new Map() },
  }),
];

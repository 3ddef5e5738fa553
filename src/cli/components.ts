import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import type { LeaderElectionTiming } from '../base/leader-election-timing.ts';
import { createLog } from '../base/log.ts';
import { boundHeapGrowth } from '../base/memory-budget.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { readSchedulerConfiguration } from './compose/control-plane-inputs.ts';
import { type ComponentName, controllersFor, type LedComponents, schedulerFor, startLedComponents } from './compose/led-components.ts';
import { explainKubeconfig } from './connect.ts';
import { holderOf } from './explain.ts';
import { Failure } from './failure.ts';
import { lostLease } from './lost-lease.ts';
import { createStopRequests } from './stop-requests.ts';

export interface ComponentsOptions {
  readonly kubeconfig: string;
  readonly context: string | undefined;
  /** Several may run on one cluster: one works, the others wait. Undefined: this is the only one. */
  readonly election: LeaderElectionFlags | undefined;
  /** For its state and metrics; undefined: nothing listens. */
  readonly listensOn: { readonly address: string; readonly port: number } | undefined;
  readonly logLevel: string;
  readonly output: NodeJS.WritableStream;
  readonly version: string;
}

/** Flags of an election; absent: the Lease of Kubernetes' own component, in `kube-system`. */
export interface LeaderElectionFlags {
  readonly timing: LeaderElectionTiming;
  readonly resourceNamespace: string | undefined;
  readonly resourceName: string | undefined;
}

export interface ControllersOptions extends ComponentsOptions {
  /** Absent: nodes have their ranges from elsewhere. */
  readonly clusterCidr: string | undefined;
  readonly nodeGraceMs: number;
}

/** Runs the controllers on the cluster of a kubeconfig, until the process is asked to stop. @throws Failure when another one took over */
export function runControllers(options: ControllersOptions): Promise<number> {
  const { clusterCidr, nodeGraceMs } = options;
  return run(options, 'kube-controller-manager', (caCertificate) => controllersFor({ caCertificate, clusterCidr, nodeGraceMs }));
}

export interface SchedulerOptions extends ComponentsOptions {
  /** A KubeSchedulerConfiguration; undefined: upstream's defaults. */
  readonly configurationFile: string | undefined;
}

/** The same for the scheduler. @throws Failure also when the file is wrong */
export async function runScheduler(options: SchedulerOptions): Promise<number> {
  const { configurationFile } = options;
  const configuration = configurationFile === undefined ? undefined : await readSchedulerConfiguration(configurationFile);
  return run(options, 'kube-scheduler', () => schedulerFor(configuration));
}

type Create = Parameters<typeof startLedComponents>[0]['create'];

async function run(
  { kubeconfig, context, election, listensOn, logLevel, output, version }: ComponentsOptions,
  name: ComponentName,
  createWith: (caCertificate: string | undefined) => Create,
): Promise<number> {
  boundHeapGrowth();
  const { namespace: _, ...connection } = await loadKubeconfig(kubeconfig, context).catch(explainKubeconfig);
  const log = createLog({ level: logLevel });
  const lease = { namespace: election?.resourceNamespace ?? 'kube-system', name: election?.resourceName ?? name };
  const leaseName = `${lease.namespace}/${lease.name}`;
  const abort = new AbortController();
  setMaxListeners(100, abort.signal);
  const stopped = createStopRequests(abort);
  let components: LedComponents | undefined;
  try {
    components = await startLedComponents({
      connection,
      name,
      create: createWith(connection.caCertificate),
      election: election && { identity: `${hostname()}_${randomUUID()}`, lease, timing: election.timing },
      log,
      version,
      signal: abort.signal,
      listensOn,
      onListening: (url) => void output.write(`  state and metrics at ${url}\n`),
      onStandby: (holder) => void output.write(`  stands by: ${holder} holds the lease ${leaseName}\n`),
    });
    output.write(`  works on ${connection.server}${election === undefined ? '' : `, by the lease ${leaseName}`}\n`);
    const { lost } = components;
    const isLost = new Promise<void>((resolve) => {
      if (lost.aborted) resolve();
      else lost.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([stopped.reason, isLost]);
    if (lost.aborted && !abort.signal.aborted) throw lostLease(lost.reason);
    return stopped.exitCode();
  } catch (err) {
    if (abort.signal.aborted) return stopped.exitCode();
    throw await explain(err, connection.server);
  } finally {
    await components?.stop();
    stopped.close();
  }
}

async function explain(err: unknown, server: string): Promise<unknown> {
  const { code, port, address } = (err ?? {}) as { readonly code?: unknown; readonly port?: unknown; readonly address?: unknown };
  if (code === 'EADDRINUSE') {
    const holder = await holderOf(Number(port));
    return new Failure(`port ${port} of ${address} is taken`, {
      why: `Another program listens there${holder === undefined ? '' : `: ${holder}`}.`,
      fix: 'Stop it, or choose another port: --secure-port 0 serves no state and no metrics.',
      cause: err,
    });
  }
  if (!isStatusError(err)) return err;
  return new Failure(`${server}: ${err.message}`, {
    why: 'The cluster refused what the component needs, or cannot be reached.',
    fix: 'Use a kubeconfig with the rights of cluster-admin, or of the component: kubectl auth whoami says whose it is.',
    cause: err,
  });
}

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ResolverConfig } from '../base/resolv-conf.ts';
import type { Client } from '../client/client.ts';
import type { EventRecorder } from '../reconcile/event-recorder.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import type { ConfigSource } from './config-source.ts';
import type { ContainerRuntime } from './container-runtime.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';
import type { NodePressure } from './node-pressure.ts';
import type { ClusterDns } from './pod-dns.ts';
import type { PodEndpoints } from './pod-endpoints.ts';
import type { Volumes } from './volumes.ts';

/** Context that the workers of one node share. */
export interface AgentContext {
  readonly nodeName: string;
  readonly hostIP: string;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly client: Client;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
  readonly steps: StepLog;
  readonly metrics: KubeletMetrics;
  readonly config: ConfigSource;
  readonly volumes: Volumes;
  /** Holds `NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log`. */
  readonly logDirectory: string;
  /** Absent: Services are not waited for. */
  readonly endpoints: PodEndpoints | undefined;
  /** Absent: pods resolve names as the machine does. */
  readonly dns: NodeDns | undefined;
  /** The machine goes down: no pod begins any more. */
  readonly shutdown: { readonly isUnderWay: boolean };
  /** The shortage of memory, disk or process ids for which new pods are refused. */
  readonly pressure: Pick<NodePressure, 'refusalOf' | 'conditions'>;
  /** Aborted when the agent stops. */
  readonly signal: AbortSignal;
}

/** Name resolution for the pods of a node. */
export interface NodeDns extends ClusterDns {
  /** The machine's own configuration, as it is now. */
  machine(): Promise<ResolverConfig>;
}

import { availableParallelism, homedir } from 'node:os';
import { dirname } from 'node:path';
import { createLimit } from '../../base/concurrency.ts';
import { bootId, readProcOptional } from '../../base/process-identity.ts';
import type { PodIsolation } from '../container-runtime.ts';
import { type CgroupAccess, type NoCgroups, openCgroups } from './cgroups.ts';
import {
  findSetpriv,
  findTerminalTools,
  type HostLayout,
  type Isolation,
  isWithin,
  probeIsolation,
  readHostLayout,
  type TerminalTools,
} from './isolation.ts';

/** Facts that the process runtimes of this machine share, detected once. */
export interface ProcessHost {
  readonly isolation: Isolation;
  readonly insecurePlainPods: boolean;
  readonly layout: HostLayout;
  readonly bootId: string;
  readonly cgroups: CgroupAccess | NoCgroups;
  /** PATH of containers that set none. The running Node is on it. */
  readonly defaultPath: string;
  /** HOME of containers that set none. */
  readonly home: string;
  /** Absent when the programs that make terminals (util-linux, coreutils) were not found. */
  readonly terminal: TerminalTools | undefined;
  /** Runs `start` when fewer than two starts a processor are under way: more of them only take longer. */
  limitStarts<T>(start: () => Promise<T>): Promise<T>;
}

export interface ProcessHostOptions {
  /** `process.execPath` */
  readonly nodePath: string;
  /** PATH of the agent, to find the tools of util-linux. */
  readonly searchPath: string;
  /** Skips the probe: pods cannot be kept apart. */
  readonly plain?: boolean;
  /** Runs pods even if the machine cannot keep them apart, as plain processes of the agent's user. */
  readonly insecurePlainPods?: boolean;
  /** Directories that no pod sees, wherever they are: the agent's data. */
  readonly hidden?: readonly string[];
  /** The directory at which control groups are mounted. */
  readonly cgroupRoot?: string;
}

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export async function openProcessHost(options: ProcessHostOptions): Promise<ProcessHost> {
  const { nodePath, searchPath, plain = false, insecurePlainPods = false, hidden = [], cgroupRoot = '/sys/fs/cgroup' } = options;
  const isolation: Isolation = plain
    ? { mode: 'plain', why: 'isolation is switched off', setpriv: await findSetpriv(searchPath) }
    : await probeIsolation(searchPath);
  const nodeDirectory = dirname(nodePath);
  const onPath = systemPath.split(':').some((directory) => isWithin(nodeDirectory, directory));
  return {
    isolation,
    insecurePlainPods,
    layout: await readHostLayout(nodePath, hidden),
    bootId: await bootId(),
    cgroups: await openCgroups({
      root: cgroupRoot,
      ownGroups: (await readProcOptional('/proc/self/cgroup')) ?? '',
      isRoot: process.getuid?.() === 0,
    }),
    terminal: await findTerminalTools(searchPath),
    defaultPath: onPath ? systemPath : `${nodeDirectory}:${systemPath}`,
    limitStarts: createLimit(2 * availableParallelism()),
    home: isolation.mode === 'namespaces' ? '/root' : homedir(),
  };
}

export function describeIsolation({ isolation, insecurePlainPods }: Pick<ProcessHost, 'isolation' | 'insecurePlainPods'>): PodIsolation {
  if (isolation.mode === 'namespaces') {
    return isolation.ids === undefined
      ? {
          isolated: true,
          reason: 'UserNamespaces',
          summary: 'each in a user namespace',
          message: 'Containers have user namespaces, and on the machine the id of the user who runs the agent.',
        }
      : {
          isolated: true,
          reason: 'OwnUserIds',
          summary: 'each in a user namespace with an id of its own',
          message: 'Containers have user namespaces, and each pod an id of its own on the machine.',
        };
  }
  return insecurePlainPods
    ? {
        isolated: false,
        reason: 'PlainProcesses',
        summary: 'NOT isolated',
        message: `Pods are plain processes that may do whatever the agent's user may (--insecure-plain-pods): ${isolation.why}.`,
      }
    : {
        isolated: false,
        reason: 'PodsRefused',
        summary: 'no pods: they cannot be isolated',
        message: `This machine cannot isolate pods, so it runs none: ${isolation.why}. To run them as plain processes of the agent's user, start with --insecure-plain-pods.`,
      };
}

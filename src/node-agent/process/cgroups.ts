import { access, constants, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { ContainerLimits } from '../container-runtime.ts';
import { sendSignal } from './stray-processes.ts';

/**
 * A part of the machine's control groups that is ours, with which the kernel bounds what containers use: `ROOT/midship/NODE/POD/CONTAINER`.
 *
 * @see Linux kernel documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1
 */
export type CgroupAccess = CgroupsV2 | CgroupsV1;

interface CgroupsV2 {
  readonly version: 2;
  readonly root: string;
  /** `cpu` may be missing: not everyone who delegates gives it. */
  readonly controllers: readonly string[];
}

interface CgroupsV1 {
  readonly version: 1;
  /** One hierarchy for each controller. */
  readonly roots: Readonly<Record<'memory' | 'cpu' | 'pids', string>>;
}

/** Reason why there is none. */
export interface NoCgroups {
  readonly version: undefined;
  readonly why: string;
}

export interface CgroupProbe {
  /** `/sys/fs/cgroup` */
  readonly root: string;
  /** The text of /proc/self/cgroup. */
  readonly ownGroups: string;
  readonly isRoot: boolean;
}

const ownName = 'midship';
/** Holds the agent where it may not stay beside the groups that it makes: processes are in leaves only. */
const agentName = 'midship-agent';
const needed = ['memory', 'pids'];
const cpuPeriodMicros = 100_000;
/** The kernel refuses less. */
const minCpuQuotaMicros = 1_000;

/**
 * Sets up the part that is ours. It is below the root of the machine for its root user, and below the agent's own group where that was
 * delegated.
 */
export async function openCgroups({ root, ownGroups, isRoot }: CgroupProbe): Promise<CgroupAccess | NoCgroups> {
  if (await isThere(join(root, 'cgroup.controllers'))) {
    const own = /^0::(\/.*)$/m.exec(ownGroups)?.[1] ?? '/';
    // An agent that starts again may find itself where an earlier one went.
    const delegated = join(root, basename(own) === agentName ? dirname(own) : own).replace(/\/$/, '');
    const reasons: string[] = [];
    for (const base of new Set(isRoot ? [root, delegated] : [delegated])) {
      const found = await openV2(base);
      if (found.version !== undefined) return found;
      reasons.push(found.why);
    }
    return { version: undefined, why: [...new Set(reasons)].join('; ') };
  }
  const roots = { memory: join(root, 'memory', ownName), cpu: join(root, 'cpu', ownName), pids: join(root, 'pids', ownName) };
  try {
    for (const path of Object.values(roots)) {
      // Elsewhere a directory could be made as well, and would bound nothing.
      if (!(await isThere(join(dirname(path), 'cgroup.procs')))) return { version: undefined, why: `${dirname(path)} is no control group` };
      await mkdir(path, { recursive: true });
      await access(join(path, 'cgroup.procs'), constants.W_OK);
    }
    return { version: 1, roots };
  } catch (err) {
    return { version: undefined, why: reasonOf(err) };
  }
}

async function openV2(base: string): Promise<CgroupsV2 | NoCgroups> {
  try {
    await access(join(base, 'cgroup.subtree_control'), constants.W_OK);
    const available = (await readFile(join(base, 'cgroup.controllers'), 'utf8')).trim().split(' ');
    const missing = needed.filter((name) => !available.includes(name));
    if (missing.length > 0) return { version: undefined, why: `${base} has no controller ${missing.join(', ')}` };
    const controllers = [...needed, ...(available.includes('cpu') ? ['cpu'] : [])];
    try {
      await enable(base, controllers);
    } catch (err) {
      // The group has processes, which is the agent itself where a group was delegated to it.
      if ((err as NodeJS.ErrnoException).code !== 'EBUSY') throw err;
      await evacuate(base);
      await enable(base, controllers);
    }
    const root = join(base, ownName);
    await mkdir(root, { recursive: true });
    await enable(root, controllers);
    return { version: 2, root, controllers };
  } catch (err) {
    return { version: undefined, why: reasonOf(err) };
  }
}

const enable = (path: string, controllers: readonly string[]): Promise<void> =>
  writeFile(join(path, 'cgroup.subtree_control'), controllers.map((name) => `+${name}`).join(' '));

async function evacuate(base: string): Promise<void> {
  const leaf = join(base, agentName);
  await mkdir(leaf, { recursive: true });
  for (const pid of await pidsOf(base)) await writeFile(join(leaf, 'cgroup.procs'), String(pid));
}

/** The groups of the pods of one node. Names are those of sandboxes and containers. */
export interface PodCgroups {
  /**
   * Makes the group of a container.
   *
   * @throws Error of the file system
   */
  prepare(pod: string, container: string, limits: ContainerLimits): Promise<void>;
  /** Changes the group of a container that runs. @throws Error of the kernel, such as for less memory than is in use */
  resize(pod: string, container: string, limits: ContainerLimits): Promise<void>;
  /** The files to which a process writes `0` to be in the group. */
  entrances(pod: string, container: string): readonly string[];
  /** True when the kernel has ended a process of the container because its memory was used up. */
  ranOutOfMemory(pod: string, container: string): Promise<boolean>;
  /** Ends what is still in the group, and removes it. */
  remove(pod: string, container?: string): Promise<void>;
  /** Removes every group of the node that has no process, but those in which the kernel ended one: they say why a container ended. */
  removeEmpty(): Promise<void>;
  /** Pods that have a group. */
  pods(): Promise<readonly string[]>;
}

const removeTries = 20;
const removePauseMs = 10;

export interface PodCgroupsOptions {
  readonly access: CgroupAccess;
  /** Names the node among those of this machine. */
  readonly node: string;
  /** Processes and threads of a pod. */
  readonly maxProcesses: number;
  readonly clock: Clock;
}

export function createPodCgroups({ access: found, node, maxProcesses, clock }: PodCgroupsOptions): PodCgroups {
  const hierarchies = hierarchiesOf(found);

  const make = (path: readonly string[], settings: Settings): Promise<void> =>
    makeGroup(found, { path: [node, ...path], settings, isInner: path.length === 1 });

  async function removeGroup(path: string): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      for (const child of await childrenOf(path)) await removeGroup(join(path, child));
      for (const pid of await pidsOf(path)) sendSignal(pid, 'SIGKILL');
      try {
        await rmdir(path);
        return;
      } catch (err) {
        const { code } = err as NodeJS.ErrnoException;
        if (code === 'ENOENT') return;
        if (code !== 'EBUSY' || tries === removeTries) throw err;
      }
      // A process that was killed is in its group until it is waited for.
      await new Promise<void>((resolve) => clock.after(removePauseMs, resolve));
    }
  }

  async function ranOutOfMemory(pod: string, container: string): Promise<boolean> {
    const file =
      found.version === 2
        ? join(found.root, node, pod, container, 'memory.events')
        : join(found.roots.memory, node, pod, container, 'memory.oom_control');
    const text = await readFile(file, 'utf8').catch(() => '');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0) > 0;
  }

  return {
    async prepare(pod, container, limits) {
      await make([pod], [{ controller: 'pids', file: 'pids.max', value: String(maxProcesses) }]);
      await make([pod, container], settingsOf(found, limits));
    },

    async resize(pod, container, limits) {
      const group = { path: [node, pod, container], settings: settingsOf(found, limits), isInner: false };
      await tryChangeGroup(found, group);
      await makeGroup(found, group);
    },

    entrances: (pod, container) => hierarchies.map((root) => join(root, node, pod, container, 'cgroup.procs')),

    ranOutOfMemory,

    async remove(pod, container) {
      for (const root of hierarchies) {
        await removeGroup(join(root, node, pod, ...(container === undefined ? [] : [container])));
        // The last pod of the node leaves nothing behind; while there are others this is refused.
        if (container === undefined) await removeIfUnused(join(root, node));
      }
    },

    async removeEmpty() {
      const outOfMemory = new Set<string>();
      for (const pod of await childrenOf(join(hierarchies[0] ?? '', node))) {
        for (const container of await childrenOf(join(hierarchies[0] ?? '', node, pod)))
          if (await ranOutOfMemory(pod, container)) outOfMemory.add(`${pod}/${container}`);
      }
      for (const root of hierarchies) {
        for (const pod of await childrenOf(join(root, node))) {
          for (const container of await childrenOf(join(root, node, pod)))
            if (!outOfMemory.has(`${pod}/${container}`)) await removeIfUnused(join(root, node, pod, container));
          await removeIfUnused(join(root, node, pod));
        }
        await removeIfUnused(join(root, node));
        await removeIfUnused(root);
      }
    },

    pods: () => childrenOf(join(hierarchies[0] ?? '', node)),
  };
}

export interface GroupOptions {
  /** Below the part that is ours. */
  readonly path: readonly string[];
  readonly settings: Settings;
  /** It holds other groups, and no process. */
  readonly isInner: boolean;
}

/** Makes a group in every hierarchy, and what is above it. @throws Error of the file system */
export async function makeGroup(found: CgroupAccess, { path, settings, isInner }: GroupOptions): Promise<void> {
  for (const root of hierarchiesOf(found)) await mkdir(join(root, ...path), { recursive: true });
  if (found.version === 2 && isInner) {
    for (const depth of [0, ...path.map((_, index) => index + 1)])
      await enable(join(found.root, ...path.slice(0, depth)), found.controllers);
  }
  for (const { controller, file, value, optional } of settings) {
    const root = found.version === 2 ? found.root : found.roots[controller];
    await writeFile(join(root, ...path, file), value).catch((err: unknown) => {
      if (!optional) throw err;
    });
  }
}

/**
 * Changes what the kernel lets it, last setting first. Amounts bound each other: swap bounds memory, and a group those in it. So one that
 * grows has to follow its bound, and one that shrinks goes first.
 */
export async function tryChangeGroup(found: CgroupAccess, { settings, ...group }: GroupOptions): Promise<void> {
  for (const each of settings.toReversed()) await makeGroup(found, { ...group, settings: [{ ...each, optional: true }] });
}

const hierarchiesOf = (found: CgroupAccess): readonly string[] => (found.version === 2 ? [found.root] : Object.values(found.roots));

/** As the kubelet sets them. */
export const settingsOf = (found: CgroupAccess, limits: Omit<ContainerLimits, 'oomScoreAdjust'>): Settings =>
  found.version === 2 ? settingsOfV2(found.controllers)(limits) : settingsOfV1(limits);

export type Settings = readonly {
  readonly controller: 'memory' | 'cpu' | 'pids';
  readonly file: string;
  readonly value: string;
  /** Absent on kernels without the feature, such as one that does not count swap. */
  readonly optional?: boolean;
}[];

const cpuQuotaOf = (milli: number): number => Math.max(minCpuQuotaMicros, Math.ceil((milli * cpuPeriodMicros) / 1_000));
const cpuSharesOf = (milli: number): number => Math.min(262_144, Math.max(2, Math.floor((milli * 1_024) / 1_000)));

/** A container that is out of memory ends as a whole; swap would only hide it. */
const settingsOfV2 =
  (controllers: readonly string[]) =>
  ({ memoryBytes, cpuMilli, cpuRequestMilli = 0 }: Omit<ContainerLimits, 'oomScoreAdjust'>): Settings => [
    ...(memoryBytes === undefined
      ? []
      : ([
          { controller: 'memory', file: 'memory.max', value: String(memoryBytes) },
          { controller: 'memory', file: 'memory.swap.max', value: '0', optional: true },
          { controller: 'memory', file: 'memory.oom.group', value: '1', optional: true },
        ] as const)),
    ...(controllers.includes('cpu')
      ? ([
          { controller: 'cpu', file: 'cpu.weight', value: String(1 + Math.floor(((cpuSharesOf(cpuRequestMilli) - 2) * 9_999) / 262_142)) },
          ...(cpuMilli === undefined
            ? []
            : [{ controller: 'cpu', file: 'cpu.max', value: `${cpuQuotaOf(cpuMilli)} ${cpuPeriodMicros}` } as const]),
        ] as const)
      : []),
  ];

const settingsOfV1 = ({ memoryBytes, cpuMilli, cpuRequestMilli = 0 }: Omit<ContainerLimits, 'oomScoreAdjust'>): Settings => [
  ...(memoryBytes === undefined
    ? []
    : ([
        { controller: 'memory', file: 'memory.limit_in_bytes', value: String(memoryBytes) },
        { controller: 'memory', file: 'memory.memsw.limit_in_bytes', value: String(memoryBytes), optional: true },
      ] as const)),
  { controller: 'cpu', file: 'cpu.shares', value: String(cpuSharesOf(cpuRequestMilli)) },
  ...(cpuMilli === undefined
    ? []
    : ([
        { controller: 'cpu', file: 'cpu.cfs_period_us', value: String(cpuPeriodMicros) },
        { controller: 'cpu', file: 'cpu.cfs_quota_us', value: String(cpuQuotaOf(cpuMilli)) },
      ] as const)),
];

/** The kernel refuses to remove a group that has processes or groups. */
const removeIfUnused = (group: string): Promise<void> => rmdir(group).catch(() => undefined);

async function pidsOf(group: string): Promise<readonly number[]> {
  const text = await readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '');
  return text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}

async function childrenOf(group: string): Promise<readonly string[]> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const reasonOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

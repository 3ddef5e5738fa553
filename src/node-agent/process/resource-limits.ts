import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { shellWord } from '../../base/shell-word.ts';
import type { ContainerLimits, NodeConditionReport } from '../container-runtime.ts';
import { type CgroupAccess, createPodCgroups, type NoCgroups } from './cgroups.ts';
import type { Isolation } from './isolation.ts';

/** The shell commands that bound a container. */
export interface LimitCommands {
  /** For the shell that becomes the container: they hold for it and all that it starts. */
  readonly outside: string;
  /** In front of the first program. */
  readonly words: readonly string[];
  /** For the first shell in the container's namespaces: what is counted there. */
  readonly inside: string;
}

export interface CommandsOptions {
  readonly pod: string;
  readonly container: string;
  readonly limits: ContainerLimits;
  /** The file that says why it did not start. */
  readonly failure: string;
}

/** Bounds what the containers of one node use: by control groups, or else by limits of each process. */
export interface ResourceLimits {
  readonly condition: NodeConditionReport;
  /** Before the start of a container. */
  prepare(pod: string, container: string, limits: ContainerLimits): Promise<void>;
  /** Changes what a container that runs may use; undefined where that is bounded at its start. */
  readonly resize: ((pod: string, container: string, limits: ContainerLimits) => Promise<void>) | undefined;
  /** For the start of a container that was prepared, or of a command in it. */
  commandsOf(options: CommandsOptions): LimitCommands;
  ranOutOfMemory(pod: string, container: string): Promise<boolean>;
  /** Ends what is left of a container, or of a pod, and forgets it. */
  remove(pod: string, container?: string): Promise<void>;
  /** Removes groups that nothing runs in; a start makes them again. */
  removeEmpty(): Promise<void>;
  /** Forgets pods that the runtime does not know. */
  removeOthers(pods: ReadonlySet<string>): Promise<void>;
}

export interface ResourceLimitsOptions {
  readonly cgroups: CgroupAccess | NoCgroups;
  readonly isolation: Isolation;
  /** The runtime's directory; it distinguishes the groups of this node from those of others. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Processes and threads of a pod, so that no pod can use up those of the machine. The kubelet has no such default; k3s' users set 1024. */
const maxPodProcesses = 1_024;
const maxOpenFiles = 65_536;
/** The control plane is preferred to pods where no control group weighs them. */
const niceness = 5;

export function createResourceLimits({ cgroups, isolation, directory, clock, log }: ResourceLimitsOptions): ResourceLimits {
  const node = createHash('sha256').update(directory).digest('hex').slice(0, 12);
  const groups =
    cgroups.version === undefined ? undefined : createPodCgroups({ access: cgroups, node, maxProcesses: maxPodProcesses, clock });

  const always = ({ oomScoreAdjust }: ContainerLimits): string[] => [
    `{ echo ${oomScoreAdjust} >/proc/self/oom_score_adj; } 2>/dev/null`,
    'ulimit -c 0 2>/dev/null',
    `ulimit -n ${maxOpenFiles} 2>/dev/null`,
  ];
  const join = (files: readonly string[], failure: string): string[] =>
    files.map(
      (file) =>
        `{ echo 0 >${shellWord(file)}; } 2>/dev/null || { echo ${shellWord(`join control group ${file} failed`)} >${shellWord(failure)}; exit 128; }`,
    );
  const bounded = ({ memoryBytes }: ContainerLimits): string[] => [
    ...(memoryBytes === undefined ? [] : [`ulimit -d ${Math.ceil(memoryBytes / 1_024)} 2>/dev/null`]),
  ];
  // Two shells name the limit by different letters. Without a user namespace all processes of the agent's user would count.
  const inside =
    groups === undefined && isolation.mode === 'namespaces'
      ? `ulimit -u ${maxPodProcesses} 2>/dev/null || ulimit -p ${maxPodProcesses} 2>/dev/null`
      : ':';
  const lines = (commands: readonly string[]): string => [...commands, ':'].join('\n');

  async function remove(pod: string, container?: string): Promise<void> {
    await groups?.remove(pod, container).catch((err: unknown) => log.warn({ err, sandbox: pod }, 'Could not remove control group'));
  }

  return {
    condition: conditionOf(cgroups),

    prepare: (pod, container, limits) => groups?.prepare(pod, container, limits) ?? Promise.resolve(),

    resize: groups === undefined ? undefined : (pod, container, limits) => groups.resize(pod, container, limits),

    commandsOf({ pod, container, limits, failure }) {
      if (groups === undefined)
        return { outside: lines([...always(limits), ...bounded(limits)]), words: ['nice', '-n', String(niceness)], inside };
      return { outside: lines([...join(groups.entrances(pod, container), failure), ...always(limits)]), words: [], inside };
    },

    ranOutOfMemory: async (pod, container) => (await groups?.ranOutOfMemory(pod, container)) ?? false,

    remove,

    async removeEmpty() {
      await groups?.removeEmpty();
    },

    async removeOthers(pods) {
      for (const pod of (await groups?.pods()) ?? []) if (!pods.has(pod)) await remove(pod);
    },
  };
}

function conditionOf(cgroups: CgroupAccess | NoCgroups): NodeConditionReport {
  const type = 'midship.dev/PodLimits';
  if (cgroups.version === undefined) {
    return {
      type,
      status: 'False',
      reason: 'ProcessLimits',
      message: `no control group is ours (${cgroups.why}): memory limits hold for each process, CPU limits are a lower priority`,
    };
  }
  const cpu = cgroups.version === 1 || cgroups.controllers.includes('cpu');
  const reason = `ControlGroupsV${cgroups.version}`;
  return { type, status: 'True', reason, message: `the kernel bounds memory, processes${cpu ? ' and CPU' : ''} of each pod` };
}

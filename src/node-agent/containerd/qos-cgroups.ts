import { readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { QosClass } from '../../api/core/v1/qos.ts';
import type { Log } from '../../base/log.ts';
import type { PodResources } from '../container-runtime.ts';
import { type CgroupAccess, makeGroup, openCgroups, settingsOf, tryChangeGroup } from '../process/cgroups.ts';

/**
 * Control groups of pods by their class, as under a kubelet: `kubepods/podUID`, `kubepods/burstable/podUID` and
 * `kubepods/besteffort/podUID`. They are in a group of this program, since a kubelet of the machine removes what it does not know.
 */
export interface QosCgroups {
  /** Makes the group of a pod with its limits, and gives its path below the root, which the runtime takes. */
  prepare(podUid: string, resources: PodResources | undefined): Promise<string>;
  /** Changes the limits of a pod's group. @throws Error of the kernel, such as for less memory than is in use */
  resize(podUid: string, resources: PodResources, containers: () => Promise<void>): Promise<void>;
  /** Sets the share of the pods of the class Burstable, the sum of their requests. */
  shareBurstable(cpuRequestMilli: number): Promise<void>;
  /** Processes and threads of a pod; undefined for one without a group. */
  countProcesses(podUid: string): Promise<number | undefined>;
  /** Removes the group of a pod, by its path; one that is in use stays. */
  remove(path: string): Promise<void>;
  /** Removes the groups of the classes, and what they are in; those with pods stay. */
  removeClasses(): Promise<void>;
}

const mountPoint = '/sys/fs/cgroup';
const ownGroup = '/midship';
const top = 'kubepods';
const classes: Readonly<Record<QosClass, readonly string[]>> = {
  Guaranteed: [top],
  Burstable: [top, 'burstable'],
  BestEffort: [top, 'besteffort'],
};

export async function openQosCgroups(log: Log): Promise<QosCgroups> {
  const found = await openCgroups({
    root: mountPoint,
    ownGroups: await readFile('/proc/self/cgroup', 'utf8'),
    isRoot: process.getuid?.() === 0,
  });
  if (found.version === undefined) log.warn({ why: found.why }, 'Could not make control groups of pods');
  const access = found.version === undefined ? undefined : found;
  const own = parentOf(access);

  return {
    async prepare(podUid, resources = { qosClass: 'BestEffort', cpuRequestMilli: 0 }) {
      const path = [...classes[resources.qosClass], `pod${podUid}`];
      if (access !== undefined) {
        const inner = { settings: [], isInner: true };
        await makeGroup(access, { path: classes.Burstable, ...inner });
        // The least share that there is.
        await makeGroup(access, { path: classes.BestEffort, settings: settingsOf(access, {}), isInner: true });
        await makeGroup(access, { path, settings: podSettings(access, resources), isInner: true });
      }
      return join(own, ...path);
    },

    async resize(podUid, resources, containers) {
      const group = { path: [...classes[resources.qosClass], `pod${podUid}`], isInner: true };
      const settings = access === undefined ? [] : podSettings(access, resources);
      // No container may have more than its pod, so a pod grows before its containers and shrinks after them. The kernel refuses the rest.
      if (access !== undefined) await tryChangeGroup(access, { ...group, settings });
      await containers();
      if (access !== undefined) await makeGroup(access, { ...group, settings });
    },

    async shareBurstable(cpuRequestMilli) {
      if (access === undefined) return;
      await makeGroup(access, { path: classes.Burstable, settings: settingsOf(access, { cpuRequestMilli }), isInner: true });
    },

    async countProcesses(podUid) {
      for (const path of Object.values(classes)) {
        // In the one hierarchy of version 2, or in that of process ids.
        for (const root of [mountPoint, join(mountPoint, 'pids')]) {
          const text = await readFile(join(root, own, ...path, `pod${podUid}`, 'pids.current'), 'utf8').catch(() => undefined);
          if (text !== undefined) return Number(text);
        }
      }
      return undefined;
    },

    remove: removeEmpty,

    async removeClasses() {
      for (const path of [classes.Burstable, classes.BestEffort, [top]]) await removeEmpty(join(own, ...path));
      // The group that this program is in, where it was given one, is not its own to remove.
      if (own === ownGroup) await removeEmpty(own);
    },
  };
}

/** The runtime makes a group in every hierarchy, and leaves it there. The kernel keeps one with processes or groups in it. */
async function removeEmpty(path: string): Promise<void> {
  const roots = [mountPoint, ...(await readdir(mountPoint).catch(() => [])).map((name) => join(mountPoint, name))];
  for (const root of roots) await rmdir(join(root, path)).catch(() => undefined);
}

/** `/midship`, or where this program was given a part of the machine, a group below that. */
function parentOf(access: CgroupAccess | undefined): string {
  if (access === undefined) return ownGroup;
  return access.version === 2 ? access.root.slice(mountPoint.length) : access.roots.memory.slice(join(mountPoint, 'memory').length);
}

/** A pod that is out of memory does not end as a whole: the kernel chooses a container. */
const podSettings = (access: CgroupAccess, { cpuRequestMilli, cpuLimitMilli, memoryLimitBytes }: PodResources) =>
  settingsOf(access, {
    cpuRequestMilli,
    ...(cpuLimitMilli === undefined || cpuLimitMilli === 0 ? {} : { cpuMilli: cpuLimitMilli }),
    ...(memoryLimitBytes === undefined || memoryLimitBytes === 0 ? {} : { memoryBytes: memoryLimitBytes }),
  }).filter(({ file }) => file !== 'memory.oom.group');

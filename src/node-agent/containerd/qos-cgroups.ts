import { readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { QosClass } from '../../api/core/v1/qos.ts';
import type { PodResources } from '../container-runtime.ts';
import { type CgroupAccess, makeGroup, openCgroups, settingsOf, tryChangeGroup } from '../process/cgroups.ts';
import { ContainerdError } from './containerd-service.ts';

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

/**
 * @param root  the machine's, but in tests
 * @throws ContainerdError where no group can be made: no limit would hold, and runc starts nothing
 */
export async function openQosCgroups(root = mountPoint): Promise<QosCgroups> {
  const access = await openCgroups({ root, ownGroups: await readFile('/proc/self/cgroup', 'utf8'), isRoot: process.getuid?.() === 0 });
  if (access.version === undefined) {
    throw new ContainerdError(
      `Control groups cannot be used: ${access.why}.`,
      'Mount cgroup2 at /sys/fs/cgroup. A Raspberry Pi needs cgroup_memory=1 cgroup_enable=memory on its kernel command line.',
    );
  }
  const own = parentOf(access);

  return {
    async prepare(podUid, resources = { qosClass: 'BestEffort', cpuRequestMilli: 0 }) {
      const path = [...classes[resources.qosClass], `pod${podUid}`];
      await makeGroup(access, { path: classes.Burstable, settings: [], isInner: true });
      // The least share that there is.
      await makeGroup(access, { path: classes.BestEffort, settings: settingsOf(access, {}), isInner: true });
      await makeGroup(access, { path, settings: podSettings(access, resources), isInner: true });
      return join(own, ...path);
    },

    async resize(podUid, resources, containers) {
      const group = { path: [...classes[resources.qosClass], `pod${podUid}`], isInner: true };
      const settings = podSettings(access, resources);
      // No container may have more than its pod, so a pod grows before its containers and shrinks after them. The kernel refuses the rest.
      await tryChangeGroup(access, { ...group, settings });
      await containers();
      await makeGroup(access, { ...group, settings });
    },

    async shareBurstable(cpuRequestMilli) {
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
function parentOf(access: CgroupAccess): string {
  return access.version === 2 ? access.root.slice(mountPoint.length) : access.roots.memory.slice(join(mountPoint, 'memory').length);
}

/** A pod that is out of memory does not end as a whole: the kernel chooses a container. */
const podSettings = (access: CgroupAccess, { cpuRequestMilli, cpuLimitMilli, memoryLimitBytes }: PodResources) =>
  settingsOf(access, {
    cpuRequestMilli,
    ...(cpuLimitMilli === undefined || cpuLimitMilli === 0 ? {} : { cpuMilli: cpuLimitMilli }),
    ...(memoryLimitBytes === undefined || memoryLimitBytes === 0 ? {} : { memoryBytes: memoryLimitBytes }),
  }).filter(({ file }) => file !== 'memory.oom.group');

import { realpathSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ContainerConfig, ContainerError, type Mount } from '../container-runtime.ts';
import { type HostLayout, isWithin } from './isolation.ts';
import { directoriesToLink, normalContainerPath, outsideIn, type PlannedMount, placeOfMount, whyNotAt } from './launch-script.ts';

export interface MountPlanOptions {
  readonly config: ContainerConfig;
  readonly layout: HostLayout;
  /** Holds the pod's `hosts` and `hostname`. */
  readonly sandboxDirectory: string;
  /** Holds the container's `termination-log`. */
  readonly containerDirectory: string;
}

export interface MountPlan {
  readonly mounts: readonly PlannedMount[];
  /** Directories of the host that become directories of links, so that a mount point can be made in them. */
  readonly linked: readonly string[];
}

/**
 * Plans the mounts of a container: its volumes, and the files that every container has.
 *
 * @throws ContainerError `CreateContainerError` when a volume would cover what containers are started with
 */
export async function planMounts({ config, layout, sandboxDirectory, containerDirectory }: MountPlanOptions): Promise<MountPlan> {
  const own: readonly Mount[] = [
    { hostPath: join(sandboxDirectory, 'hosts'), containerPath: '/etc/hosts', readOnly: true },
    { hostPath: join(sandboxDirectory, 'hostname'), containerPath: '/etc/hostname', readOnly: true },
    { hostPath: join(containerDirectory, 'termination-log'), containerPath: config.terminationMessagePath, readOnly: false },
  ].filter(
    ({ containerPath }) =>
      !config.mounts.some((mount) => mount.containerPath === containerPath) &&
      // The host has no such file to mount over, and a pod does not need it enough for a directory of links.
      (containerPath !== '/etc/hostname' || existsAs('/etc/hostname', false)),
  );
  const planned = await Promise.all(
    [...own, ...config.mounts].map(async ({ hostPath, containerPath, readOnly, subPath, subPathIsFile = false, owner }) => {
      const isDirectory = (await stat(hostPath)).isDirectory();
      const path = containerPathOf(containerPath, layout);
      const why = whyNotAt(path);
      if (why !== undefined) {
        throw new ContainerError('CreateContainerError', `mountPath ${containerPath} of container ${config.name} is refused: ${why}`);
      }
      return { hostPath, containerPath: path, readOnly, subPath, owner, isDirectory, mountsDirectory: isDirectory && !subPathIsFile };
    }),
  );
  const inside = (path: string): boolean => planned.some((other) => other.containerPath !== path && isWithin(path, other.containerPath));
  const linked = directoriesToLink(
    planned.filter(({ containerPath }) => !inside(containerPath)),
    layout,
    existsAs,
  );
  return {
    linked,
    mounts: outsideIn(
      planned.map((mount) => ({
        ...mount,
        nested: inside(mount.containerPath),
        containerPath: placeOfMount(mount.containerPath, linked, (path) => statSync(path, { throwIfNoEntry: false }) !== undefined),
      })),
    ),
  };
}

/** A container's path as it is in the layout. Links of the host on the way are followed, as far as the host has the path. */
function containerPathOf(path: string, { directories }: HostLayout): string {
  const normal = normalContainerPath(path);
  const top = directories.find((directory) => isWithin(normal, directory));
  if (top === undefined) return normal;
  let found = normal;
  while (statSync(found, { throwIfNoEntry: false }) === undefined) found = dirname(found);
  const real = realpathSync(found);
  const realTop = realpathSync(top);
  return `${isWithin(real, realTop) ? `${top}${real.slice(realTop.length)}` : real}${normal.slice(found.length)}`;
}

function existsAs(path: string, isDirectory: boolean): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === isDirectory;
}

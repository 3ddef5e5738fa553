import { chmod, chown, mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readBoundedFile } from '../../base/bounded-file.ts';
import type { ContainerConfig } from '../container-runtime.ts';
import type { CriContainer, CriMount, CriSandbox } from './cri-client.ts';
import { annotations, hostsText, isHostNetwork, labels, linuxOf } from './cri-config.ts';
import { mountMapped, mountSubPath, removeWithMounts } from './sub-path.ts';

const terminationFile = 'termination-log';
const maxTerminationBytes = 4_096;

export interface MountsOptions {
  readonly sandbox: CriSandbox;
  readonly config: ContainerConfig;
  /** Holds what the agent makes for this container. */
  readonly place: string;
  readonly addressOf: () => Promise<string | undefined>;
}

const propagations = { HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER', Bidirectional: 'PROPAGATION_BIDIRECTIONAL' } as const;

/** Makes the mounts of the pod's volumes and of what the agent adds, as paths on the machine. */
export async function prepareMounts({ sandbox, config, place, addressOf }: MountsOptions): Promise<readonly CriMount[]> {
  await mkdir(place, { recursive: true, mode: 0o700 });
  // The runtime of 1.7 refuses mounts with other ids, so they are made here.
  const firstId = linuxOf(sandbox).securityContext.namespaceOptions.usernsOptions?.uids[0]?.hostId;
  const mounts: CriMount[] = [];
  for (const [index, { hostPath, containerPath, readOnly, subPath, subPathIsFile, propagation: wanted }] of config.mounts.entries()) {
    const propagation = wanted === undefined ? {} : { propagation: propagations[wanted] };
    const isPart = subPath !== undefined && subPath !== '';
    if (!isPart && firstId === undefined) {
      mounts.push({ hostPath, containerPath, readonly: readOnly, ...propagation });
      continue;
    }
    const target = join(place, 'mounts', String(index));
    if (isPart) await mountSubPath({ volume: hostPath, subPath, target, madeAsFile: subPathIsFile === true, firstId });
    else if (firstId !== undefined) await mountMapped(hostPath, target, firstId);
    mounts.push({ hostPath: target, containerPath, readonly: readOnly, ...propagation });
  }
  const has = (path: string): boolean => mounts.some(({ containerPath }) => containerPath === path);
  if (config.terminationMessagePath !== '') {
    const path = join(place, terminationFile);
    // Any user of the container may write to it, and nobody else reaches the directory.
    await writeFile(path, '');
    await chmod(path, 0o666);
    if (firstId !== undefined) await chown(path, firstId, firstId);
    mounts.push({ hostPath: path, containerPath: config.terminationMessagePath, readonly: false });
  }
  if (!has('/etc/hosts') && !isHostNetwork(sandbox)) {
    const path = join(place, 'etc-hosts');
    await writeFile(path, hostsText(sandbox, (await addressOf()) ?? ''));
    await chmod(path, 0o644);
    if (firstId !== undefined) await chown(path, firstId, firstId);
    mounts.push({ hostPath: path, containerPath: '/etc/hosts', readonly: false });
  }
  return mounts;
}

/** The directory of one container; undefined when the labels, which others may write, name no place below `directory`. */
export function placeOf(directory: string, { labels: own, annotations: notes }: CriContainer): string | undefined {
  const uid = own[labels.podUid] ?? '';
  const name = notes[annotations.place] ?? '';
  return isName(uid) && isName(name) ? join(directory, uid, name) : undefined;
}

export async function readTerminationMessage(directory: string, container: CriContainer): Promise<string | undefined> {
  const place = placeOf(directory, container);
  if (place === undefined) return undefined;
  try {
    return (await readBoundedFile(join(place, terminationFile), maxTerminationBytes)).toString('utf8');
  } catch {
    // Too large or not there: upstream shows nothing then, either.
    return undefined;
  }
}

/** Removes what the agent made for a pod. */
export const removePodFiles = (directory: string, uid: string): Promise<void> => removeWithMounts(join(directory, uid));

/** Removes a log; the directories of its container and pod go with the last log in them. */
export async function removeLog(path: string): Promise<void> {
  for (const suffix of ['', '.1']) await rm(`${path}${suffix}`, { force: true });
  for (const directory of [dirname(path), dirname(dirname(path))]) {
    await rmdir(directory).catch((err: NodeJS.ErrnoException) => {
      if (err.code !== 'ENOTEMPTY' && err.code !== 'ENOENT') throw err;
    });
  }
}

/** Names of one part, that stay in the directory which they are joined to. */
const isName = (text: string): boolean => text !== '' && text !== '.' && text !== '..' && basename(text) === text;

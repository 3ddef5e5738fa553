import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { ContainerdError, findContainerdPrograms } from '../../node-agent/containerd/containerd-service.ts';
import { probeIsolation } from '../../node-agent/process/isolation.ts';
import type { Finding } from '../doctor.ts';

/** Judges what pods need of this machine: user namespaces to keep them apart, control groups for their limits, containerd for images. */
export async function checkMachine(searchPath: string): Promise<readonly Finding[]> {
  return [await checkNamespaces(searchPath), await checkCgroups(), await checkContainerd(searchPath)];
}

async function checkNamespaces(searchPath: string): Promise<Finding> {
  const check = 'namespaces';
  const isolation = await probeIsolation(searchPath);
  if (isolation.mode === 'namespaces') return { check, result: 'ok', what: 'pods can be kept apart by user namespaces' };
  return {
    check,
    result: 'problem',
    what: 'pods cannot be kept apart, so nodes of processes run none',
    why: `${isolation.why}.`,
    fix: 'Allow user namespaces, start with --runtime containerd, or accept the risk: --insecure-plain-pods.',
  };
}

/** Only looks: a start makes groups, and may move its process into one. */
async function checkCgroups(): Promise<Finding> {
  const check = 'cgroups';
  const root = '/sys/fs/cgroup';
  const controllers = await readFile(`${root}/cgroup.controllers`, 'utf8').catch(() => undefined);
  const memory = controllers === undefined ? `${root}/memory` : root;
  const isWritable = await access(memory, constants.W_OK).then(
    () => true,
    () => false,
  );
  const isThere = controllers === undefined ? isWritable : controllers.includes('memory') && controllers.includes('pids');
  if (isThere && isWritable)
    return {
      check,
      result: 'ok',
      what: `this user can make control groups, for limits of pods (version ${controllers === undefined ? 1 : 2})`,
    };
  return {
    check,
    result: 'note',
    what: 'limits of memory and processes of pods may not be enforced',
    why: 'This user cannot make control groups.',
    fix: 'Run as root, or as a service of systemd, which gives the right (Delegate=yes).',
  };
}

async function checkContainerd(searchPath: string): Promise<Finding> {
  const check = 'containerd';
  try {
    await findContainerdPrograms(searchPath);
    return { check, result: 'ok', what: '--runtime containerd can run images' };
  } catch (err) {
    if (!(err instanceof ContainerdError)) throw err;
    return { check, result: 'note', what: '--runtime containerd is not available', why: err.message, fix: err.fix };
  }
}

import { rm } from 'node:fs/promises';
import type { Log } from '../../base/log.ts';
import type { ContainerId, PodSandboxConfig } from '../container-runtime.ts';
import type { ContainerEnds } from './container-ends.ts';
import { type FoundSandbox, readExit, readIdentity, readRecords, type SandboxRecord, Unreadable } from './container-state.ts';
import { type Container, killed, type Sandbox, unknownExit } from './known-container.ts';
import type { KnownPods } from './known-pods.ts';
import { endByDirectory } from './stray-processes.ts';

interface Adoption {
  readonly pods: KnownPods;
  readonly ends: ContainerEnds;
}

/**
 * Takes over the pods that an earlier agent left. Each sandbox and container is taken by itself: a record that cannot be read is the
 * trouble of its pod, and the others run on.
 */
export async function adoptPods({ pods, ends }: Adoption): Promise<void> {
  for (const found of await readRecords(pods.directory)) {
    try {
      if (found.record instanceof Unreadable) await discardSandbox(pods, found, found.record.why);
      else await adoptSandbox({ pods, ends }, found, found.record);
    } catch (err) {
      // For any unexpected error: without the sandbox the pod starts again.
      pods.log.error({ err, sandbox: found.id }, 'Could not recover sandbox');
      await discardSandbox(pods, found, err instanceof Error ? err.message : String(err));
    }
  }
  await pods.limits.removeOthers(new Set(pods.sandboxes.keys()));
  ends.pollAdopted();
}

async function adoptSandbox({ pods, ends }: Adoption, { containers: found }: FoundSandbox, kept: SandboxRecord): Promise<void> {
  const { host, limits, pool, sandboxes, containers } = pods;
  const boots = kept.bootId === undefined ? found.map(({ record }) => (record instanceof Unreadable ? '' : record.bootId)) : [kept.bootId];
  // After another boot nothing of it can run, and its pod gets a new sandbox.
  const record = { ...kept, ready: kept.ready && boots.every((boot) => boot === '' || boot === host.bootId) };
  const sandbox: Sandbox = { record, containers: new Map() };
  sandboxes.set(record.id, sandbox);
  if (record.ready && !record.config.hostNetwork) pool.reserve(record.ip);
  for (const { id, directory: place, record: containerRecord } of found) {
    if (containerRecord instanceof Unreadable) {
      await discardContainer(pods, place, id);
      await limits.remove(record.id, id);
      pods.report(record.config.uid, `a container of this pod was ended, because its record is damaged: ${containerRecord.why}`);
      continue;
    }
    const container = pods.newContainer(containerRecord);
    sandbox.containers.set(id, container);
    containers.set(id, container);
    await recover({ pods, ends }, container);
  }
}

/** Nobody can say what is in it: its processes are ended, and its pod, when there still is one, starts again. */
async function discardSandbox(pods: KnownPods, found: FoundSandbox, why: string): Promise<void> {
  const { limits, pool, sandboxes, containers } = pods;
  const sandbox = sandboxes.get(found.id);
  if (sandbox?.record.ready === true && !sandbox.record.config.hostNetwork) pool.release(sandbox.record.ip);
  sandboxes.delete(found.id);
  for (const { id, directory: place } of found.containers) {
    containers.delete(id);
    await discardContainer(pods, place, id);
  }
  await limits.remove(found.id);
  if (found.podUid !== undefined) pods.report(found.podUid, `the sandbox of this pod was ended, because its record is damaged: ${why}`);
  await removeFiles(pods.log, found.directory);
}

async function discardContainer({ clock, log }: KnownPods, place: string, id: ContainerId): Promise<void> {
  if (!(await endByDirectory(place, id, clock))) log.warn({ container: id }, 'Processes of a container outlived their kill');
  await removeFiles(log, place);
}

async function removeFiles(log: Log, place: string): Promise<void> {
  await rm(place, { recursive: true, force: true }).catch((err: unknown) =>
    log.warn({ err, path: place }, 'Could not remove damaged files'),
  );
}

async function recover({ pods, ends }: Adoption, container: Container): Promise<void> {
  const { host, clock, log } = pods;
  const { record, directory: state } = container;
  // Pids of another boot are those of strangers.
  const sameBoot = record.bootId === host.bootId;
  const identity = await readIdentity(state, 'pid');
  const waiter = await readIdentity(state, 'waiter');
  const damage = [identity, waiter].find((found) => found instanceof Unreadable);
  if (damage instanceof Unreadable) {
    if (sameBoot) await endByDirectory(state, record.id, clock);
    await ends.conclude(container, unknownExit(damage.why));
    return;
  }
  if (identity === undefined || identity instanceof Unreadable || waiter instanceof Unreadable) {
    // Created and not started, or on the way there when the agent ended: the agent removes it.
    if (sameBoot && waiter !== undefined) await endByDirectory(state, record.id, clock);
    return;
  }
  container.identity = { pid: identity.pid, startTime: identity.startTime };
  container.waiter = waiter;
  container.startedAt = identity.startedAt;
  if (sameBoot && (await ends.isAlive(container))) {
    pods.watchLog(container);
    log.info({ pod: podKeyOf(pods.podOf(container)), container: record.config.name, pid: identity.pid }, 'Adopted running container');
    return;
  }
  await ends.endFirstProcess(container);
  const exit = await readExit(state);
  if (exit instanceof Unreadable) await ends.conclude(container, unknownExit(exit.why));
  else await ends.conclude(container, killed, exit);
}

const podKeyOf = ({ namespace, name }: PodSandboxConfig): string => `${namespace}/${name}`;

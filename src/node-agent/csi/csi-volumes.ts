import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PersistentVolume } from '../../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../../api/core/v1/persistent-volume-claim.ts';
import type { Pod, Volume } from '../../api/core/v1/pod.ts';
import { type Secret, secrets } from '../../api/core/v1/secret.ts';
import { type CSIDriver, csiDrivers } from '../../api/storage/v1/csi-driver.ts';
import { volumeAttachments } from '../../api/storage/v1/volume-attachment.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { attachmentNameOf } from '../../lifecycle/csi-volume.ts';
import { isForbidden, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { isMountPoint } from '../containerd/sub-path.ts';
import type { TokenSource } from '../service-account-tokens.ts';
import { giveToGroup } from '../volume-owners.ts';
import type { CsiCapability, VolumeCapability } from './csi-client.ts';
import type { CsiDriverConnection, CsiDrivers } from './csi-drivers.ts';
import { growVolume, needsGrowth } from './volume-growth.ts';
import { createVolumeRecords, type PublishedVolume, publishPathOf, type StagedVolume } from './volume-records.ts';
import { measureVolumes, type VolumeStats } from './volume-stats.ts';

/**
 * Volumes that drivers (CSI) mount for pods: staged once for the node where the driver wants that, and published for each pod. The driver
 * is asked again after a failure, and each of its calls may be repeated. A mount that is there is left as it is, so pods that outlive
 * their agent see nothing of its restart.
 *
 * @see https://github.com/container-storage-interface/spec, "Node Service RPC"
 */
export interface CsiVolumes {
  /** Reads what earlier agents left; before all else. */
  load(): Promise<void>;
  /** @throws Error in the kubelet's words */
  mountClaimed(pod: Pod, claimed: ClaimedCsiVolume): Promise<string>;
  /** @throws Error in the kubelet's words */
  mountInline(pod: Pod, volume: Volume): Promise<string>;
  /** Takes the volumes of a pod back, and from the node what no other pod has. @throws Error when the driver refuses: the volume stays */
  unmount(podUid: string): Promise<void>;
  /** Takes from the node what no pod has any more: what an agent left that ended in the middle. */
  unstageUnused(): Promise<void>;
  /** Pods that have volumes, also such that are gone. */
  podUids(): readonly string[];
  /** The usage of volumes, as far as their drivers measure it. */
  stats(): Promise<readonly VolumeStats[]>;
  /** Names of volumes, as the status of the Node has them: no controller detaches these. */
  inUse(): readonly string[];
  /** Pods that waited for a driver or an attachment; each call names those that came up since the one before. */
  takeWaiting(): readonly string[];
}

export interface ClaimedCsiVolume {
  readonly volume: PersistentVolume;
  readonly claim: PersistentVolumeClaim;
  readonly readOnly: boolean;
}

export interface CsiVolumesOptions {
  /** The directory of the kubelet, with `pods` and `plugins`. */
  readonly directory: string;
  readonly nodeName: string;
  readonly drivers: Pick<CsiDrivers, 'find'>;
  readonly tokens: TokenSource;
  readonly client: Client;
  readonly recorder: EventRecorder;
  /** Writes `inUse` into the status of the Node. */
  readonly reportInUse: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** A volume, whether it is the pod's own or that of its claim. */
interface Mount {
  readonly pod: Pod;
  readonly record: PublishedVolume;
  readonly csi: {
    readonly fsType?: string | undefined;
    readonly volumeAttributes?: Readonly<Record<string, string>> | undefined;
    readonly publishSecret?: SecretRef | undefined;
    readonly stageSecret?: SecretRef | undefined;
  };
  readonly accessModes: readonly string[];
  readonly mountFlags: readonly string[];
  readonly readOnly: boolean;
}

export interface SecretRef {
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
}

/** Most drivers attach within this time; for slower ones the pod tries again. */
const attachPatienceMs = 5_000;
const attachPollMs = 250;

export function createCsiVolumes(options: CsiVolumesOptions): CsiVolumes {
  const { directory, nodeName, drivers, tokens, client, log } = options;
  const records = createVolumeRecords(directory, log);
  const inTurn = createTurnsByKey();
  let waiting = new Set<string>();

  const pathOf = (record: PublishedVolume): string => publishPathOf(directory, record);
  const stagingPathOf = ({ driverName, volumeHandle }: PublishedVolume): string =>
    join(directory, 'plugins', 'kubernetes.io', 'csi', driverName, createHash('sha256').update(volumeHandle).digest('hex'), 'globalmount');

  async function mount(wanted: Mount): Promise<string> {
    const { pod, record } = wanted;
    const path = pathOf(record);
    const known = records.published().find((each) => pathOf(each) === path);
    const isMounted = known !== undefined && (await isMountPoint(path));
    if (isMounted && known.republishes !== true) return giveGroup(wanted, known);
    try {
      const settings = await settingsOf(record.driverName);
      checkLifecycle(record, settings);
      const driver = drivers.find(record.driverName);
      const capabilities = await driver.capabilities();
      const attachable = record.volumeLifecycleMode === 'Persistent' && settings?.spec.attachRequired !== false;
      const attachmentID = attachmentNameOf({ driver: record.driverName, volumeHandle: record.volumeHandle, nodeName });
      const noted: PublishedVolume = {
        ...record,
        ...(attachable ? { attachmentID } : {}),
        ...(settings?.spec.requiresRepublish === true ? { republishes: true } : {}),
        ...(known?.group === undefined ? {} : { group: known.group }),
      };
      if (known === undefined) await records.notePublished(noted);
      await options.reportInUse();
      const publishContext = attachable ? await untilAttached(attachmentID) : {};
      await publish({ wanted, driver, capabilities, settings, record: noted, publishContext });
      await checkMounted(record.driverName, path);
      await records.notePublished(noted);
      return await giveGroup(wanted, noted, { settings, capabilities });
    } catch (err) {
      waiting.add(pod.metadata.uid ?? '');
      throw err;
    }
  }

  interface Publishing {
    readonly wanted: Mount;
    readonly driver: CsiDriverConnection;
    readonly capabilities: ReadonlySet<CsiCapability>;
    readonly settings: CSIDriver | undefined;
    readonly record: PublishedVolume;
    readonly publishContext: Readonly<Record<string, string>>;
  }

  async function publish({ wanted, driver, capabilities, settings, record, publishContext }: Publishing): Promise<void> {
    const { pod, csi, readOnly } = wanted;
    const volumeId = record.volumeHandle;
    const volumeCapability = capabilityOf(wanted, capabilities);
    const volumeContext = csi.volumeAttributes ?? {};
    const isStaged = record.volumeLifecycleMode === 'Persistent' && capabilities.has('STAGE_UNSTAGE_VOLUME');
    const stagingTargetPath = stagingPathOf(record);
    if (isStaged) {
      const { driverName, volumeHandle, attachmentID } = record;
      await records.noteStaged({
        driverName,
        volumeHandle,
        path: stagingTargetPath,
        ...(attachmentID === undefined ? {} : { attachmentID }),
      });
      await mkdir(stagingTargetPath, { recursive: true, mode: 0o750 });
      if (!(await isMountPoint(stagingTargetPath))) {
        const stageSecrets = await secretOf(csi.stageSecret, 'NodeStageSecretRef');
        await driver.client.stage({ volumeId, publishContext, stagingTargetPath, volumeCapability, secrets: stageSecrets, volumeContext });
      }
    }
    const tokenTexts = await tokensOf(pod, settings);
    const inSecrets = (settings?.spec as { readonly serviceAccountTokenInSecrets?: boolean } | undefined)?.serviceAccountTokenInSecrets;
    await driver.client.publish({
      volumeId,
      publishContext,
      ...(isStaged ? { stagingTargetPath } : {}),
      targetPath: pathOf(record),
      volumeCapability,
      readonly: readOnly,
      secrets: { ...(await secretOf(csi.publishSecret, 'NodePublishSecretRef')), ...(inSecrets === true ? tokenTexts : {}) },
      volumeContext: { ...volumeContext, ...podInfoOf(wanted, settings), ...(inSecrets === true ? {} : tokenTexts) },
    });
  }

  /** CSIDriver objects are optional. */
  async function settingsOf(name: string): Promise<CSIDriver | undefined> {
    try {
      return await client.get(csiDrivers, { name });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  /** The context that the driver's controller gave. @throws Error of the attacher */
  async function untilAttached(name: string): Promise<Readonly<Record<string, string>>> {
    for (let waitedMs = 0; ; waitedMs += attachPollMs) {
      const attachment = await client.get(volumeAttachments, { name }).catch((err: unknown) => {
        // A node may read its own alone, so it is refused one that is not there yet.
        if (isNotFound(err) || isForbidden(err)) return undefined;
        throw err;
      });
      if (attachment?.metadata.deletionTimestamp !== undefined) throw new Error('volume attachment is being deleted');
      const { attached, attachError, attachmentMetadata } = attachment?.status ?? {};
      if (attached === true) return attachmentMetadata ?? {};
      if (attachError?.message !== undefined) throw new Error(attachError.message);
      if (waitedMs >= attachPatienceMs) throw new Error(`waiting for volume attachment ${name}: the volume is not attached yet`);
      await sleep(options.clock, attachPollMs, options.signal);
    }
  }

  async function secretOf(ref: SecretRef | undefined, field: string): Promise<Readonly<Record<string, string>>> {
    if (ref === undefined || (ref.name ?? '') === '') return {};
    const { name = '', namespace = '' } = ref;
    let secret: Secret;
    try {
      secret = await client.get(secrets, { namespace, name });
    } catch (err) {
      const why = err instanceof Error ? err.message : String(err);
      throw new Error(`fetching ${field} ${namespace}/${name} failed: ${why}`, { cause: err });
    }
    return Object.fromEntries(
      Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
    );
  }

  async function tokensOf(pod: Pod, settings: CSIDriver | undefined): Promise<Readonly<Record<string, string>>> {
    const wanted = settings?.spec.tokenRequests ?? [];
    if (wanted.length === 0) return {};
    const issued: Record<string, { readonly token: string; readonly expirationTimestamp: string }> = {};
    for (const { audience, expirationSeconds } of wanted) {
      const { token, expirationTimestamp } = await tokens.tokenOf(pod, { audience, expirationSeconds });
      issued[audience] = { token, expirationTimestamp };
    }
    return { 'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify(issued) };
  }

  interface GroupFacts {
    readonly settings: CSIDriver | undefined;
    readonly capabilities: ReadonlySet<CsiCapability>;
  }

  /** Once for each mount: an agent that ended in the middle leaves no note, and the next one begins again. */
  async function giveGroup(wanted: Mount, record: PublishedVolume, facts?: GroupFacts): Promise<string> {
    const path = pathOf(record);
    const { fsGroup, fsGroupChangePolicy } = wanted.pod.spec.securityContext ?? {};
    if (fsGroup === undefined || wanted.readOnly || record.group === fsGroup) return path;
    const settings = facts?.settings ?? (await settingsOf(record.driverName));
    const capabilities = facts?.capabilities ?? (await drivers.find(record.driverName).capabilities());
    if (!capabilities.has('VOLUME_MOUNT_GROUP') && takesGroup(wanted, settings)) await giveToGroup(path, fsGroup, fsGroupChangePolicy);
    await records.notePublished({ ...record, group: fsGroup });
    return path;
  }

  async function unpublish(record: PublishedVolume): Promise<void> {
    const path = pathOf(record);
    const { client: driver } = drivers.find(record.driverName);
    await driver.unpublish({ volumeId: record.volumeHandle, targetPath: path });
    if (await isMountPoint(path)) throw new Error(`driver ${record.driverName} left ${path} mounted`);
    await records.forgetPublished(record);
    log.info({ driver: record.driverName, volume: record.specVolID, uid: record.podUid }, 'Unpublished volume');
  }

  async function unstage(staged: StagedVolume): Promise<void> {
    if (records.published().some((each) => keyOf(each) === keyOf(staged))) return;
    const { client: driver } = drivers.find(staged.driverName);
    await driver.unstage({ volumeId: staged.volumeHandle, stagingTargetPath: staged.path });
    if (await isMountPoint(staged.path)) throw new Error(`driver ${staged.driverName} left ${staged.path} mounted`);
    await records.forgetStaged(staged);
    log.info({ driver: staged.driverName, path: staged.path }, 'Unstaged volume');
  }

  const unstageFor = async (volume: { readonly driverName: string; readonly volumeHandle: string }): Promise<void> => {
    for (const staged of records.staged()) if (keyOf(staged) === keyOf(volume)) await unstage(staged);
  };

  return {
    load: () => records.load(),

    mountClaimed: (pod, claimed) => {
      const wanted = claimedMount(pod, claimed);
      return inTurn(keyOf(wanted.record), async () => {
        const path = await mount(wanted);
        if (needsGrowth(claimed)) {
          const driver = drivers.find(wanted.record.driverName);
          const capabilities = await driver.capabilities();
          if (capabilities.has('EXPAND_VOLUME')) {
            await growVolume(options, {
              ...claimed,
              pod,
              driver: driver.client,
              volumePath: path,
              ...(capabilities.has('STAGE_UNSTAGE_VOLUME') ? { stagingTargetPath: stagingPathOf(wanted.record) } : {}),
              volumeCapability: capabilityOf(wanted, capabilities),
              secrets: await secretOf(expandSecretOf(claimed.volume), 'NodeExpandSecretRef'),
            });
          }
        }
        return path;
      });
    },

    mountInline: (pod, volume) => {
      const wanted = inlineMount(pod, volume);
      return inTurn(keyOf(wanted.record), () => mount(wanted));
    },

    async unmount(podUid) {
      waiting.delete(podUid);
      let failure: unknown;
      for (const record of records.published().filter((each) => each.podUid === podUid)) {
        // A driver that fails does not hold up the volumes of the others.
        await inTurn(keyOf(record), async () => {
          await unpublish(record);
          await unstageFor(record);
        }).catch((err: unknown) => {
          const why = err instanceof Error ? err.message : String(err);
          failure = new Error(`UnmountVolume.TearDown failed for volume "${record.specVolID}" : ${why}`, { cause: err });
        });
      }
      await options.reportInUse();
      if (failure !== undefined) throw failure;
    },

    async unstageUnused() {
      const before = records.staged().length;
      for (const staged of records.staged()) {
        await inTurn(keyOf(staged), () => unstage(staged)).catch((err: unknown) =>
          log.warn({ err, driver: staged.driverName, path: staged.path }, 'Could not unstage volume'),
        );
      }
      if (records.staged().length < before) await options.reportInUse();
    },

    podUids: () => [...new Set(records.published().map(({ podUid }) => podUid))],

    stats: () => measureVolumes({ volumes: records.published(), pathOf, stagingPathOf, drivers, log }),

    inUse() {
      const all = [...records.published(), ...records.staged()].filter(({ attachmentID }) => attachmentID !== undefined);
      return [...new Set(all.map(({ driverName, volumeHandle }) => `kubernetes.io/csi/${driverName}^${volumeHandle}`))].toSorted();
    },

    takeWaiting() {
      const all = [...waiting];
      waiting = new Set();
      return all;
    },
  };
}

const keyOf = ({ driverName, volumeHandle }: { readonly driverName: string; readonly volumeHandle: string }): string =>
  `${driverName}^${volumeHandle}`;

function claimedMount(pod: Pod, { volume, claim, readOnly }: ClaimedCsiVolume): Mount {
  const { csi, accessModes = [], mountOptions = [] } = volume.spec;
  return {
    pod,
    record: {
      podUid: safeName(pod.metadata.uid),
      specVolID: safeName(volume.metadata.name),
      driverName: safeName(csi?.driver),
      volumeHandle: csi?.volumeHandle ?? '',
      volumeLifecycleMode: 'Persistent',
      claimName: claim.metadata.name,
    },
    csi: {
      fsType: csi?.fsType,
      volumeAttributes: csi?.volumeAttributes,
      publishSecret: csi?.nodePublishSecretRef,
      stageSecret: csi?.nodeStageSecretRef,
    },
    accessModes,
    mountFlags: mountOptions,
    readOnly,
  };
}

function inlineMount(pod: Pod, { name, csi }: Volume): Mount {
  const { uid = '', namespace } = pod.metadata;
  return {
    pod,
    record: {
      podUid: safeName(uid),
      specVolID: safeName(name),
      driverName: safeName(csi?.driver),
      volumeHandle: `csi-${createHash('sha256').update(`${uid}${name}`).digest('hex')}`,
      volumeLifecycleMode: 'Ephemeral',
    },
    csi: {
      fsType: csi?.fsType,
      volumeAttributes: csi?.volumeAttributes,
      publishSecret: csi?.nodePublishSecretRef === undefined ? undefined : { name: csi.nodePublishSecretRef.name, namespace },
    },
    accessModes: ['ReadWriteOnce'],
    mountFlags: [],
    readOnly: csi?.readOnly === true,
  };
}

/** The API validates these names; a server that does not must not make the agent write elsewhere. */
function safeName(name = ''): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/')) throw new Error(`invalid name ${JSON.stringify(name)}`);
  return name;
}

const expandSecretOf = ({ spec }: PersistentVolume): SecretRef | undefined =>
  (spec.csi as { readonly nodeExpandSecretRef?: SecretRef } | undefined)?.nodeExpandSecretRef;

/** @throws Error in the kubelet's words when the driver does not mount volumes of this sort */
function checkLifecycle({ driverName, volumeLifecycleMode: mode }: PublishedVolume, settings: CSIDriver | undefined): void {
  if (settings === undefined && mode === 'Persistent') return;
  if (settings === undefined) throw new Error(`volume mode "${mode}" not supported by driver ${driverName} (no CSIDriver object)`);
  const modes = settings.spec.volumeLifecycleModes ?? [];
  if (modes.includes(mode)) return;
  const known = modes.map((each) => JSON.stringify(each)).join(' ');
  throw new Error(`volume mode "${mode}" not supported by driver ${driverName} (only supports [${known}])`);
}

/** @throws Error when there is no mount: a link or a file of the driver's would lead the pod elsewhere */
async function checkMounted(driver: string, path: string): Promise<void> {
  const info = await lstat(path).catch(() => undefined);
  if (info?.isDirectory() !== true || !(await isMountPoint(path))) throw new Error(`driver ${driver} mounted nothing at ${path}`);
}

const isExclusive = (mode: string): boolean => mode === 'ReadWriteOnce' || mode === 'ReadWriteOncePod';

function takesGroup({ csi, accessModes }: Mount, settings: CSIDriver | undefined): boolean {
  const policy = settings?.spec.fsGroupPolicy ?? 'ReadWriteOnceWithFSType';
  if (policy !== 'ReadWriteOnceWithFSType') return policy === 'File';
  return (csi.fsType ?? '') !== '' && accessModes.some(isExclusive);
}

function capabilityOf({ pod, csi, accessModes, mountFlags }: Mount, capabilities: ReadonlySet<CsiCapability>): VolumeCapability {
  const { fsGroup } = pod.spec.securityContext ?? {};
  const group = fsGroup !== undefined && capabilities.has('VOLUME_MOUNT_GROUP') ? { volumeMountGroup: String(fsGroup) } : {};
  return {
    mount: { fsType: csi.fsType ?? '', mountFlags, ...group },
    accessMode: { mode: accessModeOf(accessModes[0] ?? 'ReadWriteOnce', capabilities.has('SINGLE_NODE_MULTI_WRITER_CAPABILITY')) },
  };
}

function accessModeOf(mode: string, knowsSinglePods: boolean): string {
  switch (mode) {
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
    case 'ReadWriteOncePod':
      return knowsSinglePods ? 'SINGLE_NODE_SINGLE_WRITER' : 'SINGLE_NODE_WRITER';
    default:
      return knowsSinglePods ? 'SINGLE_NODE_MULTI_WRITER' : 'SINGLE_NODE_WRITER';
  }
}

function podInfoOf({ pod, record }: Mount, settings: CSIDriver | undefined): Readonly<Record<string, string>> {
  if (settings?.spec.podInfoOnMount !== true) return {};
  return {
    'csi.storage.k8s.io/pod.name': pod.metadata.name,
    'csi.storage.k8s.io/pod.namespace': pod.metadata.namespace ?? '',
    'csi.storage.k8s.io/pod.uid': pod.metadata.uid ?? '',
    'csi.storage.k8s.io/serviceAccount.name': pod.spec.serviceAccountName ?? '',
    'csi.storage.k8s.io/ephemeral': String(record.volumeLifecycleMode === 'Ephemeral'),
  };
}

/** Calls of one key, one after the other: drivers need not take two about one volume at a time. */
function createTurnsByKey(): <T>(key: string, action: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return (key, action) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(action, action);
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    last.set(key, settled);
    void settled.then(() => {
      if (last.get(key) === settled) last.delete(key);
    });
    return turn;
  };
}

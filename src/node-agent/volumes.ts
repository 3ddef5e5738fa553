import { createHash } from 'node:crypto';
import { chmod, lchown, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import type { Container, Pod, Volume } from '../api/core/v1/pod.ts';
import { claimNameOf } from '../api/core/v1/pod-claims.ts';
import { removeTree } from '../base/remove-tree.ts';
import { tryQuantity, wholeValueOf } from '../machinery/quantity.ts';
import type { ConfigSource } from './config-source.ts';
import { ContainerError, type Mount } from './container-runtime.ts';
import { isMountPoint, mountMemory, unmountBelow } from './containerd/sub-path.ts';
import { unknownDriver } from './csi/csi-drivers.ts';
import type { CsiVolumes } from './csi/csi-volumes.ts';
import { type DownwardFacts, fieldText, resourceText } from './downward.ts';
import { expand } from './environment.ts';
import type { ImageVolume, ImageVolumes } from './image-volumes.ts';
import { podResourcesOf } from './pod-linux.ts';
import type { TokenSource } from './service-account-tokens.ts';
import type { ClaimedVolumes } from './volume-claims.ts';
import { isNoEntry, lstatOptional, makeEmptyDirectory, readlinkOptional, realpathOptional, statOptional } from './volume-directories.ts';
import { giveToGroup } from './volume-owners.ts';

/**
 * The volumes of pods, as directories below `PODS/UID/volumes`. Volumes made of ConfigMaps, Secrets and pod fields are replaced in one
 * step by the rename of a link (`..data`). A program never sees half of a change.
 */
export interface Volumes {
  /**
   * Makes or updates every volume of the pod, and gives the directory of each by name.
   *
   * @throws ContainerError `ContainerCreating`, naming the volume, for a reference to nothing or a source that is not supported; for an
   * image that cannot be had `CreateContainerConfigError`
   */
  prepare(facts: DownwardFacts): Promise<PreparedVolumes>;
  /** The mounts of a container. `paths` is what `prepare` gave; `lookUp` expands `subPathExpr`. */
  mountsOf(container: Container, paths: PreparedVolumes, lookUp: (name: string) => string | undefined): Promise<readonly Mount[]>;
  /** Holds the emptyDirs of a pod, by name. */
  emptyDirs(podUid: string): string;
  /** Removes the volumes that the pod alone has, and gives those of drivers back. @throws Error when a driver refuses: its volume stays */
  remove(podUid: string): Promise<void>;
  /** Pods that have volumes here; also of pods that are gone. */
  list(): Promise<readonly string[]>;
}

interface PreparedVolume {
  /** No pod can replace it. */
  readonly path: string;
  /** The volume is this path below `path`; pods may write on the way. */
  readonly inside?: string;
  readonly insideIsFile?: boolean;
  /** For ConfigMaps, Secrets and fields: always read-only. */
  readonly projected: boolean;
  readonly readOnly?: boolean;
  /** It is read-only and without programs by its mount. A runtime that made it read-only once more would let programs run. */
  readonly sealed?: boolean;
  /** The id that its files have on the machine, where each pod has another one. */
  readonly owner?: number;
}

/** By name. */
export type PreparedVolumes = ReadonlyMap<string, PreparedVolume>;

export interface VolumesOptions {
  readonly tokens: TokenSource;
  /** Holds one directory a pod. */
  readonly directory: string;
  readonly config: ConfigSource;
  /** The id that the pod's programs have on this machine; undefined when that is this process's own. */
  ownerOf(podUid: string): number | undefined;
  readonly hostPaths: HostPaths;
  readonly claims: ClaimedVolumes;
  /** Absent: the node has no drivers of volumes. */
  readonly csi?: CsiVolumes | undefined;
  /** Absent: the runtime mounts no images. */
  readonly images?: ImageVolumes | undefined;
  /** Pods are containers: their volumes have the group of the pod, may be in memory, and may be sockets and devices of the machine. */
  readonly forContainers: boolean;
}

/** The paths of the machine that pods may mount. */
export interface HostPaths {
  /** Absolute paths; each with everything below it. */
  readonly allowed: readonly string[];
  /** Absolute paths which no pod mounts, nor what holds them. */
  readonly refused: readonly string[];
  /** Below a refused path; pods may mount these, because somebody named them. */
  readonly exempt?: readonly string[];
}

type HostPathVolumeSource = NonNullable<Volume['hostPath']>;

/** One file of a projected volume. */
interface ProjectedFile {
  readonly content: Buffer;
  readonly mode: number;
}

interface ProjectedVolume {
  readonly path: string;
  readonly files: ReadonlyMap<string, ProjectedFile>;
  readonly owner: number | undefined;
  /** May read the files. */
  readonly group: number | undefined;
  /** Below `path`. */
  readonly mountPoints: readonly string[];
}

const topOf = (path: string): string => path.split('/')[0] ?? path;

const defaultMode = 0o644;
/** Largest volume; ConfigMaps and Secrets are bounded at 1 MiB each by the API. */
const maxProjectedBytes = 16 * 1024 * 1024;
const dataLink = '..data';

export const createVolumes = (options: VolumesOptions): Volumes => new VolumesInDirectories(options);

class VolumesInDirectories implements Volumes {
  readonly #options: VolumesOptions;

  constructor(options: VolumesOptions) {
    this.#options = options;
  }

  async prepare(facts: DownwardFacts): Promise<PreparedVolumes> {
    const paths = new Map<string, PreparedVolume>();
    for (const volume of facts.pod.spec.volumes ?? []) {
      try {
        paths.set(volume.name, await this.#prepareOne(volume, facts));
      } catch (err) {
        const why = err instanceof Error ? err.message : String(err);
        const reason = (volume as ImageVolume).image === undefined ? 'ContainerCreating' : 'CreateContainerConfigError';
        throw new ContainerError(reason, `MountVolume.SetUp failed for volume "${volume.name}" : ${why}`, { cause: err });
      }
    }
    return paths;
  }

  async mountsOf(container: Container, paths: PreparedVolumes, lookUp: (name: string) => string | undefined): Promise<readonly Mount[]> {
    const mounts: Mount[] = [];
    for (const { name, mountPath, readOnly, subPath, subPathExpr, mountPropagation } of container.volumeMounts ?? []) {
      const volume = paths.get(name);
      if (volume === undefined)
        throw new ContainerError('CreateContainerConfigError', `cannot find volume "${name}" to mount into container "${container.name}"`);
      const inside = subPathExpr === undefined ? subPath : expand(subPathExpr, lookUp);
      const { path: hostPath, projected } = volume;
      const mount = {
        hostPath,
        containerPath: mountPath,
        readOnly: volume.sealed !== true && (projected || volume.readOnly === true || (readOnly ?? false)),
        ...(volume.owner === undefined ? {} : { owner: volume.owner }),
        ...(mountPropagation === undefined || mountPropagation === 'None'
          ? {}
          : { propagation: mountPropagation as NonNullable<Mount['propagation']> }),
      };
      mounts.push({ ...mount, ...(await subPathOf(volume, inside ?? '')) });
    }
    return mounts;
  }

  emptyDirs(podUid: string): string {
    return join(this.#options.directory, podUid, 'volumes');
  }

  async remove(podUid: string): Promise<void> {
    const { directory, tokens, csi, images, forContainers } = this.#options;
    tokens.forget(podUid);
    await csi?.unmount(podUid);
    for (const name of await namesIn(this.#imagesOf(podUid))) await images?.unmount(join(this.#imagesOf(podUid), name));
    if (forContainers) await unmountBelow(join(directory, podUid));
    await removeTree(join(directory, podUid));
  }

  async list(): Promise<readonly string[]> {
    const { directory, csi } = this.#options;
    return [...new Set([...(await namesIn(directory)), ...(csi?.podUids() ?? [])])];
  }

  #imagesOf(podUid: string): string {
    return join(this.#options.directory, podUid, 'images');
  }

  async #prepareOne(volume: Volume, facts: DownwardFacts): Promise<PreparedVolume> {
    const { directory, config, tokens, ownerOf, hostPaths, csi, images, forContainers } = this.#options;
    const { pod } = facts;
    const uid = pod.metadata.uid ?? '';
    const owner = ownerOf(uid);
    // A volume is made once and empty, so the whole of it has the group from then on, whatever `fsGroupChangePolicy` says.
    const group = forContainers ? pod.spec.securityContext?.fsGroup : undefined;
    if (volume.emptyDir !== undefined) {
      const path = join(this.emptyDirs(uid), volume.name);
      const inMemory = forContainers && volume.emptyDir.medium === 'Memory';
      if (inMemory) await makeMemoryDirectory(path, { group, sizeBytes: memoryBoundOf(volume.emptyDir.sizeLimit, pod) });
      else await makeEmptyDirectory(path, { owner, group });
      return { path, projected: false };
    }
    if (volume.hostPath !== undefined) return prepareHostPath(volume.hostPath, hostPaths, forContainers);
    if (claimNameOf(pod.metadata.name, volume) !== undefined) return this.#prepareClaim(pod, volume, group);
    if (volume.csi !== undefined && csi !== undefined)
      return { path: await csi.mountInline(pod, volume), projected: false, readOnly: volume.csi.readOnly === true };
    if ((volume as ImageVolume).image !== undefined && images !== undefined) {
      const path = join(this.#imagesOf(uid), volume.name);
      if (!(await isMountPoint(path))) await images.mount(pod, volume, path);
      return { path, projected: false, sealed: true };
    }
    const files = projectedFiles(volume, facts, config);
    if (files !== undefined) await addTokens(files, volume, pod, tokens);
    if (files === undefined) {
      const source = Object.keys(volume).find((key) => key !== 'name') ?? 'of unknown source';
      throw new Error(`volumes of type ${source} are not supported`);
    }
    // Apart from what pods write to, and read-only for them: no link here is a pod's.
    const path = join(directory, uid, 'projected', volume.name);
    await writeProjected({ path, files, owner, group, mountPoints: mountPointsIn(volume.name, pod) });
    return { path, projected: true };
  }

  async #prepareClaim(pod: Pod, volume: Volume, group: number | undefined): Promise<PreparedVolume> {
    const { claims, csi, hostPaths, forContainers } = this.#options;
    const { directory: made, hostPath, readOnly, takesGroup, csi: ofDriver } = await claims.find(pod, volume);
    if (ofDriver !== undefined) {
      // Drivers register on nodes with containers alone.
      if (csi === undefined) throw unknownDriver(ofDriver.volume.spec.csi?.driver ?? '');
      return { path: await csi.mountClaimed(pod, { ...ofDriver, readOnly }), projected: false, readOnly };
    }
    if (made === undefined) {
      const prepared = await prepareHostPath(hostPath ?? { path: '', type: '' }, hostPaths, forContainers);
      return { ...prepared, readOnly };
    }
    const { path, owner } = made;
    if (takesGroup && group !== undefined && !readOnly) await giveToGroup(path, group, pod.spec.securityContext?.fsGroupChangePolicy);
    return { path, projected: false, readOnly, ...(owner === undefined ? {} : { owner }) };
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (err) {
    if (isNoEntry(err)) return [];
    throw err;
  }
}

/** Undefined for a volume of another kind. */
function projectedFiles(volume: Volume, facts: DownwardFacts, config: ConfigSource): Map<string, ProjectedFile> | undefined {
  const { configMap, secret, downwardAPI, projected } = volume;
  const files = new Map<string, ProjectedFile>();
  if (configMap !== undefined) {
    addKeys(
      files,
      configMapKeys(facts.pod, config, configMap.name ?? '', configMap.optional),
      configMap.items,
      configMap.defaultMode ?? defaultMode,
      configMap.optional,
    );
    return files;
  }
  if (secret !== undefined) {
    addKeys(
      files,
      secretKeys(facts.pod, config, secret.secretName ?? '', secret.optional),
      secret.items,
      secret.defaultMode ?? defaultMode,
      secret.optional,
    );
    return files;
  }
  if (downwardAPI !== undefined) {
    addFields(files, downwardAPI.items, downwardAPI.defaultMode ?? defaultMode, facts);
    return files;
  }
  if (projected === undefined) return undefined;
  const mode = projected.defaultMode ?? defaultMode;
  for (const source of projected.sources ?? []) {
    if (source.configMap !== undefined) {
      addKeys(
        files,
        configMapKeys(facts.pod, config, source.configMap.name ?? '', source.configMap.optional),
        source.configMap.items,
        mode,
        source.configMap.optional,
      );
    } else if (source.secret !== undefined) {
      addKeys(
        files,
        secretKeys(facts.pod, config, source.secret.name ?? '', source.secret.optional),
        source.secret.items,
        mode,
        source.secret.optional,
      );
    } else if (source.downwardAPI !== undefined) {
      addFields(files, source.downwardAPI.items, mode, facts);
    } else if (source.serviceAccountToken === undefined) {
      throw new Error(`projected sources of type ${Object.keys(source)[0] ?? 'unknown'} are not supported`);
    }
  }
  return files;
}

/** Tokens are asked for when everything else is there. */
async function addTokens(files: Map<string, ProjectedFile>, { projected }: Volume, pod: Pod, tokens: TokenSource): Promise<void> {
  for (const { serviceAccountToken } of projected?.sources ?? []) {
    if (serviceAccountToken === undefined) continue;
    const { path, audience, expirationSeconds } = serviceAccountToken;
    const content = Buffer.from((await tokens.tokenOf(pod, { audience, expirationSeconds })).token);
    files.set(checkedPath(path), { content, mode: projected?.defaultMode ?? defaultMode });
  }
}

type Keys = ReadonlyMap<string, Buffer>;
type Items = readonly { readonly key: string; readonly path: string; readonly mode?: number }[] | undefined;

function addKeys(files: Map<string, ProjectedFile>, keys: Keys, items: Items, mode: number, optional: boolean | undefined): void {
  if (items === undefined || items.length === 0) {
    for (const [key, content] of keys) files.set(checkedPath(key), { content, mode });
    return;
  }
  for (const item of items) {
    const content = keys.get(item.key);
    if (content !== undefined) files.set(checkedPath(item.path), { content, mode: item.mode ?? mode });
    else if (optional !== true) throw new Error(`references non-existent config key: ${item.key}`);
  }
}

function addFields(
  files: Map<string, ProjectedFile>,
  items:
    | readonly {
        readonly path: string;
        readonly mode?: number;
        readonly fieldRef?: { readonly fieldPath: string };
        readonly resourceFieldRef?: { readonly containerName?: string; readonly resource: string; readonly divisor?: string | number };
      }[]
    | undefined,
  mode: number,
  facts: DownwardFacts,
): void {
  for (const { path, fieldRef, resourceFieldRef, mode: own } of items ?? []) {
    let text = '';
    if (fieldRef !== undefined) text = fieldText(fieldRef.fieldPath, facts);
    else if (resourceFieldRef !== undefined) {
      const container = facts.pod.spec.containers.find(({ name }) => name === resourceFieldRef.containerName);
      if (container === undefined) throw new Error(`resourceFieldRef names no container: ${resourceFieldRef.containerName ?? ''}`);
      const { divisor } = resourceFieldRef;
      text = resourceText(resourceFieldRef.resource, divisor === undefined ? undefined : String(divisor), container, facts);
    }
    files.set(checkedPath(path), { content: Buffer.from(text), mode: own ?? mode });
  }
}

function configMapKeys(pod: Pod, config: ConfigSource, name: string, optional: boolean | undefined): Keys {
  const found = config.configMap(pod.metadata.namespace ?? '', name);
  if (found === undefined && optional !== true) throw new Error(`configmap "${name}" not found`);
  return new Map([
    ...Object.entries(found?.data ?? {}).map(([key, value]) => [key, Buffer.from(value)] as const),
    ...Object.entries(found?.binaryData ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')] as const),
  ]);
}

function secretKeys(pod: Pod, config: ConfigSource, name: string, optional: boolean | undefined): Keys {
  const found = config.secret(pod.metadata.namespace ?? '', name);
  if (found === undefined && optional !== true) throw new Error(`secret "${name}" not found`);
  return new Map(Object.entries(found?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')] as const));
}

/** The API validates these paths; a server that does not must not make the agent write elsewhere. */
function checkedPath(path: string): string {
  const parts = path.split('/');
  if (path === '' || path.startsWith('/') || parts.some((part) => part === '..' || part === '') || path.startsWith('..')) {
    throw new Error(`invalid path "${path}"`);
  }
  return path;
}

/**
 * Paths in the volume at which a container of the pod mounts another volume. The volume is read-only, so only the agent
 * can create these directories, as the kubelet does. Paths below a name of the volume's own files are left out: there
 * the mount finds its target, or fails.
 */
function mountPointsIn(volume: string, { spec }: Pod): readonly string[] {
  const found: string[] = [];
  for (const { volumeMounts = [] } of [...(spec.initContainers ?? []), ...spec.containers]) {
    const paths = volumeMounts.map((mount) => ({ ...mount, path: posix.join('/', mount.mountPath).replace(/\/+$/, '') }));
    for (const outer of paths.filter(
      ({ name, subPath, subPathExpr }) => name === volume && subPath === undefined && subPathExpr === undefined,
    )) {
      for (const { path } of paths) if (path.startsWith(`${outer.path}/`)) found.push(path.slice(outer.path.length + 1));
    }
  }
  return found;
}

/**
 * Writes the files into a directory of their own, points `..data` at it by a rename. Each name at the top is a link through
 * `..data`. Nothing is touched when the content is what is there already.
 */
async function writeProjected({ path, files, owner, group, mountPoints }: ProjectedVolume): Promise<void> {
  const size = [...files.values()].reduce((sum, { content }) => sum + content.length, 0);
  if (size > maxProjectedBytes) throw new Error(`its content has ${size} bytes, more than ${maxProjectedBytes}`);
  await makeReadable(path);
  const tops = new Set([...files.keys()].map(topOf));
  const kept = mountPoints.filter((point) => !tops.has(topOf(point)) && !point.startsWith('..'));
  for (const point of kept) await makeReadableBelow(path, point);
  const keptTops = new Set(kept.map(topOf));
  const digest = digestOf(files);
  const current = await readlinkOptional(join(path, dataLink));
  // The digest is in the directory's name, so the link alone tells what is there.
  if (current?.includes(digest) === true) return;
  const versioned = await mkdtemp(join(path, `..${digest}.`));
  await chmod(versioned, 0o755);
  for (const [name, { content, mode }] of files) {
    const file = join(versioned, name);
    await makeReadableBelow(versioned, posix.dirname(name));
    await writeFile(file, content);
    if (owner !== undefined) await lchown(file, owner, owner);
    if (group !== undefined) await lchown(file, owner ?? 0, group);
    await chmod(file, group === undefined ? mode : mode | 0o440);
  }
  // Before the rename: after it nothing may be missing, since the digest says that all is done.
  for (const top of tops) {
    if ((await readlinkOptional(join(path, top))) === undefined) await symlink(join(dataLink, top), join(path, top));
  }
  const link = join(path, '..data_tmp');
  await rm(link, { force: true });
  await symlink(versioned.slice(path.length + 1), link);
  await rename(link, join(path, dataLink));
  for (const entry of await readdir(path)) {
    const isOld = entry.startsWith('..') && entry !== dataLink && join(path, entry) !== versioned;
    if (isOld || (!entry.startsWith('..') && !tops.has(entry) && !keptTops.has(entry)))
      await rm(join(path, entry), { recursive: true, force: true });
  }
}

function digestOf(files: ReadonlyMap<string, ProjectedFile>): string {
  const hash = createHash('sha256');
  for (const [name, { content, mode }] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}\0${mode}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 20);
}

/** The path is resolved inside of the container, since other pods may change it at any time. */
async function subPathOf(
  { path, inside = '', insideIsFile = false, projected }: PreparedVolume,
  subPath: string,
): Promise<Pick<Mount, 'subPath' | 'subPathIsFile'>> {
  const parts = subPath.split('/').filter((part) => part !== '' && part !== '.');
  if (subPath.startsWith('/') || parts.includes('..')) {
    throw new ContainerError('CreateContainerConfigError', `subPath "${subPath}" must stay inside of its volume`);
  }
  const whole = [...(inside === '' ? [] : [inside]), ...parts].join('/');
  if (whole === '') return {};
  const isFile = projected ? (await statOptional(join(path, whole)))?.isFile() === true : insideIsFile && parts.length === 0;
  return { subPath: whole, ...(isFile ? { subPathIsFile: true } : {}) };
}

interface MemoryDirectory {
  readonly group: number | undefined;
  readonly sizeBytes: number | undefined;
}

/** The files there count as memory of the pod, and are gone after a reboot. */
async function makeMemoryDirectory(path: string, { group, sizeBytes }: MemoryDirectory): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await mountMemory(path, [
    group === undefined ? 'mode=0777' : `mode=2777,gid=${group}`,
    ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
  ]);
}

/** The smaller of the volume's limit and what the pod's containers may have together; undefined: the kernel's, half of the memory. */
function memoryBoundOf(sizeLimit: string | undefined, pod: Pod): number | undefined {
  const limit = tryQuantity(sizeLimit);
  const bounds = [limit === undefined ? 0 : wholeValueOf(limit), podResourcesOf(pod).memoryLimitBytes ?? 0].filter((bytes) => bytes > 0);
  return bounds.length === 0 ? undefined : Math.min(...bounds);
}

async function makeReadableBelow(directory: string, path: string): Promise<void> {
  let at = directory;
  for (const part of path.split('/').filter((name) => name !== '' && name !== '.')) {
    at = join(at, part);
    await makeReadable(at);
  }
}

/** The umask is not asked: pods of other users read here. */
async function makeReadable(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await chmod(path, 0o755);
}

/**
 * The directory that a flag allows, and the path in it. Pods may write there, so the path is followed without the
 * machine in view. This check only reports a mistake early; nothing relies on it.
 */
async function prepareHostPath(
  { path, type = '' }: HostPathVolumeSource,
  { allowed, refused, exempt = [] }: HostPaths,
  forContainers: boolean,
): Promise<PreparedVolume> {
  const refuse = (why: string): never => {
    throw new Error(`hostPath ${path} is refused: ${why}`);
  };
  if (allowed.length === 0) refuse('pods of this node get nothing of the machine; --allow-host-path PREFIX allows some');
  // As far as it is there.
  let existing = path;
  while ((await lstatOptional(existing)) === undefined && existing !== '/') existing = dirname(existing);
  const realExisting = await realpathOptional(existing);
  if (realExisting === undefined) return refuse('a link on its way leads to nothing');
  const real = join(realExisting, path.slice(existing.length));
  const [secrets, open] = await Promise.all([realpathsOf(refused), realpathsOf(exempt)]);
  if (!open.some((each) => isWithin(real, each)) && secrets.some((secret) => isWithin(real, secret) || isWithin(secret, real))) {
    refuse('it holds the data directory of the cluster, or is a part of it');
  }
  const prefixes = await Promise.all(allowed.map((prefix) => realpathOptional(prefix)));
  const holders = prefixes.filter((prefix) => prefix !== undefined && isWithin(real, prefix)) as string[];
  // The outermost: a pod may write in every other one, and so replace those further in.
  const absent = allowed.filter((_, at) => prefixes[at] === undefined);
  const hint = absent.length === 0 ? '' : `; make ${absent.join(', ')} first`;
  const [holder = refuse(`it lies in no directory that --allow-host-path names (${allowed.join(', ')})${hint}`)] = holders.sort(
    (one, other) => one.length - other.length,
  );
  await checkHostPathType(real, type, forContainers);
  const inside = real.slice(holder.length).replace(/^\//, '');
  return { path: holder, inside, insideIsFile: type === 'FileOrCreate' || type === 'File', projected: false };
}

const realpathsOf = (paths: readonly string[]): Promise<string[]> =>
  Promise.all(paths.map(async (path) => (await realpathOptional(path)) ?? path));

const isWithin = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);

async function checkHostPathType(path: string, type: string, forContainers: boolean): Promise<void> {
  const info = await statOptional(path);
  const check = (fits: boolean | undefined, what: string): void => {
    if (fits !== true) throw new Error(`hostPath type check failed: ${path} is not ${what}`);
  };
  switch (type) {
    case '':
      return;
    case 'DirectoryOrCreate':
      return check(info?.isDirectory() ?? true, 'a directory');
    case 'FileOrCreate':
      return check(info?.isFile() ?? true, 'a file');
    case 'Directory':
      return check(info?.isDirectory(), 'a directory');
    case 'File':
      return check(info?.isFile(), 'a file');
    case 'Socket':
    case 'CharDevice':
    case 'BlockDevice':
      if (forContainers && type === 'Socket') return check(info?.isSocket(), 'a socket');
      if (forContainers && type === 'CharDevice') return check(info?.isCharacterDevice(), 'a character device');
      if (forContainers && type === 'BlockDevice') return check(info?.isBlockDevice(), 'a block device');
      throw new Error(`hostPath type ${type} is not supported: pods get directories and files of the machine`);
    default:
      throw new Error(`hostPath type ${type} is not known`);
  }
}

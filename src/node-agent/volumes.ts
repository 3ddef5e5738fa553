import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, readlink, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Container, Pod, Volume } from '../api/core/v1/pod.ts';
import type { ConfigSource } from './config-source.ts';
import { ContainerError, type Mount } from './container-runtime.ts';
import { type DownwardFacts, fieldText, resourceText } from './downward.ts';
import { expand } from './environment.ts';
import type { TokenSource } from './service-account-tokens.ts';

/**
 * The volumes of pods, as directories below `PODS/UID/volumes`. Volumes made of ConfigMaps, Secrets and pod fields are replaced in one
 * step by the rename of a link (`..data`), so that a program never sees half of a change.
 */
export interface Volumes {
  /**
   * Makes or updates every volume of the pod, and gives the directory of each by name.
   *
   * @throws ContainerError `CreateContainerConfigError`, naming the volume, for a reference to nothing or a source that is not supported
   */
  prepare(facts: DownwardFacts): Promise<ReadonlyMap<string, string>>;
  /** The mounts of a container. `paths` is what `prepare` gave; `lookUp` expands `subPathExpr`. */
  mountsOf(
    container: Container,
    paths: ReadonlyMap<string, string>,
    lookUp: (name: string) => string | undefined,
  ): Promise<readonly Mount[]>;
  remove(podUid: string): Promise<void>;
  /** Pods that have volumes here; also of pods that are gone. */
  list(): Promise<readonly string[]>;
}

export interface VolumesOptions {
  readonly tokens: TokenSource;
  /** Holds one directory a pod. */
  readonly directory: string;
  readonly config: ConfigSource;
}

/** One file of a projected volume. */
interface ProjectedFile {
  readonly content: Buffer;
  readonly mode: number;
}

const defaultMode = 0o644;
/** Of one volume; ConfigMaps and Secrets are bounded at 1 MiB each by the API. */
const maxProjectedBytes = 16 * 1024 * 1024;
const dataLink = '..data';

export function createVolumes({ directory, config, tokens }: VolumesOptions): Volumes {
  const podDirectory = (uid: string): string => join(directory, uid, 'volumes');

  async function prepareOne(volume: Volume, facts: DownwardFacts): Promise<string> {
    const { pod } = facts;
    const path = join(podDirectory(pod.metadata.uid ?? ''), volume.name);
    if (volume.emptyDir !== undefined) {
      await mkdir(path, { recursive: true, mode: 0o777 });
      // mkdir's mode is cut by the umask.
      await chmod(path, 0o777);
      return path;
    }
    if (volume.hostPath !== undefined) return prepareHostPath(volume.hostPath.path, volume.hostPath.type ?? '');
    const files = projectedFiles(volume, facts, config);
    if (files !== undefined) await addTokens(files, volume, pod, tokens);
    if (files === undefined) {
      const source = Object.keys(volume).find((key) => key !== 'name') ?? 'of unknown source';
      throw new Error(`volumes of type ${source} are not supported`);
    }
    await writeProjected(path, files);
    return path;
  }

  return {
    async prepare(facts) {
      const paths = new Map<string, string>();
      for (const volume of facts.pod.spec.volumes ?? []) {
        try {
          paths.set(volume.name, await prepareOne(volume, facts));
        } catch (err) {
          const why = err instanceof Error ? err.message : String(err);
          throw new ContainerError('CreateContainerConfigError', `MountVolume.SetUp failed for volume "${volume.name}" : ${why}`, {
            cause: err,
          });
        }
      }
      return paths;
    },

    async mountsOf(container, paths, lookUp) {
      const mounts: Mount[] = [];
      for (const { name, mountPath, readOnly, subPath, subPathExpr } of container.volumeMounts ?? []) {
        const volume = paths.get(name);
        if (volume === undefined)
          throw new ContainerError(
            'CreateContainerConfigError',
            `cannot find volume "${name}" to mount into container "${container.name}"`,
          );
        const inside = subPathExpr === undefined ? subPath : expand(subPathExpr, lookUp);
        const hostPath = inside === undefined || inside === '' ? volume : await resolveSubPath(volume, inside);
        mounts.push({ hostPath, containerPath: mountPath, readOnly: readOnly ?? false });
      }
      return mounts;
    },

    async remove(podUid) {
      tokens.forget(podUid);
      await rm(join(directory, podUid), { recursive: true, force: true });
    },

    async list() {
      try {
        return await readdir(directory);
      } catch (err) {
        if (isNoEntry(err)) return [];
        throw err;
      }
    },
  };
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
    const content = Buffer.from(await tokens.tokenOf(pod, { audience, expirationSeconds }));
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
 * Writes the files into a directory of their own, points `..data` at it by a rename, and lets each name at the top be a link through
 * `..data`. Nothing is touched when the content is what is there already.
 */
async function writeProjected(path: string, files: ReadonlyMap<string, ProjectedFile>): Promise<void> {
  const size = [...files.values()].reduce((sum, { content }) => sum + content.length, 0);
  if (size > maxProjectedBytes) throw new Error(`its content has ${size} bytes, more than ${maxProjectedBytes}`);
  await mkdir(path, { recursive: true, mode: 0o755 });
  const digest = digestOf(files);
  const current = await readlinkOptional(join(path, dataLink));
  // The digest is in the directory's name, so the link alone tells what is there.
  if (current?.includes(digest) === true) return;
  const versioned = await mkdtemp(join(path, `..${digest}.`));
  await chmod(versioned, 0o755);
  for (const [name, { content, mode }] of files) {
    const file = join(versioned, name);
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    await writeFile(file, content);
    await chmod(file, mode);
  }
  // Before the rename: after it nothing may be missing, since the digest says that all is done.
  const tops = new Set([...files.keys()].map((name) => name.split('/')[0] ?? name));
  for (const top of tops) {
    if ((await readlinkOptional(join(path, top))) === undefined) await symlink(join(dataLink, top), join(path, top));
  }
  const link = join(path, '..data_tmp');
  await rm(link, { force: true });
  await symlink(versioned.slice(path.length + 1), link);
  await rename(link, join(path, dataLink));
  for (const entry of await readdir(path)) {
    const isOld = entry.startsWith('..') && entry !== dataLink && join(path, entry) !== versioned;
    if (isOld || (!entry.startsWith('..') && !tops.has(entry))) await rm(join(path, entry), { recursive: true, force: true });
  }
}

function digestOf(files: ReadonlyMap<string, ProjectedFile>): string {
  const hash = createHash('sha256');
  for (const [name, { content, mode }] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}\0${mode}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 20);
}

/** A path inside of a volume with all links resolved; made as a directory when it is not there. What leads out of the volume is refused. */
async function resolveSubPath(volume: string, subPath: string): Promise<string> {
  const parts = subPath.split('/').filter((part) => part !== '' && part !== '.');
  if (subPath.startsWith('/') || parts.includes('..')) {
    throw new ContainerError('CreateContainerConfigError', `subPath "${subPath}" must stay inside of its volume`);
  }
  const root = await realpath(volume);
  let at = root;
  for (const part of parts) {
    const next = join(at, part);
    try {
      at = await realpath(next);
    } catch (err) {
      if (!isNoEntry(err)) throw err;
      // A dangling link is there, but resolves to nothing.
      if (await existsUnresolved(next)) throw new ContainerError('CreateContainerConfigError', `subPath "${subPath}" leads to nothing`);
      await mkdir(next, { mode: 0o755 });
      at = next;
    }
    if (at !== root && !at.startsWith(`${root}/`)) {
      throw new ContainerError('CreateContainerConfigError', `subPath "${subPath}" leads out of its volume`);
    }
  }
  return at;
}

async function prepareHostPath(path: string, type: string): Promise<string> {
  const info = await statOptional(path);
  const fail = (what: string): never => {
    throw new Error(`hostPath type check failed: ${path} is not ${what}`);
  };
  switch (type) {
    case '':
      if (info === undefined) await mkdir(path, { recursive: true });
      return path;
    case 'DirectoryOrCreate':
      if (info === undefined) await mkdir(path, { recursive: true, mode: 0o755 });
      else if (!info.isDirectory()) fail('a directory');
      return path;
    case 'FileOrCreate':
      if (info === undefined) await writeFile(path, '', { mode: 0o644 });
      else if (!info.isFile()) fail('a file');
      return path;
    case 'Directory':
      return info?.isDirectory() ? path : fail('a directory');
    case 'File':
      return info?.isFile() ? path : fail('a file');
    case 'Socket':
      return info?.isSocket() ? path : fail('a socket');
    case 'CharDevice':
      return info?.isCharacterDevice() ? path : fail('a character device');
    case 'BlockDevice':
      return info?.isBlockDevice() ? path : fail('a block device');
    default:
      throw new Error(`hostPath type ${type} is not known`);
  }
}

const isNoEntry = (err: unknown): boolean => (err as NodeJS.ErrnoException).code === 'ENOENT';

async function statOptional(path: string): Promise<Awaited<ReturnType<typeof stat>> | undefined> {
  try {
    return await stat(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}

async function existsUnresolved(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (err) {
    if (isNoEntry(err)) return false;
    throw err;
  }
}

async function readlinkOptional(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (err) {
    if (isNoEntry(err)) return undefined;
    throw err;
  }
}

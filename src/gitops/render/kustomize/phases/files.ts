import { type FileNode, isWithin, joinPath } from '../file-tree.ts';
import { isRemote, mountOf, parseRemoteAddress, RemoteBaseError } from '../remote-bases.ts';
import type { Build } from './build.ts';
import { nowhere, type PlaceOf, problemAt, type Reference, symlinkProblem } from './place.ts';
import { decode, objectsIn, type ParsedFile, parse, placesIn } from './read-objects.ts';

/** Finds the path of a resource or component in the tree; undefined when it leads out of the tree. */
export async function locate(build: Build, path: string, from: Reference): Promise<string | undefined> {
  return isRemote(path) ? mount(build, path, from) : joinWithin(from.loaded.directory, path);
}

/** Fetches the repository of a base. Gives the path of the base in the tree. */
async function mount(build: Build, path: string, from: Reference): Promise<string> {
  const { remoteBases, signal } = build.options;
  if (remoteBases === undefined) refuseRemote(path, from);
  try {
    const address = parseRemoteAddress(path);
    const base = joinPath('', address.path);
    if (base === undefined) throw new RemoteBaseError(`'${path}' leads out of its repository`, { hint: 'Name a directory in it.' });
    return build.tree.mount({ ...address, path: base }, await remoteBases.open(address, { signal }));
  } catch (err) {
    if (!(err instanceof RemoteBaseError)) throw err;
    signal?.throwIfAborted();
    throw problemAt(from, { message: err.message, hint: err.hint, temporary: err.temporary });
  }
}

/** The directory a reference names; one that holds what refers to it would never end. */
export function directoryAt(
  directory: string | undefined,
  path: string,
  { from, above }: { readonly from: Reference; readonly above: readonly string[] },
): string {
  if (directory === undefined || (path.startsWith('/') && !isRemote(path)))
    throw problemAt(from, { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' });
  const visited = above.find((other) => isWithin(other, directory));
  if (visited !== undefined) {
    throw problemAt(from, { message: `cycle detected: candidate root '${directory || '.'}' contains visited root '${visited || '.'}'` });
  }
  return directory;
}

/** A file must lie beside or below the kustomization that names it, or, where that is allowed, anywhere in the repository. */
export function fileOf(build: Build, path: string, { loaded, field }: Reference): string {
  const file = path.startsWith('/') ? undefined : joinWithin(loaded.directory, path);
  const isRestricted = build.options.loadRestrictor !== 'LoadRestrictionsNone';
  if (file !== undefined && (!isRestricted || isWithin(file, loaded.directory))) return file;
  throw problemAt(
    { loaded, field },
    isRestricted
      ? {
          message: `security; file '${path}' is not in or below '${loaded.directory || '.'}'`,
          hint: 'Move it there, or make a kustomization of its directory and list that under resources.',
        }
      : { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' },
  );
}

export async function readFile(build: Build, path: string, from: Reference): Promise<{ readonly file: string; readonly node: FileNode }> {
  if (isRemote(path)) refuseRemote(path, from);
  const file = fileOf(build, path, from);
  const node = await build.tree.find(file);
  if (node?.type === 'file') return { file, node };
  throw problemAt(from, {
    message: `'${path}' ${node === undefined ? "doesn't exist" : node.type === 'symlink' ? symlinkProblem.message : 'is a directory'}`,
  });
}

/** The first document of a file, YAML or JSON. */
export async function readDocument(
  build: Build,
  path: string,
  from: Reference,
): Promise<{ readonly document: unknown; readonly file: string; readonly placeOf: PlaceOf }> {
  const { file, node } = await readFile(build, path, from);
  const text = decode(await node.read(), file);
  const [document] = parse(text, file, {});
  return { document: document?.value, file, placeOf: document === undefined ? nowhere : placesIn(text, document.line) };
}

export async function parseObjects(build: Build, node: FileNode, file: string): Promise<ParsedFile> {
  const known = build.parsed.get(node.id);
  if (known !== undefined) return known;
  const text = decode(await node.read(), file);
  const objects = objectsIn(text, file);
  build.parsed.set(node.id, objects, text.length);
  return objects;
}

/** A path that begins in one repository and leads into another leads out of the first. */
export function joinWithin(directory: string, path: string): string | undefined {
  const whole = joinPath(directory, path);
  return whole === undefined || mountOf(whole) !== mountOf(directory) ? undefined : whole;
}

function refuseRemote(path: string, from: Reference): never {
  throw problemAt(from, {
    message: `not supported: remote resource ${path.replace(/\/\/[^/@]*@/, '//')}`,
    hint: 'Copy it into the repository, follow that repository with an app of its own, or allow bases of it with --remote-base.',
  });
}

import { type FileNode, KustomizeError } from '../file-tree.ts';
import { FieldProblem, type Kustomization, parseKustomization } from '../kustomization.ts';
import type { Build } from './build.ts';
import { type LoadedKustomization, nowhere, problemAt, type Reference, symlinkProblem } from './place.ts';
import { decode, parse, placesIn } from './read-objects.ts';
import type { Overlay } from './render-options.ts';

/** Names of a kustomization file; a directory has one of them. */
export const kustomizationFiles = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];

/** Loads the kustomization that a build is of, with what the app adds to it. */
export async function loadTop(build: Build): Promise<LoadedKustomization> {
  const { path, overlay, resources } = build.options;
  const loaded =
    resources === undefined
      ? await loadKustomization(build, path, undefined)
      : {
          directory: path,
          file: path || '.',
          blob: '',
          placeOf: nowhere,
          spec: { ...parseKustomization({ resources: ['.'] }), resources },
        };
  return overlay === undefined ? loaded : { ...loaded, spec: withOverlay(loaded.spec, overlay) };
}

/** A base that many list is read once, and counted each time. */
export async function loadKustomization(build: Build, directory: string, from: Reference | undefined): Promise<LoadedKustomization> {
  build.options.signal?.throwIfAborted();
  build.countKustomization(from);
  let loading = build.loaded.get(directory);
  if (loading === undefined) {
    loading = readKustomization(build, directory, from);
    build.loaded.set(directory, loading);
  }
  return loading;
}

async function readKustomization(build: Build, directory: string, from: Reference | undefined): Promise<LoadedKustomization> {
  const found: { readonly file: string; readonly node: FileNode }[] = [];
  for (const name of kustomizationFiles) {
    const file = directory === '' ? name : `${directory}/${name}`;
    const node = await build.tree.find(file);
    if (node?.type === 'symlink') throw new KustomizeError({ file, ...symlinkProblem });
    if (node?.type === 'file') found.push({ file, node });
  }
  const [only, second] = found;
  if (only === undefined) {
    throw problemAt(from, {
      message: `unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '${directory || '.'}'`,
      hint: 'Add a kustomization.yaml there, or name the files themselves.',
    });
  }
  if (second !== undefined) {
    throw new KustomizeError({ file: second.file, message: `Found multiple kustomization files under: ${directory || '.'}` });
  }
  const text = decode(await only.node.read(), only.file);
  const { file, node } = only;
  // As for kustomize, a field that is there twice has its last value.
  const [document] = parse(text, file, { onDuplicateKey: () => undefined });
  const placeOf = document === undefined ? nowhere : placesIn(text, document.line);
  try {
    const spec = parseKustomization(document?.value ?? {});
    return { directory, file, blob: node.id, placeOf, spec };
  } catch (err) {
    if (!(err instanceof FieldProblem)) throw err;
    throw new KustomizeError({ file, ...placeOf(err.field), message: err.message, hint: err.hint });
  }
}

function withOverlay(spec: Kustomization, overlay: Overlay): Kustomization {
  const images = new Map(spec.images.map((rule) => [rule.name, rule]));
  for (const rule of overlay.images ?? []) images.set(rule.name, rule);
  return {
    ...spec,
    namespace: overlay.namespace || spec.namespace,
    namePrefix: overlay.namePrefix || spec.namePrefix,
    nameSuffix: overlay.nameSuffix || spec.nameSuffix,
    components: [...spec.components, ...(overlay.components ?? [])],
    patches: [...spec.patches, ...(overlay.patches ?? [])],
    images: [...images.values()],
    buildMetadata: overlay.buildMetadata?.length ? overlay.buildMetadata : spec.buildMetadata,
  };
}

import type { RemoteAddress } from '../remote-bases.ts';
import { type Configured, isMap, metadataOf, type Origin, type Resource, setOwn } from '../resource.ts';
import { atCostOf, spend } from '../work.ts';
import type { Accumulator } from './accumulator.ts';
import type { Build } from './build.ts';

interface ConfiguredPlace {
  readonly file: string;
  readonly remote: RemoteAddress | undefined;
}

export const originNote = 'config.kubernetes.io/origin';

const transformationsNote = 'alpha.config.kubernetes.io/transformations';

export function addNote(resource: Resource, key: string, text: string): void {
  const metadata = metadataOf(resource);
  metadata.annotations = { ...(isMap(metadata.annotations) ? metadata.annotations : {}), [key]: text };
}

function hasNote(resource: Resource, key: string): boolean {
  const { annotations } = metadataOf(resource);
  return isMap(annotations) && Object.hasOwn(annotations, key);
}

export function noteTransformer(build: Build, { resources }: Accumulator, by: Configured): void {
  if (!build.notesOrigin) return;
  atCostOf(build.allowance, () => spend(resources.length));
  for (const resource of resources) {
    // A patch may take the notes away with all annotations. kustomize then takes the transformer for what made the object.
    if (!hasNote(resource, originNote)) {
      resource.origin = { ...resource.origin, generator: by };
      addNote(resource, originNote, '');
      continue;
    }
    resource.transformations = hasNote(resource, transformationsNote) ? [...resource.transformations, by] : [by];
    addNote(resource, transformationsNote, '');
  }
}

/** Annotations about where an object comes from and what was done to it, as far as the kustomization wants them. */
export function notesOf(build: Build, resource: Resource, wanted: readonly string[]): readonly (readonly [key: string, text: string])[] {
  if (!build.notesOrigin) return [];
  const placeOf = (file: string): ConfiguredPlace => {
    const remote = build.tree.origin(file);
    return { file: remote === undefined ? relativePath(build.options.path, file) : remote.path, remote };
  };
  const notes: [string, string][] = [];
  if (wanted.includes('originAnnotations') && hasNote(resource, originNote)) notes.push([originNote, originText(resource.origin, placeOf)]);
  if (wanted.includes('transformerAnnotations') && hasNote(resource, transformationsNote)) {
    const items = resource.transformations.map((by) => configuredText(by, placeOf(by.file)).trimEnd().replaceAll('\n', '\n  '));
    notes.push([transformationsNote, items.map((item) => `- ${item}\n`).join('')]);
  }
  return notes;
}

const remoteText = (remote: RemoteAddress | undefined): string =>
  remote === undefined ? '' : `repo: ${remote.repository}\nref: ${remote.ref}\n`;

function originText({ file, generator }: Origin, placeOf: (file: string) => ConfiguredPlace): string {
  if (generator !== undefined) return configuredText(generator, placeOf(generator.file));
  const place = placeOf(file);
  return `path: ${place.file}\n${remoteText(place.remote)}`;
}

function configuredText({ kind, name, namespace }: Configured, { file, remote }: ConfiguredPlace): string {
  const more = [
    ['name', name],
    ['namespace', namespace],
  ].flatMap(([key, value]) => (value === '' ? [] : [`  ${key}: ${value}\n`]));
  return `${remoteText(remote)}configuredIn: ${file}\nconfiguredBy:\n  apiVersion: builtin\n  kind: ${kind}\n${more.join('')}`;
}

function relativePath(from: string, to: string): string {
  const left = from === '' ? [] : from.split('/');
  const right = to.split('/');
  let same = 0;
  while (same < left.length && left[same] === right[same]) same += 1;
  return [...left.slice(same).map(() => '..'), ...right.slice(same)].join('/');
}

/** Annotations are strings in the end, however they came about, and an empty map of them goes. */
export function finishAnnotations({ object }: Resource): void {
  if (!isMap(object.metadata)) return;
  const { annotations } = object.metadata;
  if (isMap(annotations)) {
    for (const key of internalAnnotations) delete annotations[key];
    for (const [key, value] of Object.entries(annotations)) {
      if (typeof value === 'object') setOwn(annotations, key, value === null ? 'null' : '');
      else if (typeof value !== 'string') setOwn(annotations, key, String(value));
    }
  }
  if (annotations === null || (isMap(annotations) && Object.keys(annotations).length === 0)) delete object.metadata.annotations;
}

/** Annotations that kustomize and its like write for themselves, and take away in the end. */
const internalAnnotations = [
  'config.k8s.io/id',
  'alpha.config.kubernetes.io/transformations',
  ...['path', 'index', 'origin'].map((name) => `config.kubernetes.io/${name}`),
  ...['path', 'index', 'id', 'seqindent', 'annotations-migration-resource-id'].map((name) => `internal.config.kubernetes.io/${name}`),
  ...['previousKinds', 'previousNames', 'previousNamespaces', 'prefixes', 'suffixes'].map(
    (name) => `internal.config.kubernetes.io/${name}`,
  ),
  ...['refBy', 'generatorBehavior', 'needsHashSuffix', 'allowNameChange', 'allowKindChange'].map(
    (name) => `internal.config.kubernetes.io/${name}`,
  ),
];

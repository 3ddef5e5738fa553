import { builtInFields } from '../field-config.ts';
import { KustomizeError } from '../file-tree.ts';
import { fixReferences } from '../references.ts';
import { currentId, describeId, idKey, isMap, type Resource } from '../resource.ts';
import { sortResources } from '../sort.ts';
import { addHashes, setOwnLabel } from '../transform.ts';
import { resolveVariables } from '../variables.ts';
import { atCostOf } from '../work.ts';
import type { Accumulator } from './accumulator.ts';
import type { Build } from './build.ts';
import { addNote, finishAnnotations, notesOf } from './notes.ts';
import { type LoadedKustomization, placeText } from './place.ts';
import { problemOfNamed } from './read-objects.ts';
import type { RenderedObject } from './render-options.ts';

/**
 * Turns the collected objects into those that are printed. Names are final only now, so hashes, references and variables come last.
 *
 * @throws KustomizeError for a reference or variable that cannot be followed, and for two objects with one id
 */
export async function finish(build: Build, top: LoadedKustomization, accumulated: Accumulator): Promise<readonly RenderedObject[]> {
  const { resources, fields = builtInFields } = accumulated;
  addHashes(resources);
  await build.pause();
  atCostOf(build.allowance, () =>
    fixReferences(resources, fields.nameReference, (resource, err) => {
      const { file, line } = resource.origin;
      throw new KustomizeError({ file, line, message: `${describeId(currentId(resource))}: ${err.message}` });
    }),
  );
  build.at(top, 'vars', () => resolveVariables(resources, accumulated.variables, fields.varReference));
  checkIds(resources);
  const sorted = sortResources(resources.filter(isNotLocal), top.spec.sortOptions);
  for (const resource of sorted) {
    const notes = notesOf(build, resource, top.spec.buildMetadata);
    finishAnnotations(resource);
    for (const [key, text] of notes) addNote(resource, key, text);
    if (top.spec.buildMetadata.includes('managedByLabel')) setOwnLabel(resource, 'app.kubernetes.io/managed-by', 'kustomize-v5.6.0');
  }
  return sorted.map(({ object, origin }) => ({ object, origin }));
}

/** Patches and replacements may take names away, or make two objects one. */
function checkIds(resources: readonly Resource[]): void {
  const seen = new Map<string, Resource>();
  for (const resource of resources) {
    const { object, origin } = resource;
    const id = currentId(resource);
    const twin = seen.get(idKey(id));
    const problem =
      twin === undefined
        ? problemOfNamed(object)
        : `may not add resource with an already registered id: ${describeId(id)} (${placeText(twin.origin)} and ${placeText(origin)})`;
    if (problem !== undefined) throw new KustomizeError({ file: origin.file, line: origin.line, message: `built from this: ${problem}` });
    seen.set(idKey(id), resource);
  }
}

/** Objects that are only there for other tools. */
function isNotLocal({ object }: Resource): boolean {
  const annotations = isMap(object.metadata) && isMap(object.metadata.annotations) ? object.metadata.annotations : {};
  const local = annotations['config.kubernetes.io/local-config'];
  return local === undefined || local === 'false';
}

import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { nearest } from '../../../base/nearest.ts';
import { createLocators, parseYamlDocuments, YamlError } from '../../../machinery/yaml.ts';
import type { BuildError } from '../../manifests/manifest.ts';
import { createGitTrees } from '../../render/git-tree.ts';
import { joinPath, KustomizeError } from '../../render/kustomize/file-tree.ts';
import { kustomizationFiles } from '../../render/kustomize/phases/load.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { describeObject } from '../objects/object-id.ts';
import type { DesiredObject } from './plan.ts';

export interface MissingNamespace {
  readonly app: Kustomization;
  readonly name: string;
  /** Those that are for it; at least one. */
  readonly objects: readonly DesiredObject[];
  readonly revision: KnownRevision;
  /** Namespaces that there are. */
  readonly names: readonly string[];
}

/** Kustomizations that are read in search of the line; a namespace is set near the top. */
const maxKustomizations = 50;
const limits = { maxBytes: 1024 * 1024, maxDepth: 100, maxAliases: 100, maxDocuments: 1 };
const gitTree = createGitTrees();

/** One error for all objects of a namespace that does not exist, at the line that puts them there: one slip, whatever it moves. */
export async function missingNamespaceError({ app, name, objects, revision, names }: MissingNamespace): Promise<BuildError> {
  const [first] = objects;
  const meant = nearest(name, names);
  const what = objects.length === 1 && first !== undefined ? describeObject(first.object) : `${objects.length} objects`;
  const message = `namespace ${JSON.stringify(name)} does not exist, and ${what} ${objects.length === 1 ? 'is' : 'are'} for it`;
  const hint = meant === undefined ? 'Add the Namespace to the app, or to one that it depends on.' : `Did you mean ${meant}?`;
  if (app.spec.targetNamespace === name) return { file: '', message: `spec.targetNamespace: ${message}`, hint };
  const place = (await placeOf(app.spec.path ?? '', name, revision)) ?? {
    file: first?.manifest.file ?? '',
    line: first?.manifest.line ?? 1,
  };
  return { ...place, message, hint };
}

/** Finds the line of a kustomization of the app that says `namespace: NAME`; undefined when none does, or it cannot be read. */
async function placeOf(
  path: string,
  name: string,
  { source, commit }: KnownRevision,
): Promise<Pick<BuildError, 'file' | 'line'> | undefined> {
  const tree = gitTree(source, commit.tree);
  const start = joinPath('', path);
  const waiting = start === undefined ? [] : [start];
  const seen = new Set<string>();
  for (const directory of waiting) {
    if (seen.has(directory) || seen.size >= maxKustomizations) continue;
    seen.add(directory);
    for (const each of kustomizationFiles) {
      const file = directory === '' ? each : `${directory}/${each}`;
      try {
        const node = await tree.find(file);
        if (node?.type !== 'file') continue;
        const text = Buffer.from(await node.read()).toString('utf8');
        const [document] = parseYamlDocuments(text, limits);
        const { namespace, resources, components } = (document?.value ?? {}) as Readonly<Record<string, unknown>>;
        if (document !== undefined && namespace === name) return { file, ...createLocators(text)(document.line)('namespace') };
        const below = [resources, components].flatMap((list) => (Array.isArray(list) ? list : []));
        for (const entry of below) {
          const next = typeof entry === 'string' ? joinPath(directory, entry) : undefined;
          if (next !== undefined) waiting.push(next);
        }
      } catch (err) {
        // The place is a help, not the message.
        if (!(err instanceof YamlError) && !(err instanceof KustomizeError)) throw err;
      }
    }
  }
  return undefined;
}

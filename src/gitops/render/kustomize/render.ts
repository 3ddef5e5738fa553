import { KustomizeError } from './file-tree.ts';
import { accumulate } from './phases/accumulate.ts';
import { newAccumulator } from './phases/accumulator.ts';
import { Build, tooMuchWork } from './phases/build.ts';
import { finish } from './phases/finish.ts';
import { loadTop } from './phases/load.ts';
import { ParsedFiles } from './phases/read-objects.ts';
import type { RenderedObject, RenderOptions } from './phases/render-options.ts';
import { allowanceOfBuild, TooMuchWork } from './work.ts';

/**
 * Builds kustomizations as `kustomize build` (5.6) does; parsed files are cached by their ids. Known differences:
 *
 * - An object without an apiVersion, and a whole number that JavaScript cannot hold, are refused with their place,
 * since nothing could apply them unchanged.
 * - Texts that YAML 1.2 allows and kustomize's parser does not (directives, `--- {}`, keys of generated data that look
 * like numbers) are read.
 * - Dates with a time within braces become times like others.
 * - The text of an annotation that looks like a number survives a JSON patch. A number that a replacement created stays
 * one when a patch follows, where kustomize makes it a string.
 * - The `openapi` file of a base counts for it and for its users, not for the bases behind it.
 * - A field spec `metadata/annotations` without `create` does not find kustomize's own notes during a build.
 *
 * For charts see decisions/0011, for other repositories decisions/0013.
 */
export interface Renderer {
  /** Objects in the order in which kustomize writes them; each is a copy of its own. @throws KustomizeError */
  render(options: RenderOptions): Promise<readonly RenderedObject[]>;
}

/** @param allowance  units of work that one build may take, see `work.ts` */
export function createRenderer(allowance = allowanceOfBuild): Renderer {
  const parsed = new ParsedFiles();
  return {
    async render(options) {
      try {
        return await runPhases(new Build(options, parsed, allowance));
      } catch (err) {
        if (err instanceof TooMuchWork) throw new KustomizeError({ file: options.path || '.', ...tooMuchWork(err) });
        throw err;
      }
    },
  };
}

async function runPhases(build: Build): Promise<readonly RenderedObject[]> {
  // 1. Load: the kustomization on top, with what its app adds.
  const top = await loadTop(build);
  build.notesOrigin = top.spec.buildMetadata.length > 0;
  // 2. Accumulate: files and bases, generated objects, components and transformers, from the bottom up.
  const accumulated = newAccumulator();
  await accumulate(build, top, { into: accumulated, above: [top.directory] });
  // 3. Finish: hashes, references, variables, order and annotations of all objects.
  return finish(build, top, accumulated);
}

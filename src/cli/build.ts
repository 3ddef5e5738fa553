import { readdir, realpath, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { directoryTree } from '../gitops/render/kustomize/directory-tree.ts';
import { KustomizeError } from '../gitops/render/kustomize/file-tree.ts';
import type { LoadRestrictor } from '../gitops/render/kustomize/load-restrictor.ts';
import { kustomizationFiles } from '../gitops/render/kustomize/phases/load.ts';
import { createRenderer } from '../gitops/render/kustomize/render.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { readName } from '../gitops/sources/object-format.ts';
import { formatYaml } from '../machinery/yaml.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface BuildCommandOptions {
  readonly path: string;
  readonly tools?: BuildTools | undefined;
  readonly loadRestrictor?: LoadRestrictor | undefined;
  readonly output: NodeJS.WritableStream;
}

const isManifest = (name: string): boolean => /\.ya?ml$/i.test(name);

/** Files that a plain directory may hold. */
const maxFiles = 100_000;

/**
 * Prints the objects that a directory describes, as `kustomize build` does; without a kustomization file, as an app of that path is
 * built. Nothing is printed when anything is wrong.
 */
export async function build({ path, tools, loadRestrictor, output }: BuildCommandOptions): Promise<ExitCode> {
  const directory = await realDirectory(path);
  const resources = await plainResources(directory);
  try {
    // The tree is the whole machine, so that a base may lie beside the directory; messages name files from here.
    const rendered = await createRenderer().render({
      tree: directoryTree('/'),
      path: directory.slice(1),
      resources,
      loadRestrictor,
      ...tools,
    });
    output.write(rendered.map(({ object }) => formatYaml(sorted(object))).join('---\n'));
    return 0;
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    const file = displayed(err.file);
    const place = [file, err.line, err.column].filter((part) => part !== undefined).join(':');
    throw new Failure(place, { why: err.message, fix: err.hint ?? 'Correct the file and build again.', exitCode: 1, cause: err });
  }
}

async function realDirectory(path: string): Promise<string> {
  const directory = await realpath(resolve(path)).catch(() => undefined);
  if (directory !== undefined && (await stat(directory)).isDirectory()) return directory;
  throw new Failure(`${path} is not a directory`, {
    why: directory === undefined ? 'There is nothing of that name.' : 'It is a file; name a directory.',
    fix: 'Give the directory with the kustomization.yaml or the manifests: midship build ./apps/web',
  });
}

/** The manifests of a directory without a kustomization file, and the directories below it that have one; undefined when it has one. */
async function plainResources(directory: string): Promise<readonly string[] | undefined> {
  const found: string[] = [];
  const walk = async (relative: string): Promise<boolean> => {
    const all = await readdir(join(directory, relative), { withFileTypes: true, encoding: 'buffer' });
    const entries = all.map((entry) => ({ ...readName(entry.name), isDirectory: entry.isDirectory() }));
    if (entries.some(({ name }) => kustomizationFiles.includes(name))) return true;
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.')) continue;
      const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.problem !== undefined && (entry.isDirectory || isManifest(entry.name)))
        throw new Failure(`${name} ${entry.problem}`, { why: 'Nothing can refer to it.', fix: 'Rename it.', exitCode: 1 });
      if (entry.isDirectory ? await walk(name) : isManifest(entry.name)) found.push(name);
      if (found.length > maxFiles) {
        throw new Failure(`${directory} holds more than ${maxFiles} manifests`, {
          why: 'That many are not built at once.',
          fix: 'Build a directory below it.',
        });
      }
    }
    return false;
  };
  if (await walk('')) return undefined;
  if (found.length > 0) return found;
  throw new Failure(`${directory} holds no manifest`, {
    why: 'There is neither a kustomization.yaml nor another YAML file.',
    fix: 'Give the directory with the manifests: midship build ./apps/web',
  });
}

/** From the working directory where that is shorter. */
function displayed(file: string): string {
  const absolute = `/${file}`;
  const here = `${process.cwd()}/`;
  return absolute.startsWith(here) ? absolute.slice(here.length) : absolute;
}

/** Members in the order of their names, as kustomize writes them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, child]) => [key, sorted(child)]),
  );
}

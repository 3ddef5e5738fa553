import { execFile, spawnSync } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Helm } from '../../src/gitops/render/helm.ts';
import { directoryTree } from '../../src/gitops/render/kustomize/directory-tree.ts';
import { KustomizeError } from '../../src/gitops/render/kustomize/file-tree.ts';
import type { LoadRestrictor } from '../../src/gitops/render/kustomize/load-restrictor.ts';
import { createRenderer } from '../../src/gitops/render/kustomize/render.ts';
import { parseYamlDocuments } from '../../src/machinery/yaml.ts';

const run = promisify(execFile);
const limits = { maxBytes: 64 * 1024 * 1024, maxDepth: 100, maxAliases: 0, maxDocuments: 100_000 };

/** True when the real program is here for comparison. */
export const hasKustomize = spawnSync('kustomize', ['version']).status === 0;

/** `npm run fault` sets it: every case is compared. `npm test` compares some, since each is a process. */
export const comparesAll = process.env.MIDSHIP_KUSTOMIZE_PAIRS === 'all';

/** One of `shares` cases, or all where all are compared. */
export const shareOf = <T>(cases: readonly T[], shares: number): readonly T[] =>
  comparesAll ? cases : cases.filter((_, index) => index % shares === 0);

export type Files = Readonly<Record<string, string>>;

export type Outcome = { readonly objects: readonly unknown[] } | { readonly error: string };

export async function writeFiles(root: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
}

/** Output of the real `kustomize build` for a directory. */
export async function buildWithKustomize(directory: string, flags: readonly string[] = []): Promise<Outcome> {
  try {
    const { stdout } = await run('kustomize', ['build', ...flags, directory], { maxBuffer: limits.maxBytes });
    // Debian's build does not know its version, and writes one that no label may have.
    const text = stdout.replaceAll('kustomize-(devel)', 'kustomize-v5.6.0');
    return { objects: parseYamlDocuments(text, limits).map(({ value }) => value) };
  } catch (err) {
    return { error: String((err as { readonly stderr?: string }).stderr ?? err) };
  }
}

export interface BuildOptions {
  readonly helm?: Helm | undefined;
  readonly loadRestrictor?: LoadRestrictor;
}

/** Output of this program for it. */
export async function buildHere(root: string, path: string, { helm, loadRestrictor }: BuildOptions = {}): Promise<Outcome> {
  try {
    const rendered = await createRenderer().render({ tree: directoryTree(root), path, helm, loadRestrictor });
    return { objects: rendered.map(({ object }) => object) };
  } catch (err) {
    if (!(err instanceof KustomizeError)) throw err;
    return { error: `${err.file}${err.line === undefined ? '' : `:${err.line}`}: ${err.message}` };
  }
}

/** A program that kustomize 5.6 takes for helm 3: it asks for the version in a way that helm 4 does not know. */
export async function writeHelm3(directory: string, helm: string): Promise<string> {
  const script = join(directory, 'helm3');
  await writeFile(script, `#!/bin/sh\nif [ "$1" = version ]; then echo v3.99.0; exit; fi\nexec '${helm}' "$@"\n`);
  await chmod(script, 0o755);
  return script;
}

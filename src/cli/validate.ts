import { realpath, stat } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import pc from 'picocolors';
import { nodes } from '../api/core/v1/node.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { Client } from '../client/client.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { openClone } from '../gitops/verbs/clone.ts';
import { openDirectorySource } from '../gitops/verbs/directory-source.ts';
import { type Validation, validateTree } from '../gitops/verbs/validate.ts';
import { type AppCommand, withClient } from './connect.ts';
import { tryEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import type { Format } from './format.ts';
import { writeResult } from './output.ts';

export interface ValidateCommandOptions {
  readonly path: string;
  /** Root of the repository, which paths of apps start from; that of the clone when undefined. */
  readonly root: string | undefined;
  /** Warnings count as errors. */
  readonly strict: boolean;
  readonly tools?: BuildTools | undefined;
  /** True when the cluster that is meant runs, and pulls no images. */
  pullsNothing(): Promise<boolean>;
  readonly output: NodeJS.WritableStream;
  readonly format: Format;
  /** An API of its own without anything in it, and how to end it. */
  openApi(): Promise<{ readonly client: Client; stop(): Promise<void> }>;
}

/** Checks manifests without a cluster, for CI and before a push: 0 when they can be applied, 1 when not. */
export async function validate(options: ValidateCommandOptions): Promise<ExitCode> {
  const directory = await realDirectory(options.path);
  const clone = await cloneOf(directory);
  const root = options.root === undefined ? (clone?.root ?? directory) : await realDirectory(options.root);
  if (relative(root, directory).startsWith('..')) {
    throw new Failure(`${options.path} is not below ${options.root}`, {
      why: 'Name a directory inside the repository.',
      fix: 'Give the root of its repository with --root.',
    });
  }
  const api = await options.openApi();
  try {
    const result = await validateTree({
      tree: openDirectorySource(root, clone?.root === root ? clone.ignored : undefined),
      path: relative(root, directory),
      client: api.client,
      clock: systemClock,
      tools: options.tools,
      pullsNothing: await options.pullsNothing(),
      signal: new AbortController().signal,
    });
    const shown = fromHere(result, root);
    await writeResult(options, shown, textOf);
    return shown.errors.length > 0 || (options.strict && shown.warnings.length > 0) ? 1 : 0;
  } finally {
    await api.stop();
  }
}

/** Asks the running cluster of a data directory. One that cannot be asked may run any image. */
export async function pullsNothingAt(command: Omit<AppCommand, 'format'>): Promise<boolean> {
  try {
    if ((await tryEndpoints(command.dataDirectory)) === undefined) return false;
    const { items } = await withClient(command, (client) => client.list(nodes));
    return items.length > 0 && items.every(({ status }) => status?.nodeInfo?.containerRuntimeVersion?.startsWith('process://') === true);
  } catch (err) {
    if (err instanceof Failure) return false;
    throw err;
  }
}

async function cloneOf(directory: string): Promise<{ readonly root: string; readonly ignored: ReadonlySet<string> } | undefined> {
  const clone = await openClone(directory);
  if (clone === undefined) return undefined;
  try {
    return { root: clone.root, ignored: await clone.listIgnored(directory) };
  } finally {
    await clone.close();
  }
}

async function realDirectory(path: string): Promise<string> {
  const directory = await realpath(resolve(path)).catch(() => undefined);
  if (directory !== undefined && (await stat(directory)).isDirectory()) return directory;
  throw new Failure(`${path} is not a directory`, {
    why: directory === undefined ? 'There is nothing of that name.' : 'It is a file; name a directory.',
    fix: 'Give the directory with the manifests: midship validate ./clusters/home',
  });
}

/** Files named from the working directory, as editors and CI want them. */
function fromHere(result: Validation, root: string): Validation {
  const place = <T extends { readonly file: string }>(error: T): T =>
    error.file === '' ? error : { ...error, file: relative(process.cwd(), resolve(root, error.file)) || '.' };
  return { ...result, errors: result.errors.map(place), warnings: result.warnings.map(place), notes: result.notes.map(place) };
}

function textOf({ apps, errors, warnings, notes }: Validation): string {
  const line =
    (glyph: string) =>
    (error: Validation['errors'][number]): string => {
      const place = [error.file, error.line, error.column].filter((part) => part !== undefined && part !== '').join(':');
      return `${glyph} ${plain(`${place} ${error.message}`.trim())}\n${error.hint === undefined ? '' : `  ${plain(error.hint)}\n`}`;
    };
  const objects = apps.reduce((sum, app) => sum + app.objects, 0);
  const count = `${objects} ${objects === 1 ? 'object' : 'objects'} in ${apps.length} ${apps.length === 1 ? 'app' : 'apps'}`;
  const verdict =
    errors.length === 0
      ? `${pc.green('✓')} ${count} can be applied\n`
      : `${errors.length} ${errors.length === 1 ? 'error' : 'errors'} in ${count}\n`;
  return `${notes.map(line('○')).join('')}${warnings.map(line(pc.yellow('◆'))).join('')}${errors.map(line(pc.red('✗'))).join('')}${verdict}`;
}

import { stat } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import pc from 'picocolors';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { Client } from '../client/client.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { type Clone, openClone } from '../gitops/verbs/clone.ts';
import { createVerbContext, offlineContext } from '../gitops/verbs/context.ts';
import { type AppDiff, appOfPath, diffAgainstLive, diffRendered, type ObjectDiff, type Tree } from '../gitops/verbs/diff.ts';
import { openDirectorySource } from '../gitops/verbs/directory-source.ts';
import { type AppCommand, findApp, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { writeResult } from './output.ts';

export interface DiffOptions extends AppCommand {
  /** `[APP]`, `REV1 REV2` or `APP REV1 REV2`. */
  readonly names: readonly string[];
  /** Compare this commit of the clone and not its work tree. */
  readonly revision: string | undefined;
  /** Directory with the manifests, in place of the app's path; it makes two revisions comparable without a cluster. */
  readonly path: string | undefined;
  /** Directory of the clone. */
  readonly directory: string;
  readonly tools?: BuildTools | undefined;
  /** As the engine was started with. */
  readonly overrideManagers?: readonly string[] | undefined;
}

interface Question {
  readonly app: string | undefined;
  readonly revisions: readonly [before: string, after: string] | undefined;
}

function questionOf(names: readonly string[]): Question {
  const [first, second, third] = names;
  if (first !== undefined && second !== undefined && third !== undefined) return { app: first, revisions: [second, third] };
  if (first !== undefined && second !== undefined) return { app: undefined, revisions: [first, second] };
  return { app: first, revisions: undefined };
}

/**
 * Shows the changes of a work tree or a commit to the cluster, by a dry run on the server. Two commits are compared by what they make of
 * the apps. 0 when nothing differs, 1 when something does, 2 when there is no answer: a tree that cannot be applied has none.
 */
export async function showDiff(options: DiffOptions): Promise<ExitCode> {
  const question = questionOf(options.names);
  const { revisions, app } = question;
  const place = options.path ?? options.directory;
  if (!(await isDirectory(place))) {
    throw new Failure(`${place} is not a directory`, {
      why: 'There is nothing to compare with.',
      fix: 'Give the directory with the manifests, or of the clone.',
    });
  }
  const clone = await openClone(place);
  try {
    if (revisions !== undefined && options.path !== undefined && app === undefined) {
      // Nothing of a cluster is needed to build a directory.
      return tell(options, await renderedOfPath(needClone(clone, options), revisions, options));
    }
    return await withClient(options, async (client) => tell(options, await diffs({ client, clone }, question, options)));
  } finally {
    await clone?.close();
  }
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );

/** The cluster, and the clone in which the verb was run. */
interface Places {
  readonly client: Client;
  readonly clone: Clone | undefined;
}

async function diffs({ client, clone }: Places, { app, revisions }: Question, options: DiffOptions): Promise<readonly AppDiff[]> {
  const { builder, lookup, mapper, trees } = createVerbContext({ client, clock: systemClock, tools: options.tools });
  const { namespace } = options;
  const signal = new AbortController().signal;
  const apps = (
    app === undefined
      ? (await client.list(kustomizations, namespace === undefined ? {} : { namespace })).items
      : [await findApp(client, app, namespace)]
  ).filter(({ spec }) => spec.sourceRef.kind === 'GitRepository');
  if (revisions !== undefined) {
    const source = needClone(clone, options);
    const [before, after] = [await treeAt(source, revisions[0]), await treeAt(source, revisions[1])];
    return diffRendered({ builder, trees, apps: await withPath(apps, before, options), before, after, signal });
  }
  if (app !== undefined && apps.some(({ spec }) => spec.kubeConfig !== undefined)) {
    throw new Failure(`${app} is applied to another cluster`, {
      why: 'Its spec.kubeConfig names one, and its objects are there.',
      fix: 'Compare two commits (midship diff APP REV1 REV2), or apps of that cluster with --kubeconfig.',
    });
  }
  if (options.path !== undefined && app === undefined) {
    throw new Failure('--path needs the name of an app', {
      why: 'A directory is compared with one app.',
      fix: 'midship diff APP --path DIR',
    });
  }
  const tree =
    options.revision !== undefined
      ? await treeAt(needClone(clone, options), options.revision)
      : openDirectorySource(
          clone?.root ?? resolve(options.path ?? needClone(clone, options).root),
          await clone?.listIgnored(options.path ?? clone.root),
        );
  const root = clone?.root;
  const placed = apps.map((each) => (options.path === undefined ? each : atPath(each, root, options)));
  const shown = app === undefined ? await existing(placed, tree) : placed;
  return diffAgainstLive({
    client,
    lookup,
    mapper,
    builder,
    trees,
    apps: shown,
    tree,
    clock: systemClock,
    overrideManagers: options.overrideManagers,
    signal,
  });
}

/** An app as if its path were `--path`. */
function atPath(app: Kustomization, root: string | undefined, { path = '.' }: DiffOptions): Kustomization {
  return { ...app, spec: { ...app.spec, path: root === undefined ? '' : relative(root, resolve(path)) } };
}

const withPath = async (apps: readonly Kustomization[], tree: Tree, options: DiffOptions): Promise<readonly Kustomization[]> =>
  options.path === undefined ? existing(apps, tree) : apps.map((app) => atPath(app, tree.source.url, options));

/** Selects, of the apps of many repositories, those whose path this one has. */
async function existing(apps: readonly Kustomization[], tree: Tree): Promise<readonly Kustomization[]> {
  const found: Kustomization[] = [];
  for (const app of apps) if (await hasDirectory(tree, app.spec.path ?? '')) found.push(app);
  return found;
}

async function hasDirectory({ source, commit }: Tree, path: string): Promise<boolean> {
  let oid = commit.tree;
  for (const segment of path.split('/').filter((part) => part !== '' && part !== '.')) {
    const entry = (await source.readTree(oid)).find(({ name, type }) => name === segment && type === 'tree');
    if (entry === undefined) return false;
    oid = entry.oid;
  }
  return true;
}

async function renderedOfPath(clone: Clone, revisions: readonly [string, string], options: DiffOptions): Promise<readonly AppDiff[]> {
  const [before, after] = [await treeAt(clone, revisions[0]), await treeAt(clone, revisions[1])];
  const app = appOfPath(relative(clone.root, resolve(options.path ?? '.')));
  return diffRendered({ ...offlineContext(options.tools), apps: [app], before, after, signal: new AbortController().signal });
}

function needClone(clone: Clone | undefined, { directory }: DiffOptions): Clone {
  if (clone !== undefined) return clone;
  throw new Failure(`${directory} is not in a Git repository`, {
    why: 'The comparison reads a clone of the repository.',
    fix: 'Run it in a clone (midship git-url prints the address), or give --repo DIR.',
  });
}

async function treeAt(clone: Clone, revision: string): Promise<Tree> {
  const sha = await clone.find(revision);
  if (sha === undefined) {
    throw new Failure(`this clone has no commit ${revision}`, {
      why: `It was looked for in ${clone.root}.`,
      fix: 'Run "git fetch" first, or name another revision.',
    });
  }
  return { source: clone.source, commit: await clone.commit(sha) };
}

async function tell(options: DiffOptions, apps: readonly AppDiff[]): Promise<ExitCode> {
  const isDifferent = apps.some(({ objects }) => objects.length > 0);
  const isBroken = apps.some(({ errors }) => errors.length > 0);
  await writeResult(options, { different: isDifferent, apps }, () => textOf(apps));
  return isBroken ? 2 : isDifferent ? 1 : 0;
}

function textOf(apps: readonly AppDiff[]): string {
  if (apps.length === 0) return 'no app has its path here\n';
  const shown = apps.filter(({ objects, notes, errors }) => objects.length + notes.length + errors.length > 0);
  const isSame = shown.every(({ objects, errors }) => objects.length + errors.length === 0);
  return `${isSame ? 'no differences\n' : ''}${shown.map(appText).join('\n')}`;
}

function appText({ app, objects, notes, errors }: AppDiff): string {
  const failures = errors.map(({ file, line, column, message, hint }) => {
    const place = [file, line, column].filter((part) => part !== undefined && part !== '').join(':');
    return `${pc.red('✗')} ${plain(`${place} ${message}`.trim())}\n${hint === undefined ? '' : `  ${plain(hint)}\n`}`;
  });
  const lines = notes.map((note) => `${pc.dim('·')} ${plain(note)}\n`);
  return `${pc.bold(app)}\n${failures.join('')}${objects.map(objectText).join('')}${lines.join('')}`;
}

const signs: Readonly<Record<ObjectDiff['action'], string>> = {
  create: pc.green('+'),
  change: pc.yellow('~'),
  replace: pc.red('±'),
  prune: pc.red('-'),
};

function objectText({ action, object, file, diff }: ObjectDiff): string {
  const lines = diff
    .trimEnd()
    .split('\n')
    .map((line) => {
      const text = plain(line);
      return `    ${text.startsWith('+') ? pc.green(text) : text.startsWith('-') ? pc.red(text) : text.startsWith('@@') ? pc.cyan(text) : text}\n`;
    });
  return `${signs[action]} ${plain(object)}${file === '' ? '' : `   ${pc.dim(plain(file))}`}\n${lines.join('')}`;
}

import pc from 'picocolors';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { type Hold, holdAnnotations } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { systemClock, timestampOf } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import { shellWord } from '../base/shell-word.ts';
import type { Client } from '../client/client.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { refQueryOf } from '../gitops/sources/git-refs.ts';
import { type Clone, openClone } from '../gitops/verbs/clone.ts';
import { createVerbContext } from '../gitops/verbs/context.ts';
import { historyOf } from '../gitops/verbs/history.ts';
import {
  checkHasBoth,
  makeRevertCommit,
  PushRefused,
  planRevert,
  pushRevert,
  type RevertCommit,
  type RevertPlan,
  RevertRefused,
  revertCommit,
} from '../gitops/verbs/revert.ts';
import { type AppCommand, fieldManager, findApp, tryApp, whoAmI, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { shortSha, writeResult } from './output.ts';

export interface RevertOptions extends AppCommand {
  /** An app, or a commit of the clone. */
  readonly target: string;
  /** Go back to this revision of the app's history; its last good one when undefined. */
  readonly to: string | undefined;
  readonly push: boolean;
  /** Pin the app in the cluster and leave Git alone. */
  readonly hold: boolean;
  /** Directory of the clone. */
  readonly directory: string;
  readonly tools?: BuildTools | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The outcome of a revert. */
type Outcome =
  | { readonly action: 'committed'; readonly commit: RevertCommit; readonly pushed: boolean; readonly root: string }
  | { readonly action: 'pinned'; readonly app: string; readonly hold: Hold; readonly because: string };

/**
 * Takes an app back. In a clone it makes a revert commit, which is pushed only when asked for. Elsewhere it pins the app to the good commit
 * until another one changes the app. Never refused because the app follows its branch.
 */
export async function revert(options: RevertOptions): Promise<ExitCode> {
  const clone = options.hold ? undefined : await openClone(options.directory);
  try {
    return await withClient(options, async (client): Promise<ExitCode> => {
      const outcome = await decide({ client, clone }, options);
      await writeResult(options, outcome, textOf);
      return 0;
    });
  } catch (err) {
    if (!(err instanceof RevertRefused)) throw err;
    throw new Failure(plain(err.message), {
      why: err instanceof PushRefused ? 'The remote was left as it is.' : 'Git was left as it is.',
      fix: err.hint,
      exitCode: 1,
      cause: err,
    });
  } finally {
    await clone?.close();
  }
}

/** The cluster, and the clone in which the verb was run. */
interface Places {
  readonly client: Client;
  readonly clone: Clone | undefined;
}

async function decide({ client, clone }: Places, options: RevertOptions): Promise<Outcome> {
  const { target, namespace } = options;
  const app = await tryApp(client, target, namespace);
  if (app !== undefined) return decideApp({ client, clone }, app, options);
  // Says which apps there are.
  if (!isSha(target)) return decideApp({ client, clone }, await findApp(client, target, namespace), options);
  const sha = await clone?.find(target);
  if (sha === undefined || clone === undefined) {
    throw new Failure(`${target} is neither an app nor a commit of a clone here`, {
      why: clone === undefined ? `${options.directory} is in no clone.` : `The clone in ${clone.root} does not have it.`,
      fix: 'Run "git fetch", or give --repo DIR; for apps see: midship get apps',
    });
  }
  return finish(clone, await revertCommit({ clone, branch: undefined, sha }), { branch: undefined, push: options.push });
}

const isSha = (text: string): boolean => /^[0-9a-f]{7,64}$/.test(text);

/** The revision of `--to`: as the app shows it, the beginning of a SHA, or a name that the clone knows. */
async function revisionIn(clone: Clone | undefined, to: string): Promise<string> {
  const sha = to.slice(to.lastIndexOf(':') + 1).toLowerCase();
  return /^[0-9a-f]{4,64}$/.test(sha) ? sha : ((to === '' ? undefined : await clone?.find(to)) ?? to);
}

/** A commit that changed nothing of the app is none of its revisions. */
function otherRevisions([newest, ...earlier]: Awaited<ReturnType<typeof historyOf>>): string {
  const applied = earlier.filter(({ result, revision }) => result === 'applied' && revision !== newest?.revision);
  const shown = [...new Set(applied.map(({ revision }) => shortSha(revision)))].slice(0, 5);
  return shown.length === 0
    ? 'Its history has no other revision that was applied.'
    : `Only commits that changed it count, the newest being ${shown.join(', ')}.`;
}

async function decideApp({ client, clone }: Places, app: Kustomization, options: RevertOptions): Promise<Outcome> {
  const history = await historyOf(client, app);
  const to = options.to === undefined ? undefined : await revisionIn(clone, options.to);
  const plan = to === '' ? undefined : planRevert([...history].reverse(), to);
  const name = nameOfApp(app.metadata);
  if (plan === undefined) {
    throw new Failure(
      options.to === undefined ? `${name} has nothing to go back to` : `${JSON.stringify(options.to)} is no earlier revision of ${name}`,
      {
        why: history.length === 0 ? 'It has no history yet.' : otherRevisions(history),
        fix: `See: midship history ${name}`,
        exitCode: 1,
      },
    );
  }
  if (options.hold) return pin(client, app, { ...options, plan, because: '--hold' });
  if (clone === undefined) return pin(client, app, { ...options, plan, because: `${options.directory} is in no clone` });
  if (!(await hasBoth(clone, plan))) {
    return pin(client, app, { ...options, plan, because: `the clone in ${clone.root} is of another repository` });
  }
  const branch = await branchOf(client, app);
  const { builder, trees } = createVerbContext({ client, clock: systemClock, tools: options.tools });
  const commit = await makeRevertCommit({ clone, app, builder, trees, branch, plan, signal: new AbortController().signal });
  return finish(clone, commit, { branch, push: options.push });
}

/** False in a clone of another repository. @throws RevertRefused when it is a clone of the app's that lacks one of the commits */
async function hasBoth(clone: Clone, plan: RevertPlan): Promise<boolean> {
  const found = await Promise.all([clone.find(plan.good), clone.find(plan.bad)]);
  if (found.every((sha) => sha === undefined)) return false;
  await checkHasBoth(clone, plan);
  return true;
}

async function finish(
  clone: Clone,
  commit: RevertCommit,
  { branch, push }: { readonly branch: string | undefined; readonly push: boolean },
): Promise<Outcome> {
  if (push) await pushRevert(clone, branch);
  return { action: 'committed', commit, pushed: push, root: clone.root };
}

async function pin(
  client: Client,
  app: Kustomization,
  {
    plan: { bad, good },
    now,
    push,
    because,
  }: Pick<RevertOptions, 'now' | 'push'> & { readonly plan: RevertPlan; readonly because: string },
): Promise<Outcome> {
  if (push) {
    throw new Failure('there is no clone to push from', {
      why: 'A revert commit is made in a clone of the repository that has both commits.',
      fix: 'Run it in an up-to-date clone, give --repo DIR, or leave --push out to pin the app in the cluster.',
    });
  }
  const hold: Hold = { held: bad, pinned: good, by: await whoAmI(client), at: timestampOf(now) };
  await client.patch(
    kustomizations,
    app.metadata,
    { type: 'merge', body: { metadata: { annotations: holdAnnotations(hold) } } },
    { fieldManager },
  );
  return { action: 'pinned', app: nameOfApp(app.metadata), hold, because };
}

/** The branch that the app follows; undefined when it follows something else. */
async function branchOf(client: Client, { spec, metadata }: Kustomization): Promise<string | undefined> {
  const ref = { namespace: spec.sourceRef.namespace ?? metadata.namespace, name: spec.sourceRef.name };
  const query = refQueryOf((await client.get(gitRepositories, ref)).spec.ref ?? {});
  return query.type === 'ref' ? /^refs\/heads\/(.+)$/.exec(query.name)?.[1] : undefined;
}

function textOf(outcome: Outcome): string {
  if (outcome.action === 'pinned') {
    const { app, hold, because } = outcome;
    return `${pc.green('✓')} ${app} is pinned to ${hold.pinned.slice(0, 7)}; ${hold.held.slice(0, 7)} is held back.\n  Git is as it was: ${plain(because)}.\n  It follows Git again with the next commit that changes it, or with: midship resume ${app}\n`;
  }
  const { commit, pushed, root } = outcome;
  const lines = [
    `${pc.green('✓')} ${commit.sha.slice(0, 7)}  ${plain(commit.subject)}`,
    `  takes back ${commit.reverted.map((sha) => sha.slice(0, 7)).join(', ')}`,
    ...(commit.isExact
      ? []
      : [`  ${pc.yellow('◆')} the app is not exactly what it was: later commits changed it too. See: midship diff HEAD~1 HEAD`]),
    pushed ? '  pushed' : `  push it:  git -C ${shellWord(root)} push`,
  ];
  return `${lines.join('\n')}\n`;
}

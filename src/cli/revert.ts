import pc from 'picocolors';
import { type Hold, holdAnnotations } from '../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { systemClock, timestampOf } from '../base/clock.ts';
import type { Client } from '../client/client.ts';
import { type Clone, openClone } from '../gitops/verbs/clone.ts';
import { createVerbContext } from '../gitops/verbs/context.ts';
import { historyOf } from '../gitops/verbs/history.ts';
import {
  makeRevertCommit,
  planRevert,
  pushRevert,
  type RevertCommit,
  type RevertPlan,
  RevertRefused,
  revertCommit,
} from '../gitops/verbs/revert.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { type AppCommand, fieldManager, findApp, refOfApp, whoAmI, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { writeResult } from './output.ts';
import { plain } from './terminal.ts';

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
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** What was done. */
type Outcome =
  | { readonly action: 'committed'; readonly commit: RevertCommit; readonly pushed: boolean; readonly root: string }
  | { readonly action: 'pinned'; readonly app: string; readonly hold: Hold };

/**
 * Takes an app back: in a clone by a revert commit, which is pushed only when asked for; elsewhere by pinning the app to the good commit
 * until another one comes that changes it. Never refused because the app follows its branch.
 */
export async function revert(options: RevertOptions): Promise<ExitCode> {
  const clone = options.hold ? undefined : await openClone(options.directory);
  try {
    return await withClient(options, async (client): Promise<ExitCode> => {
      const outcome = await decide(client, clone, options);
      writeResult(options, outcome, textOf);
      return 0;
    });
  } catch (err) {
    if (!(err instanceof RevertRefused)) throw err;
    throw new Failure(plain(err.message), { why: 'Git was left as it is.', fix: err.hint, exitCode: 1, cause: err });
  } finally {
    await clone?.close();
  }
}

async function decide(client: Client, clone: Clone | undefined, options: RevertOptions): Promise<Outcome> {
  const { target } = options;
  const app = await tryApp(client, target);
  if (app === undefined) {
    const sha = /^[0-9a-f]{7,40}$/.test(target) ? await clone?.find(target) : undefined;
    // Says which apps there are.
    if (sha === undefined || clone === undefined) return decideApp(client, clone, await findApp(client, target), options);
    return finish(clone, await revertCommit({ clone, branch: undefined, sha }), undefined, options);
  }
  return decideApp(client, clone, app, options);
}

async function decideApp(client: Client, clone: Clone | undefined, app: Kustomization, options: RevertOptions): Promise<Outcome> {
  const history = await historyOf(client, app);
  const plan = planRevert([...history].reverse(), options.to);
  if (plan === undefined) {
    throw new Failure(
      options.to === undefined
        ? `${app.metadata.name} has nothing to go back to`
        : `${options.to} is no earlier revision of ${app.metadata.name}`,
      {
        why: history.length === 0 ? 'It has no history yet.' : 'Its history has no other revision that was applied.',
        fix: `See: midship history ${app.metadata.name}`,
        exitCode: 1,
      },
    );
  }
  const hasBoth = clone !== undefined && (await clone.find(plan.bad)) !== undefined && (await clone.find(plan.good)) !== undefined;
  if (clone === undefined || !hasBoth) return pin(client, app, plan, options);
  const branch = await branchOf(client, app);
  const { builder, trees } = createVerbContext(client, systemClock);
  const commit = await makeRevertCommit({ clone, app, builder, trees, branch, plan, signal: new AbortController().signal });
  return finish(clone, commit, branch, options);
}

async function finish(clone: Clone, commit: RevertCommit, branch: string | undefined, { push }: RevertOptions): Promise<Outcome> {
  if (push) await pushRevert(clone, branch);
  return { action: 'committed', commit, pushed: push, root: clone.root };
}

async function pin(client: Client, app: Kustomization, { bad, good }: RevertPlan, { now, push }: RevertOptions): Promise<Outcome> {
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
  return { action: 'pinned', app: app.metadata.name, hold };
}

async function tryApp(client: Client, name: string): Promise<Kustomization | undefined> {
  try {
    return await client.get(kustomizations, refOfApp(name));
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}

/** The branch that the app follows; undefined when it follows something else. */
async function branchOf(client: Client, { spec, metadata }: Kustomization): Promise<string | undefined> {
  const ref = { namespace: spec.sourceRef.namespace ?? metadata.namespace, name: spec.sourceRef.name };
  return (await client.get(gitRepositories, ref)).spec.ref?.branch;
}

function textOf(outcome: Outcome): string {
  if (outcome.action === 'pinned') {
    const { app, hold } = outcome;
    return `${pc.green('✓')} ${app} is pinned to ${hold.pinned.slice(0, 7)}; ${hold.held.slice(0, 7)} is held back\n  It follows Git again with the next commit that changes it, or with: midship resume ${app}\n`;
  }
  const { commit, pushed, root } = outcome;
  const lines = [
    `${pc.green('✓')} ${commit.sha.slice(0, 7)}  ${plain(commit.subject)}`,
    `  takes back ${commit.reverted.map((sha) => sha.slice(0, 7)).join(', ')}`,
    ...(commit.isExact
      ? []
      : [`  ${pc.yellow('◆')} the app is not exactly what it was: later commits changed it too. See: midship diff HEAD~1 HEAD`]),
    pushed ? '  pushed' : `  push it:  git -C ${root} push`,
  ];
  return `${lines.join('\n')}\n`;
}

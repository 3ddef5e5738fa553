import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { redactUrl } from '../../base/redact-url.ts';
import { keyOf } from '../../machinery/object.ts';
import type { AppBuilder } from '../apply/plan/post-build.ts';
import type { HistoryEntry } from '../apply/records/history.ts';
import type { Clone } from './clone.ts';
import type { AppTrees } from './diff.ts';

/** The revert of an app's last change. */
export interface RevertPlan {
  /** The commit that is taken back, and the one whose state comes back. */
  readonly bad: string;
  readonly good: string;
}

/** Empty for anything but a commit. The result goes to git, and a forged history must not give git options. */
const shaOf = (revision: string): string => /:([0-9a-f]{40}|[0-9a-f]{64})$/.exec(revision)?.[1] ?? '';

/**
 * Plans the way from the newest entry of a history, applied or not, back to `to`. Without a name that is the newest entry
 * before it that was applied with other objects. Undefined when there is nothing to go back to.
 */
export function planRevert(history: readonly HistoryEntry[], to: string | undefined): RevertPlan | undefined {
  const newest = history.at(-1);
  if (newest === undefined) return undefined;
  const bad = shaOf(newest.revision);
  if (bad === '') return undefined;
  const isGood = ({ result, digest, revision }: HistoryEntry): boolean =>
    result === 'applied' && (to === undefined ? digest !== newest.digest : shaOf(revision).startsWith(to));
  const found = history.findLast((entry) => isGood(entry) && shaOf(entry.revision) !== bad && shaOf(entry.revision) !== '');
  return found === undefined ? undefined : { bad, good: shaOf(found.revision) };
}

/** Reason why a clone cannot make the commit; a person has to change something first. */
export class RevertRefused extends Error {
  override readonly name = 'RevertRefused';
  readonly hint: string;
  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}

/** The commit is made, and the remote did not take it. */
export class PushRefused extends RevertRefused {}

export interface RevertOptions {
  readonly clone: Clone;
  readonly app: Kustomization;
  readonly builder: AppBuilder;
  readonly trees: AppTrees;
  /** The branch that the app follows; undefined when it follows no branch. */
  readonly branch: string | undefined;
  readonly plan: RevertPlan;
  readonly signal: AbortSignal;
}

export interface RevertCommit {
  readonly sha: string;
  readonly subject: string;
  /** Newest first. */
  readonly reverted: readonly string[];
  /** The app is now made of exactly what it was made of at the good commit. */
  readonly isExact: boolean;
}

/** Commits between good and bad that are looked at. */
const maxCommits = 500;

/** Makes one commit that takes back what changed the app since the good commit. Nothing is pushed. */
export async function makeRevertCommit({ clone, app, builder, trees, branch, plan, signal }: RevertOptions): Promise<RevertCommit> {
  await checkWorkTree(clone, branch);
  const { good, bad } = plan;
  await checkIsInBranch(clone, bad);
  if (!(await isAncestor(clone, good, 'HEAD'))) {
    throw new RevertRefused(`commit ${good.slice(0, 7)} is no longer in this branch, which was rewritten`, hintOfRewritten);
  }
  const digests = new Map<string, string>();
  const digestAt = async (sha: string): Promise<string> => {
    const known = digests.get(sha);
    if (known !== undefined) return known;
    const tree = { source: clone.source, commit: await clone.commit(sha) };
    const { digest, errors } = await builder.build(app, await trees.of(app, tree), signal);
    const made = errors.length === 0 ? digest : `failed: ${errors.map(({ file, message }) => `${file} ${message}`).join('\n')}`;
    digests.set(sha, made);
    return made;
  };
  if ((await digestAt(await clone.git('rev-parse', 'HEAD'))) === (await digestAt((await clone.find(good)) ?? good))) {
    throw new RevertRefused(`the app is what it was at ${good.slice(0, 7)}`, 'There is nothing to take back.');
  }
  const range = await commitsBetween(clone, good);
  const reverted: string[] = [];
  for (const { sha, parent } of range) {
    signal.throwIfAborted();
    if ((await digestAt(sha)) !== (parent === undefined ? '' : await digestAt(parent))) reverted.push(sha);
  }
  if (reverted.length === 0) {
    throw new RevertRefused('no commit of this branch changed the app', 'Its spec or its variables did: change them back.');
  }
  for (const sha of reverted) await revertOne(clone, sha);
  return commit({ clone, app, reverted, good, digestAt });
}

/** Takes back one commit whatever it changed, as `git revert` does. */
export async function revertCommit(options: {
  readonly clone: Clone;
  readonly branch: string | undefined;
  readonly sha: string;
}): Promise<RevertCommit> {
  const { clone, branch, sha } = options;
  await checkWorkTree(clone, branch);
  await checkIsInBranch(clone, sha);
  await revertOne(clone, sha);
  return commit({ clone, app: undefined, reverted: [sha], good: `${sha}^`, digestAt: undefined });
}

/** For a commit that a forced push took out of the branch. */
const hintOfRewritten = 'Name a commit of the branch with --to, or pin the app in the cluster with --hold.';

/** @throws RevertRefused when the clone lacks one of the commits */
export async function checkHasBoth(clone: Clone, { good, bad }: RevertPlan): Promise<void> {
  if ((await clone.find(bad)) === undefined) {
    const hint = 'Run "git pull" first, or pin the app in the cluster with --hold.';
    throw new RevertRefused(`this clone does not have commit ${bad.slice(0, 7)}`, hint);
  }
  if ((await clone.find(good)) !== undefined) return;
  if ((await clone.git('rev-parse', '--is-shallow-repository')) === 'true') {
    const hint = 'Run "git fetch --unshallow" first, or pin the app in the cluster with --hold.';
    throw new RevertRefused(`this clone does not have commit ${good.slice(0, 7)}`, hint);
  }
  throw new RevertRefused(`this clone does not have commit ${good.slice(0, 7)}: the branch was rewritten after it`, hintOfRewritten);
}

async function checkIsInBranch(clone: Clone, sha: string): Promise<void> {
  if (await isAncestor(clone, sha, 'HEAD')) return;
  if (await isAncestor(clone, 'HEAD', sha)) {
    throw new RevertRefused(`commit ${sha.slice(0, 7)} is not in this branch`, 'Run "git pull" first.');
  }
  throw new RevertRefused(
    `commit ${sha.slice(0, 7)} is not in this branch, and does not follow from it`,
    'One of the two was rewritten or is another branch: run "git pull --rebase" first.',
  );
}

async function checkWorkTree(clone: Clone, branch: string | undefined): Promise<void> {
  if ((await clone.git('status', '--porcelain', '--untracked-files=no')) !== '') {
    throw new RevertRefused('the work tree has changes that are not committed', 'Commit them or put them aside with "git stash" first.');
  }
  const current = await clone.git('symbolic-ref', '--quiet', '--short', 'HEAD').catch(() => '');
  if (branch !== undefined && current !== branch) {
    throw new RevertRefused(
      `this clone is on ${current === '' ? 'no branch' : `branch ${current}`}, and the app follows ${branch}`,
      `Run "git switch ${branch}" first.`,
    );
  }
}

const isAncestor = (clone: Clone, sha: string, of: string): Promise<boolean> =>
  clone.git('merge-base', '--is-ancestor', sha, of).then(
    () => true,
    () => false,
  );

/** Newest first, merges as one commit each. */
async function commitsBetween(
  clone: Clone,
  good: string,
): Promise<readonly { readonly sha: string; readonly parent: string | undefined }[]> {
  const text = await clone.git('rev-list', '--first-parent', '--parents', `--max-count=${maxCommits + 1}`, `${good}..HEAD`);
  const lines = text === '' ? [] : text.split('\n');
  if (lines.length > maxCommits) {
    throw new RevertRefused(`more than ${maxCommits} commits came after ${good.slice(0, 7)}`, 'Name a newer commit with --to.');
  }
  return lines.map((line) => {
    const [sha = '', parent] = line.split(' ');
    return { sha, parent };
  });
}

async function revertOne(clone: Clone, sha: string): Promise<void> {
  const isMerge = (await clone.git('rev-list', '--parents', '--max-count=1', sha)).split(' ').length > 2;
  try {
    await clone.git('revert', '--no-commit', ...(isMerge ? ['--mainline', '1'] : []), sha);
  } catch (cause) {
    const isConflict = (await clone.git('ls-files', '--unmerged')) !== '';
    await clone.git('revert', '--abort').catch(() => clone.git('reset', '--merge').catch(() => undefined));
    if (!isConflict)
      throw new RevertRefused(firstLine(cause), 'Git refused the revert: fix the problem that it names, and try again.', cause);
    throw new RevertRefused(
      `commit ${sha.slice(0, 7)} cannot be taken back by itself: later commits changed the same lines`,
      'Go back further with --to, or resolve it by hand: git revert, then git push.',
      cause,
    );
  }
}

interface CommitOptions {
  readonly clone: Clone;
  readonly app: Kustomization | undefined;
  readonly reverted: readonly string[];
  readonly good: string;
  readonly digestAt: ((sha: string) => Promise<string>) | undefined;
}

async function commit({ clone, app, reverted, good, digestAt }: CommitOptions): Promise<RevertCommit> {
  const staged = await clone.git('diff', '--cached', '--name-only');
  if (staged === '') {
    await clone.git('revert', '--quit').catch(() => undefined);
    throw new RevertRefused('taking it back changes nothing', 'It was taken back before.');
  }
  const goodSha = (await clone.find(good)) ?? good;
  const [only, ...more] = reverted;
  const subject =
    only !== undefined && more.length === 0
      ? `Revert "${await clone.git('show', '--no-patch', '--no-show-signature', '--format=%s', only)}"`
      : `Revert ${app?.metadata.name} to ${goodSha.slice(0, 7)}`;
  const trailers = [...(app === undefined ? [] : [`Midship-App: ${keyOf(app)}`]), `Midship-Back-To: ${goodSha}`];
  const message = `${subject}\n\n${reverted.map((sha) => `This reverts commit ${sha}.`).join('\n')}\n\n${trailers.join('\n')}\n`;
  try {
    await clone.git('commit', '--quiet', '--cleanup=verbatim', '--message', message);
  } catch (cause) {
    await clone.git('reset', '--merge');
    throw new RevertRefused(
      firstLine(cause),
      'Git refused the commit: fix the problem that it names (a name and address, a hook), and try again.',
      cause,
    );
  }
  const sha = await clone.git('rev-parse', 'HEAD');
  const isExact = digestAt === undefined || (await digestAt(sha)) === (await digestAt(goodSha));
  return { sha, subject, reverted, isExact };
}

const firstLine = (err: unknown): string => (err instanceof Error ? (err.message.split('\n')[0] ?? '') : String(err));

/** Pushes the branch that is checked out, and nothing else, to where it comes from, whatever the user's push.default says. */
export async function pushRevert(clone: Clone, branch: string | undefined): Promise<void> {
  try {
    const current = await clone.git('symbolic-ref', '--quiet', 'HEAD').catch(() => '');
    const format = '--format=%(upstream:remotename) %(upstream:remoteref)';
    const [remote = '', ref = ''] = current === '' ? [] : (await clone.git('for-each-ref', format, current)).split(' ');
    if (remote !== '' && ref !== '') await clone.git('push', '--quiet', remote, `HEAD:${ref}`);
    else await clone.git('push', '--quiet', ...(branch === undefined ? [] : ['origin', `HEAD:refs/heads/${branch}`]));
  } catch (err) {
    const text = err instanceof Error ? err.message : String(err);
    // Git repeats the address, which may carry a token.
    const safe = text.replace(/\b[a-z][a-z0-9+.-]*:\/\/[^\s'"]+/gi, (url) => redactUrl(url));
    const isBehind = /\[rejected\]|non-fast-forward|fetch first/.test(safe);
    throw new PushRefused(
      isBehind ? 'the remote has commits that this clone does not have' : `git push: ${pushProblem(safe)}`,
      isBehind
        ? 'The revert commit is in your clone: put it on top of them with "git pull --rebase", then "git push".'
        : 'The revert commit is in your clone: push it when the remote takes it.',
      undefined,
    );
  }
}

/** The line that says why: what a hook of the remote says comes before git's own word, and the address before both. */
function pushProblem(text: string): string {
  const lines = text.split('\n').map((line) => line.replace(/^git push: /, '').trim());
  const said = lines.find((line) => /^remote: \S/.test(line) && !/^remote: (error: )?hook declined/.test(line));
  return said ?? lines.find((line) => /^(fatal|error): |^! /.test(line)) ?? lines[0] ?? '';
}

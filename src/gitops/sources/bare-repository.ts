import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { makeDurableDirectory, syncDirectory } from '../../base/durable-file.ts';
import { syncAll, syncNames } from './durable-names.ts';
import { durableSettings, gitConfig, isolatedEnvironment, runGit } from './git-command.ts';

// The repository belongs to the program: it ignores hooks, filters, ignore files and object format of the user who
// started it.
const own = (options: { readonly args: readonly string[]; readonly env?: Readonly<Record<string, string>>; readonly cwd?: string }) =>
  runGit({ ...options, env: { ...isolatedEnvironment, ...gitConfig(durableSettings), ...options.env }, isolated: true });

/**
 * Makes the bare repository of the built-in remote unless it is there; its branch is `main`. In a damaged one it makes again
 * what says nothing, and sets aside what cannot be read; it touches no object.
 *
 * @returns what was put right, a sentence each
 */
export async function ensureBareRepository(gitdir: string): Promise<readonly string[]> {
  if (existsSync(gitdir)) return repair(gitdir);
  await makeDurableDirectory(dirname(gitdir));
  // Made beside its place and moved there whole: a power cut leaves the repository or nothing.
  const temporary = `${gitdir}.new`;
  await rm(temporary, { recursive: true, force: true });
  await init(temporary);
  await rename(temporary, gitdir);
  await syncDirectory(dirname(gitdir));
  return [];
}

async function init(gitdir: string): Promise<void> {
  await own({ args: ['init', '--quiet', '--bare', '--template=', '--initial-branch=main', gitdir] });
  await syncAll(gitdir);
}

/** Findings about a repository that lost everything: as many as a person reads. */
const maxFindings = 50;
const maxFindingBytes = 16 * 1024 * 1024;

/** Targets of HEAD and every other ref: another ref, or a commit. */
const refPattern = /^(ref: refs\/\S+|[0-9a-f]{40})\s*$/;

async function repair(gitdir: string): Promise<readonly string[]> {
  const done: string[] = [];
  const broken = await brokenParts(gitdir);
  for (const name of broken) {
    await setAside(gitdir, join(gitdir, name));
    done.push(`${join(gitdir, name)} was missing or could not be read, and was made again.`);
  }
  if (broken.length > 0) await init(gitdir);
  // No git of this program runs before it has started; a lock is what a power cut left, and would refuse every push.
  for (const name of await readdir(gitdir)) if (name.endsWith('.lock')) await rm(join(gitdir, name), { force: true });
  for (const path of await filesBelow(join(gitdir, 'refs'))) {
    if (path.endsWith('.lock')) await rm(path, { force: true });
    else if (!refPattern.test((await tryRead(path)) ?? '')) {
      await setAside(gitdir, path);
      done.push(`${path} named no commit and was set aside; push the branch again.`);
    }
  }
  return done;
}

/** Asks git what is wrong in a repository: the first findings, a line each; empty when nothing is. */
export async function checkRepository(gitdir: string): Promise<readonly string[]> {
  const broken = await brokenParts(gitdir);
  if (broken.length > 0) return broken.map((name) => `${join(gitdir, name)} is missing or cannot be read`);
  const args = ['--git-dir', gitdir, 'fsck', '--full', '--no-dangling', '--no-progress'];
  const env = { ...isolatedEnvironment, ...gitConfig({ 'safe.directory': '*' }) };
  const found = await promisify(execFile)('git', args, { env, maxBuffer: maxFindingBytes }).then(
    ({ stdout, stderr }) => ({ text: `${stderr}${stdout}`, code: 0 }),
    (err: { readonly stdout?: string; readonly stderr?: string; readonly message: string }) => ({
      text: err.stdout === undefined ? err.message : `${err.stderr}${err.stdout}`,
      code: 1,
    }),
  );
  const lines = found.text.split('\n').filter((line) => line !== '' && !line.startsWith('notice:'));
  if (lines.length === 0 && found.code !== 0) return ['git fsck failed without a message'];
  return lines.length <= maxFindings
    ? lines
    : [...lines.slice(0, maxFindings), `… and ${lines.length - maxFindings} more lines of git fsck`];
}

/** Parts without which git does not take a directory for a bare repository. */
export async function brokenParts(gitdir: string): Promise<readonly string[]> {
  const parts = {
    HEAD: refPattern.test((await tryRead(join(gitdir, 'HEAD'))) ?? ''),
    config: await isBareConfig(gitdir),
    objects: await isDirectory(join(gitdir, 'objects')),
    refs: await isDirectory(join(gitdir, 'refs')),
  };
  return Object.entries(parts).flatMap(([name, isWhole]) => (isWhole ? [] : [name]));
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

async function isBareConfig(gitdir: string): Promise<boolean> {
  return own({ args: ['config', '--file', join(gitdir, 'config'), '--type=bool', 'core.bare'] }).then(
    (value) => value === 'true',
    () => false,
  );
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

const tryRead = (path: string): Promise<string | undefined> =>
  readFile(path, 'latin1').then(
    (text) => text.slice(0, 4_096),
    () => undefined,
  );

/** Keeps a file or directory that is not empty, below `broken/`, for somebody who knows better. */
async function setAside(gitdir: string, path: string): Promise<void> {
  const content = await tryRead(path);
  if (content === undefined || /^[\0\s]*$/.test(content)) {
    await rm(path, { recursive: true, force: true });
    return;
  }
  const aside = join(gitdir, 'broken', relative(gitdir, path));
  await mkdir(dirname(aside), { recursive: true });
  await rm(aside, { recursive: true, force: true });
  await rename(path, aside);
}

/** True when there is no branch or tag yet. A repository that cannot be read is not empty. */
export async function isEmptyRepository(gitdir: string): Promise<boolean> {
  return own({ args: ['--git-dir', gitdir, 'for-each-ref', '--count=1'] }).then(
    (refs) => refs === '',
    () => false,
  );
}

/** Branches and tags with their ids, by full name. @throws Error for more than git may print (8 MiB) */
export async function readRefs(gitdir: string): Promise<ReadonlyMap<string, string>> {
  const lines = await own({ args: ['--git-dir', gitdir, 'for-each-ref', '--format=%(objectname) %(refname)', 'refs/heads', 'refs/tags'] });
  const refs = lines.split('\n').filter((line) => line !== '');
  return new Map(refs.map((line) => [line.slice(line.indexOf(' ') + 1), line.slice(0, line.indexOf(' '))]));
}

/** Author of the first commit of a repository with the examples. */
export const seedIdentity = { name: 'Midship', email: 'demo@midship.dev' } as const;

/** Commits the content of `directory` as the first commit of `main`. */
export async function seedRepository({ gitdir, directory }: { readonly gitdir: string; readonly directory: string }): Promise<void> {
  const startedAt = Date.now();
  const index = join(gitdir, 'seed.index');
  const identity = seedIdentity;
  const env = {
    GIT_DIR: gitdir,
    GIT_WORK_TREE: directory,
    GIT_INDEX_FILE: index,
    GIT_AUTHOR_NAME: identity.name,
    GIT_AUTHOR_EMAIL: identity.email,
    GIT_COMMITTER_NAME: identity.name,
    GIT_COMMITTER_EMAIL: identity.email,
  };
  // A crash during the seed may have left it; git takes a half written index for a damaged one.
  await rm(index, { force: true });
  await rm(`${index}.lock`, { force: true });
  try {
    await own({ args: ['add', '--all', '.'], env, cwd: directory });
    const tree = await own({ args: ['write-tree'], env });
    const commit = await own({ args: ['commit-tree', tree, '-m', 'The demo cluster'], env });
    // The old value makes this a create: a push that came in between is not overwritten.
    await own({ args: ['update-ref', 'refs/heads/main', commit, '0000000000000000000000000000000000000000'], env });
    await syncNames(gitdir, startedAt);
  } finally {
    await rm(index, { force: true });
  }
}

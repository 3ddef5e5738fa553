import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeDurableFile } from '../base/durable-file.ts';
import { seedIdentity } from '../gitops/sources/bare-repository.ts';
import { isolatedEnvironment, runGit } from '../gitops/sources/git-command.ts';
import { filesOf } from './configuration.ts';
import { Failure } from './failure.ts';
import { ageText } from './output.ts';

/** The newest backup of a data directory, as `last-backup.json` describes it. */
interface LastBackup {
  readonly file: string;
  /** RFC 3339 */
  readonly at: string;
}

export const noteBackup = (dataDirectory: string, backup: LastBackup): Promise<void> =>
  writeDurableFile(filesOf(dataDirectory).lastBackup, `${JSON.stringify(backup)}\n`);

export interface PurgeQuestion {
  readonly dataDirectory: string;
  /** Asks a person; undefined where none can be asked. */
  readonly ask: ((question: string) => Promise<boolean>) | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Asks before commits are deleted that may be nowhere else: pushes went to the built-in remote.
 *
 * @returns false when the person says no
 * @throws Failure where nobody can be asked
 */
export async function agreesToPurge({ dataDirectory, ask, now }: PurgeQuestion): Promise<boolean> {
  const commits = await commitsIn(filesOf(dataDirectory).repository, now);
  if (commits === undefined) return true;
  const about = `${commits} ${await backupText(dataDirectory, now)}`;
  const what = `${dataDirectory} has a Git repository that may be nowhere else`;
  if (ask !== undefined) return ask(`${what}.\n${about}\nDelete it?`);
  throw new Failure(what, {
    why: about,
    fix: 'Keep it first with "midship backup FILE", or delete it with "midship down --purge --yes".',
  });
}

/** A sentence about the commits that pushes brought; undefined when there are none. */
async function commitsIn(gitdir: string, now: number): Promise<string | undefined> {
  if (!existsSync(gitdir)) return undefined;
  const git = (...args: string[]): Promise<string> =>
    runGit({ args: ['--git-dir', gitdir, ...args], env: isolatedEnvironment, isolated: true });
  try {
    const format = '%(objectname:short)\t%(committerdate:unix)\t%(committeremail:trim)\t%(refname:short)';
    const newest = await git('for-each-ref', '--sort=-committerdate', '--count=1', `--format=${format}`);
    if (newest === '') return undefined;
    const [sha = '', seconds = '', email = '', branch = ''] = newest.split('\t');
    const count = Number(await git('rev-list', '--all', '--count'));
    // The examples are in the program, too.
    if (count === 1 && email === seedIdentity.email) return undefined;
    const age = ageText(new Date(Number(seconds) * 1_000).toISOString(), now);
    return `It has ${count === 1 ? '1 commit' : `${count} commits`}, the newest ${sha} on ${branch}, ${age} ago.`;
  } catch {
    // Damage is a reason to look at it before it is deleted.
    return 'It cannot be read.';
  }
}

async function backupText(dataDirectory: string, now: number): Promise<string> {
  const text = await readFile(filesOf(dataDirectory).lastBackup, 'utf8').catch(() => undefined);
  if (text === undefined) return 'There is no backup.';
  try {
    const { file, at } = JSON.parse(text) as LastBackup;
    return `The last backup is ${file}, ${ageText(at, now)} old${existsSync(file) ? '' : ', and not there any more'}.`;
  } catch {
    return 'There is no note of a backup.';
  }
}

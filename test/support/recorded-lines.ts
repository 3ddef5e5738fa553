import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** The sets of `test/recordings`; its README says how each was made. */
export type RecordedSet = 'api' | 'kubectl' | 'helm' | 'client-node' | 'components' | 'second';

const sets = new Map<RecordedSet, Readonly<Record<string, readonly string[]>>>();

/** The files of a set, in the order of their names: each a list of JSON texts, one a line of the recording. */
export function recordedFiles(set: RecordedSet): Readonly<Record<string, readonly string[]>> {
  const known = sets.get(set);
  if (known !== undefined) return known;
  const packed = readFileSync(new URL(`../recordings/${set}.json.gz`, import.meta.url));
  const files = JSON.parse(gunzipSync(packed).toString('utf8')) as Readonly<Record<string, readonly string[]>>;
  sets.set(set, files);
  return files;
}

/** The lines of one recorded file. */
export function recordedLines(set: RecordedSet, file: string): readonly string[] {
  const lines = recordedFiles(set)[file];
  if (lines === undefined) throw new Error(`${set} has no recording ${file}`);
  return lines;
}

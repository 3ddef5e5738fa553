import type { TreeEntry } from './git-source.ts';

/** A parsed commit object. */
export interface CommitObject {
  readonly tree: string;
  readonly parents: readonly string[];
  readonly author: string;
  readonly email: string;
  readonly message: string;
  /** Milliseconds since the epoch, committer's clock. */
  readonly committedAt: number;
}

const identity = /^(.*?) ?<([^>]*)> (-?\d+) [+-]\d+$/;

/** Reads the content of a commit object. @throws Error when it is not one */
export function parseCommit(content: Uint8Array): CommitObject {
  const text = commitText(Buffer.from(content.buffer, content.byteOffset, content.byteLength));
  const end = text.indexOf('\n\n');
  const parents: string[] = [];
  let tree = '';
  let author: readonly string[] = [];
  let committer: readonly string[] = [];
  for (const line of (end === -1 ? text : text.slice(0, end)).split('\n')) {
    // A line that begins with a space goes on with the header before it: a signature.
    const space = line.indexOf(' ');
    const value = line.slice(space + 1);
    switch (line.slice(0, space)) {
      case 'tree':
        tree = value;
        break;
      case 'parent':
        parents.push(value);
        break;
      case 'author':
        author = identity.exec(value) ?? [];
        break;
      case 'committer':
        committer = identity.exec(value) ?? [];
        break;
    }
  }
  if (!/^[0-9a-f]{40}$/.test(tree)) throw new Error('it names no tree');
  return {
    tree,
    parents,
    author: author[1] ?? '',
    email: author[2] ?? '',
    message: end === -1 ? '' : text.slice(end + 2),
    committedAt: Number(committer[3] ?? 0) * 1_000,
  };
}

/** In the encoding that a header names (`i18n.commitEncoding`), or in UTF-8. */
function commitText(bytes: Buffer): string {
  const end = bytes.indexOf('\n\n');
  const at = bytes.indexOf('\nencoding ');
  if (at === -1 || (end !== -1 && at > end)) return bytes.toString('utf8');
  const [, label = ''] = /^\nencoding ([\w.:-]+)\n/.exec(bytes.toString('latin1', at, at + 64)) ?? [];
  const utf8 = bytes.toString('utf8');
  try {
    const text = new TextDecoder(label).decode(bytes);
    // Git writes the headers in ASCII whatever the header says, and UTF-16 would garble them.
    return text.slice(0, 'tree '.length) === utf8.slice(0, 'tree '.length) ? text : utf8;
  } catch {
    // The decoder lacks that encoding: names and message are shown as well as they can be.
    return utf8;
  }
}

/** The object a tag points to. */
export function parseTag(content: Uint8Array): string {
  const [, oid] = /^object ([0-9a-f]{40})\n/.exec(Buffer.from(content).toString('latin1', 0, 64)) ?? [];
  if (oid === undefined) throw new Error('it names no object');
  return oid;
}

/** A name that is not UTF-8, written so that a person recognizes it: `caf\xe9.yaml`. */
const escapeName = (name: Buffer): string =>
  [...name].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`)).join('');

/**
 * Reads the content of a tree object, in Git's order. An entry has a `problem` when its name is not UTF-8 or names no file
 * (`..`, a slash in it). Leaving it out would drop a part of a commit in silence.
 *
 * @throws Error when it is not a tree
 */
export function parseTree(content: Uint8Array): readonly TreeEntry[] {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const entries: TreeEntry[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const space = bytes.indexOf(0x20, at);
    const zero = bytes.indexOf(0x00, space);
    if (space === -1 || zero === -1 || zero + 21 > bytes.byteLength) throw new Error('it is cut short');
    const mode = bytes.toString('latin1', at, space);
    entries.push({
      ...readName(bytes.subarray(space + 1, zero)),
      oid: bytes.toString('hex', zero + 1, zero + 21),
      type: typeOf(mode),
    });
    at = zero + 21;
  }
  return entries;
}

/** The name of an entry, or what is wrong with it and the bytes that it has. */
export function readName(raw: Buffer): Pick<TreeEntry, 'name' | 'problem'> {
  const name = raw.toString('utf8');
  const problem = problemOf(name, raw);
  return problem === undefined ? { name } : { name: escapeName(raw), problem };
}

function problemOf(name: string, raw: Buffer): string | undefined {
  // The replacement character marks bytes that are not UTF-8, or was written itself.
  if (name.includes('\ufffd') && !Buffer.from(name).equals(raw)) return 'has a name that is not UTF-8';
  if (name === '' || name === '.' || name === '..' || name.includes('/')) return 'has a name that no file can have';
  return undefined;
}

function typeOf(mode: string): TreeEntry['type'] {
  switch (mode) {
    case '40000':
      return 'tree';
    case '120000':
      return 'symlink';
    case '160000':
      return 'submodule';
    default:
      return 'blob';
  }
}

import { describe, expect, it } from 'vitest';
import { parseCommit, parseTag, parseTree } from '../../../../src/gitops/sources/object-format.ts';

const oid = '1'.repeat(40);
const entry = (mode: string, name: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${mode} `), Buffer.from(name), Buffer.from([0]), Buffer.from(oid, 'hex')]);

describe('the content of a Git object', () => {
  it('reads parents, people, time and message of a commit, which may be signed', () => {
    const text = `tree ${oid}\nparent ${'2'.repeat(40)}\nparent ${'3'.repeat(40)}\nauthor Mara M. <mara@example.com> 1700000000 +0100\ncommitter C <c@example.com> 1700000001 +0000\ngpgsig -----BEGIN\n author Fake <fake@example.com> 1 +0000\n -----END\n\nsubject\n\nbody\n`;
    expect(parseCommit(Buffer.from(text))).toEqual({
      tree: oid,
      parents: ['2'.repeat(40), '3'.repeat(40)],
      author: 'Mara M.',
      email: 'mara@example.com',
      committedAt: 1_700_000_001_000,
      message: 'subject\n\nbody\n',
    });
  });

  it.each([
    ['encoding ISO-8859-1\n', 'J\xf6rg', 'Jörg'],
    ['encoding ISO-8859-15\n', '\xa4uro', '€uro'],
    ['encoding nonsense\n', 'J\xf6rg', 'J\ufffdrg'],
    ['encoding UTF-16\n', 'J\xf6rg', 'J\ufffdrg'],
    ['', 'J\xf6rg', 'J\ufffdrg'],
    ['gpgsig a\n encoding ISO-8859-1\n', 'J\xf6rg', 'J\ufffdrg'],
  ])('reads people and message in the encoding that a commit names: %j', (header, written, meant) => {
    const people = `author ${written} <a@b> 1 +0000\ncommitter ${written} <a@b> 1 +0000\n`;
    const bytes = Buffer.from(`tree ${oid}\n${people}${header}\nby ${written}\nencoding ISO-8859-1\n`, 'latin1');
    expect(parseCommit(bytes)).toMatchObject({ author: meant, message: `by ${meant}\nencoding ISO-8859-1\n` });
  });

  it('refuses a commit without a tree, and a tag without an object', () => {
    expect(() => parseCommit(Buffer.from('author A <a@b> 1 +0000\n\nx'))).toThrow('no tree');
    expect(() => parseTag(Buffer.from('object nothing\n'))).toThrow('no object');
    expect(parseTag(Buffer.from(`object ${oid}\ntype commit\n`))).toBe(oid);
  });

  it('distinguishes files from links, directories and submodules in a tree', () => {
    const bytes = Buffer.concat([entry('100644', 'a.yaml'), entry('120000', 'link'), entry('160000', 'module'), entry('40000', 'über')]);
    expect(parseTree(bytes).map(({ name, type }) => [name, type])).toEqual([
      ['a.yaml', 'blob'],
      ['link', 'symlink'],
      ['module', 'submodule'],
      ['über', 'tree'],
    ]);
  });

  it('reports names in a tree that no file can have, and keeps them', () => {
    const bytes = Buffer.concat([
      entry('100644', '..'),
      entry('100644', 'a/b.yaml'),
      entry('100644', Buffer.from('caf\xe9.yaml', 'latin1')),
    ]);
    expect(parseTree(bytes)).toMatchObject([
      { problem: 'has a name that no file can have' },
      { name: 'a/b.yaml', problem: 'has a name that no file can have' },
      { name: 'caf\\xe9.yaml', problem: 'has a name that is not UTF-8' },
    ]);
    expect(parseTree(entry('100644', '\ufffd.yaml'))).toMatchObject([{ name: '\ufffd.yaml' }]);
    expect(() => parseTree(bytes.subarray(0, 10))).toThrow('cut short');
  });
});

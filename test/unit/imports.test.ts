import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const source = join(root, 'src');
const contributing = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');

interface Row {
  readonly names: readonly string[];
  readonly places: readonly string[];
  /** Files and folders of the row that may import everything. */
  readonly free: readonly string[];
}

/** In a table: every folder and file that has no row. */
const others = 'others';

const listOf = (cell: string): string[] =>
  cell
    .split(',')
    .map((name) => name.replaceAll('`', '').trim())
    .filter((name) => name !== '' && name !== 'nothing inside');

/**
 * Reads the tables of CONTRIBUTING.md: `| HEAD | … |`, then rows of names and places. Text after a semicolon is for
 * people, except `: everything`.
 */
function tablesWith(head: RegExp): Map<string, readonly Row[]> {
  const tables = new Map<string, readonly Row[]>();
  for (const block of contributing.split('\n\n')) {
    const [first = '', , ...lines] = block.trim().split('\n');
    const found = head.exec(first);
    if (found === null) continue;
    const rows = lines.map((line): Row => {
      const [, names = '', cell = ''] = line.split('|');
      const [places = '', ...rest] = cell.split(';');
      const free = rest.flatMap((part) => (part.trim().endsWith(': everything') ? listOf(part.trim().replace(/: everything$/, '')) : []));
      return places.trim() === 'everything'
        ? { names: listOf(names), places: [], free: listOf(names) }
        : { names: listOf(names), places: listOf(places), free };
    });
    tables.set(found[1] ?? '', rows);
  }
  return tables;
}

const [[, folders = []] = []] = tablesWith(/^\| folder \| may import \|$/);
const [[, packages = []] = []] = tablesWith(/^\| package \| only in \|$/);
const seconds = tablesWith(/^\| folder of (\S+) \| may import \|$/);

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.tsx?$/.test(name))
  .map((name) => name.split(sep).join('/'));
const importsOf = (file: string): string[] =>
  [
    ...readFileSync(join(source, file), 'utf8').matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'";]*?from '([^']+)'|import\('([^']+)'\)|(?:^|\n)import '([^']+)'/g,
    ),
  ].map(([, a, b, c]) => a ?? b ?? c ?? '');
const isBelow = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`);
const targetsOf = (file: string): string[] =>
  importsOf(file)
    .filter((path) => path.startsWith('.'))
    .map((name) =>
      relative(source, join(source, dirname(file), name))
        .split(sep)
        .join('/'),
    );

/** Imports that a table does not allow; `within` is the folder that it is about, or nothing for all of `src`. */
function findWrong(rows: readonly Row[], within: string): string[] {
  const wrong: string[] = [];
  const prefix = within === '' ? '' : `${within}/`;
  for (const file of files.filter((path) => path.startsWith(prefix))) {
    const [name = '', ...rest] = file.slice(prefix.length).split('/');
    // main.ts starts the program.
    if (within === '' && rest.length === 0) continue;
    const isOther = (path: string): boolean => !rows.some(({ names }) => names.some((each) => isBelow(path, each)));
    const row = rows.find(({ names }) => names.includes(name)) ?? rows.find(({ names }) => names.includes(others));
    if (row === undefined) {
      wrong.push(`${file} has no row in the table${within === '' ? '' : ` of ${within}`}`);
      continue;
    }
    if (row.free.some((free) => free === name || isBelow(rest.join('/'), free))) continue;
    for (const target of targetsOf(file).filter((path) => path.startsWith(prefix))) {
      const inside = target.slice(prefix.length);
      const isAllowed = row.places.some((place) => (place === others ? isOther(inside) : isBelow(inside, place)));
      if (!isBelow(inside, name) && !isAllowed) wrong.push(`${file} imports ${target}`);
    }
  }
  return wrong;
}

describe('imports', () => {
  it('follow the table of folders', () => {
    expect(folders.length).toBeGreaterThan(5);
    expect(findWrong(folders, '')).toEqual([]);
  });

  it.each([...seconds])('within %s follow its table', (folder, rows) => {
    expect(findWrong(rows, folder)).toEqual([]);
  });

  it('within base, gitops and apiserver have a table each', () => {
    expect([...seconds.keys()]).toEqual(expect.arrayContaining(['base', 'gitops', 'apiserver']));
  });

  it('use packages only in their places', () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const name of importsOf(file).filter((each) => !each.startsWith('.') && !each.startsWith('node:'))) {
        const packageName = name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/');
        const row = packages.find(({ names }) => names.includes(packageName));
        if (row === undefined) wrong.push(`${file} imports ${packageName}, which has no row in the table`);
        else if (!row.places.some((place) => isBelow(file, place))) wrong.push(`${file} imports ${packageName}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('are those of rows that exist: no table names a folder or file that is gone', () => {
    const gone = (within: string, rows: readonly Row[]): string[] =>
      rows
        .flatMap(({ names, places }) => [...names, ...places])
        .filter((name) => name !== others)
        .map((name) => join(within, name))
        .filter((path) => !files.some((file) => isBelow(file, path)));
    expect(gone('', folders)).toEqual([]);
    expect([...seconds].flatMap(([folder, rows]) => gone(folder, rows))).toEqual([]);
    expect(packages.flatMap(({ places }) => places).filter((place) => !files.some((file) => isBelow(file, place)))).toEqual([]);
  });
});

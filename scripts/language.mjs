// The language gate: reads comments, test titles, texts for users and documents, and reports prose that breaks the rules.
//
//   node scripts/language.mjs                        everything, as npm run check does: folders above their ceiling fail
//   node scripts/language.mjs [--words N] PATH...    every finding below PATH; N is the longest sentence (25)
//   node scripts/language.mjs --figures [--words N]  findings of each kind by folder
//   node scripts/language.mjs --lower                lowers each ceiling to the present count
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findingsIn, maxWords, participles, wideLines } from './language/rules.mjs';
import { readMarkdown, readSource } from './language/scan.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const readJson = (name) => JSON.parse(readFileSync(new URL(`language/${name}`, import.meta.url), 'utf8'));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { words: { type: 'string' }, figures: { type: 'boolean' }, lower: { type: 'boolean' } },
});
const longest = Number(options.words ?? maxWords);
const quotations = readJson('quotations.json').map(({ text }) => text);
const functionNames = readJson('function-names.json');
/** Findings that a folder may have. The numbers may only fall; a folder that is not listed may have none. */
const ceilings = readJson('ceilings.json');

const findings = files(positionals).flatMap(findingsOf);
if (options.figures) printFigures();
else if (options.lower) lowerCeilings();
else if (positionals.length > 0) fail(findings);
else fail(findings.filter(({ folder }) => countOf(folder) > (ceilings[folder] ?? 0)));

/** Tracked and new files with prose, below the paths of the command line. */
function files(paths) {
  const below = paths.map((path) => relative(root, resolve(path)) || '.');
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...below], {
    cwd: root,
    encoding: 'utf8',
  });
  return listed.split('\0').filter((file) => /\.(ts|tsx|mjs|md)$/.test(file) && !file.startsWith('examples-repo/'));
}

function findingsOf(file) {
  let source;
  try {
    source = readFileSync(`${root}/${file}`, 'utf8');
  } catch (err) {
    // git lists files that are deleted and not yet staged.
    if (err.code === 'ENOENT') return [];
    throw err;
  }
  const isMarkdown = file.endsWith('.md');
  const { pieces, functions } = isMarkdown
    ? { pieces: readMarkdown(source), functions: [] }
    : readSource(source, { isTest: file.startsWith('test/'), isJsx: file.endsWith('.tsx') });
  return [
    ...pieces.flatMap((piece) => findingsIn(piece, { longest, quotations })),
    ...wideLines(source, { isMarkdown }),
    ...participles(functions, functionNames),
  ]
    .sort((a, b) => a.line - b.line)
    .map((finding) => ({ ...finding, file, folder: folderOf(file) }));
}

/** The first two names of a path: `src/api`, `test/unit`; for files beside them `src`, `test` or `.`. */
function folderOf(file) {
  return file.split('/').slice(0, -1).slice(0, 2).join('/') || '.';
}

function countOf(folder) {
  return findings.filter((finding) => finding.folder === folder).length;
}

function fail(shown) {
  for (const { file, line, rule, excerpt } of shown) console.log(`${file}:${line}: ${rule}: ${excerpt}`);
  for (const folder of new Set(shown.map((finding) => finding.folder))) {
    console.log(`${folder}: ${shown.filter((finding) => finding.folder === folder).length} findings, ${ceilings[folder] ?? 0} allowed`);
  }
  process.exitCode = shown.length > 0 ? 1 : 0;
}

function printFigures() {
  const kinds = {
    opening: /^opening/,
    banned: /^banned/,
    [`over ${longest} words`]: /words$/,
    wide: /columns$/,
    participle: /participle$/,
  };
  const row = (name, some) => ({
    folder: name,
    ...Object.fromEntries(Object.entries(kinds).map(([kind, rule]) => [kind, some.filter((one) => rule.test(one.rule)).length])),
  });
  const folders = [...new Set(findings.map(({ folder }) => folder))].sort();
  console.table([
    ...folders.map((folder) =>
      row(
        folder,
        findings.filter((one) => one.folder === folder),
      ),
    ),
    row('all', findings),
  ]);
}

function lowerCeilings() {
  const lowered = Object.entries(ceilings)
    .map(([folder, ceiling]) => [folder, Math.min(ceiling, countOf(folder))])
    .filter(([, ceiling]) => ceiling > 0);
  writeFileSync(new URL('language/ceilings.json', import.meta.url), `${JSON.stringify(Object.fromEntries(lowered), null, 2)}\n`);
}

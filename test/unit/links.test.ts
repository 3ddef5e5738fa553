import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' });

it('every link between pages leads to a file or folder, and to a heading where it names one', () => {
  const broken: string[] = [];
  let links = 0;
  for (const page of listed.trim().split('\n')) {
    // A page that was deleted and is not committed yet is listed.
    if (!existsSync(join(root, page))) continue;
    const text = readFileSync(join(root, page), 'utf8').replaceAll(/```[\s\S]*?```|`[^`\n]*`/g, '');
    for (const [, target = '', heading] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)) {
      links += 1;
      const path = join(root, target === '' ? page : join(dirname(page), target));
      if (!existsSync(path)) broken.push(`${page}: ${target}`);
      else if (heading !== undefined && !headingsOf(readFileSync(path, 'utf8')).includes(heading))
        broken.push(`${page}: ${target}#${heading}`);
    }
  }
  expect(broken).toEqual([]);
  expect(links).toBeGreaterThan(40);
});

/** Headings as addresses: lower case, hyphens for blanks, no punctuation. */
const headingsOf = (text: string): readonly string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

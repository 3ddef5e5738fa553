import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const test = fileURLToPath(new URL('../', import.meta.url));
const table = new URL('../conformance/nodes/README.md', import.meta.url);

it('the behaviours of nodes name tests that exist', () => {
  const rows = [...readFileSync(fileURLToPath(table), 'utf8').matchAll(/^\| [^|]+ \| \[[^\]]+\]\(([^)]+)\): ([^|]+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(15);
  const missing = rows.filter(([, file = '', title = '']) => !readFileSync(new URL(file, table), 'utf8').includes(`'${title}'`));
  expect(missing.map(([row]) => row)).toEqual([]);
});

it.each([
  ['apps', 100],
  ['autoscaling', 20],
  ['scheduling', 25],
  ['storage', 60],
])('the behaviours of %s name tests that exist', (name, least) => {
  const files = readdirSync(test, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /^(integration|unit|machines|e2e|conformance)\/.*\.ts$/.test(file),
  );
  const sources = files.map((file) => readFileSync(`${test}${file}`, 'utf8').replaceAll("\\'", "'")).join('\n');
  const rows = [...readFileSync(`${test}conformance/behaviours/${name}.md`, 'utf8').matchAll(/^\| ([^|]+) \| ([^|]+) \|$/gm)].slice(1);
  expect(rows.length).toBeGreaterThan(least);
  const missing = rows.filter(([, behaviour = '', shown = '']) => {
    const titles = [...shown.matchAll(/"([^"…]+)…?"/g)].map(([, title = '']) => title.trim());
    if (shown.includes('same title')) titles.push(...behaviour.split(/; |…/).map((each) => each.trim()));
    return titles.some((title) => !sources.includes(title.replace(/^… /, '')));
  });
  expect(missing.map(([row]) => row)).toEqual([]);
});

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const table = new URL('../conformance/nodes/README.md', import.meta.url);

it('the behaviours of nodes name tests that exist', () => {
  const rows = [...readFileSync(fileURLToPath(table), 'utf8').matchAll(/^\| [^|]+ \| \[[^\]]+\]\(([^)]+)\): ([^|]+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(15);
  const missing = rows.filter(([, file = '', title = '']) => !readFileSync(new URL(file, table), 'utf8').includes(`'${title}'`));
  expect(missing.map(([row]) => row)).toEqual([]);
});

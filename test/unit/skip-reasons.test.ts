import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../', import.meta.url));

/** The end of a run groups skipped tests by what their titles have in brackets, or by the note of `context.skip`. */
it('every test that may be skipped says why', () => {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts'));
  const silent = files.flatMap((file) =>
    [...readFileSync(`${folder}${file}`, 'utf8').matchAll(/^\s*(?:it|describe)\.skipIf\((?:[^()]|\([^()]*\))*\)\(\s*(['"`].*)/gm)]
      .map(([, title = '']) => title)
      .filter((title) => !/\((needs|skipped)\b|\$\{why\}/.test(title))
      .map((title) => `${file}: ${title}`),
  );
  expect(files.length).toBeGreaterThan(300);
  expect(silent).toEqual([]);
});

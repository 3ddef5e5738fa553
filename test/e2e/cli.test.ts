import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { program, run } from '../support/cluster.ts';

const examples = join(import.meta.dirname, '../../examples-repo/apps/storefront');

it.each([['--help'], ['build', examples]])('midship %s whose reader is gone ends as other programs do, without a word', async (...args) => {
  const command = `'${process.execPath}' '${program}' ${args.join(' ')} | true; exit "\${PIPESTATUS[0]}"`;
  expect(await run('bash', ['-c', command])).toEqual({ code: 141, stdout: '', stderr: '' });
});

/** Bytes of a built file and all that it imports before it runs. */
function loadedBytes(file: string, seen = new Set<string>()): number {
  if (seen.has(file)) return 0;
  seen.add(file);
  const imports = readFileSync(file, 'utf8').matchAll(/^(?:import|export)\b[^'";]*?["'](\.[^"']+)["']/gm);
  return statSync(file).size + [...imports].reduce((sum, [, name = '']) => sum + loadedBytes(join(dirname(file), name), seen), 0);
}

it('a question does not load the parts of a cluster', () => {
  // The whole program has 3.5 MB, and loading it takes three times the processor time of an answer.
  const sizes = ['program', 'status', 'apps', 'history'].map((name) => [name, loadedBytes(join(dirname(program), `part-${name}.js`))]);
  for (const [name, bytes] of sizes) expect(bytes, `${name} with its imports`).toBeLessThan(600_000);
});

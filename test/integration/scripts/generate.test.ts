import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

/** The code of `--check` where a source is not to be had. */
const noSources = 3;

it('npm run generate would change none of the committed files', (context) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/generate.mjs', '--check'], { encoding: 'utf8' });
  if (status === noSources) return context.skip(`the generated files are not compared: ${stderr.trim().split('\n').join(' ')}`);
  expect({ status, output: `${stdout}${stderr}` }).toEqual({
    status: 0,
    output: expect.stringContaining('3 generated files are as their sources say'),
  });
});

import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import type { Activity } from '../../../src/base/contracts/activity.ts';
import { Failure, formatFailure } from '../../../src/cli/failure.ts';
import { facts, formatJson, table, writeResult } from '../../../src/cli/output.ts';
import { createTerminal } from '../../../src/cli/terminal.ts';

const hostile = 'a\u001b[2J\u009b2J\u001b]0;title\u0007\rb';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const forbidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;

/** Gives the text that `write` writes. */
async function written(write: (output: PassThrough) => void | Promise<void>): Promise<string> {
  const output = new PassThrough();
  await write(output);
  return String(output.read() ?? '');
}

it.each<[string, string]>([
  [
    'table',
    table([
      ['NAME', 'MESSAGE'],
      [hostile, hostile],
    ]),
  ],
  ['facts', facts([['Message', hostile]])],
  ['JSON', formatJson({ message: hostile })],
  ['failure', formatFailure(new Failure(hostile, { why: hostile, fix: hostile }))],
  ['text', await written((output) => writeResult({ output, format: 'text' }, hostile, (text) => text))],
  ['YAML', await written((output) => writeResult({ output, format: 'yaml' }, { message: hostile }, String))],
  ['line', await written((output) => createTerminal(output).line(hostile))],
  ['step', await written((output) => createTerminal(output).step('Git', hostile, hostile))],
  ['warning', await written((output) => createTerminal(output).warning(hostile))],
  ...(await Promise.all(
    (
      [
        { type: 'commit', at: 0, branch: hostile, sha: hostile, author: hostile, subject: hostile },
        { type: 'failed', at: 0, app: hostile, sha: hostile, errors: [hostile] },
        { type: 'healthy', at: 0, app: hostile, sha: hostile, summary: hostile, durationMs: 0 },
        { type: 'degraded', at: 0, app: hostile, sha: hostile, reason: hostile },
      ] satisfies Activity[]
    ).map(
      async (activity): Promise<[string, string]> => [activity.type, await written((output) => createTerminal(output).activity(activity))],
    ),
  )),
])('no control character of a message reaches the terminal by a %s', (_, text) => {
  expect(text).toContain('2J');
  expect(text).not.toMatch(forbidden);
});

it('JSON reads as what it was', () => {
  expect(JSON.parse(formatJson({ message: hostile }))).toEqual({ message: hostile });
});

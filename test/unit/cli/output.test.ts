import { expect, it } from 'vitest';
import { table } from '../../../src/cli/output.ts';

const sha = '0123456789abcdef0123456789abcdef01234567';
const rows = [
  ['NAME', 'MESSAGE'],
  ['web', `Applied revision: main@sha1:${sha} and all that follows`],
];

it('a table shows seven digits of a commit and is cut to the terminal', () => {
  expect(table(rows, undefined)).toBe('NAME  MESSAGE\nweb   Applied revision: main@sha1:0123456 and all that follows\n');
  expect(table(rows, 30)).toBe('NAME  MESSAGE\nweb   Applied revision: main@…\n');
});

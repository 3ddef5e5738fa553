import { expect, it } from 'vitest';
import { cutTo, facts, table, wrapText } from '../../../src/cli/output.ts';

const sha = '0123456789abcdef0123456789abcdef01234567';
const rows = [
  ['NAME', 'MESSAGE'],
  ['web', `Applied revision: main@sha1:${sha} and all that follows`],
];

it('a table shows seven digits of a commit and is cut to the terminal', () => {
  expect(table(rows, undefined)).toBe('NAME  MESSAGE\nweb   Applied revision: main@sha1:0123456 and all that follows\n');
  expect(table(rows, 30)).toBe('NAME  MESSAGE\nweb   Applied revision: main@…\n');
});

const green = (text: string): string => `\u001b[32m${text}\u001b[39m`;

it('a line is cut to the terminal by what it shows, and a colour ends where it began', () => {
  expect(cutTo(`${green('●')} Deployment web/storefront`, 12)).toBe(`${green('●')} Deploymen…`);
  expect(cutTo(`web ${green('is healthy')}`, 10)).toBe(`web ${green('is he…')}`);
  expect(cutTo(`web ${green('is healthy')}`, 14)).toBe(`web ${green('is healthy')}`);
  expect(cutTo('web is healthy', undefined)).toBe('web is healthy');
});

it('long text is broken between words, below its first column', () => {
  expect(wrapText('one two three four five six', 4, 24)).toBe('one two three four\n    five six');
  expect(wrapText('a word_longer_than_the_line_itself', 0, 20)).toBe('a\nword_longer_than_the_line_itself');
  expect(wrapText('one two three', 4, undefined)).toBe('one two three');
  expect(
    facts(
      [
        ['fix', 'see the log of the pod'],
        ['blocked', ''],
      ],
      25,
    ),
  ).toBe('fix  see the log of the\n     pod\n');
});

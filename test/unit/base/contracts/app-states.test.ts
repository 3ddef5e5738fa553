import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { appStateNames, appStates, type VerdictState, verdictOver } from '../../../../src/base/contracts/app-states.ts';

const reference = fileURLToPath(new URL('../../../../docs/reference/states.md', import.meta.url));

describe('the vocabulary of states', () => {
  it('is the table of docs/reference/states.md, row by row', () => {
    const rows = appStateNames.map((state) => {
      const { word, matches, meaning } = appStates[state];
      return `| \`${state}\` | ${word} | ${matches ? 'yes' : 'no'} | ${meaning} |`;
    });
    const table = readFileSync(reference, 'utf8')
      .split('\n')
      .filter((line) => /^\| `[A-Z]/.test(line));
    expect(table).toEqual(rows);
  });

  it('has a word of its own for each state', () => {
    for (const of of ['word', 'one', 'many'] as const)
      expect(new Set(appStateNames.map((state) => appStates[state][of])).size).toBe(appStateNames.length);
  });

  it.each<readonly [readonly VerdictState[], string]>([
    [['Matches'], '1 app matches Git.'],
    [['Matches', 'Matches'], '2 apps match Git.'],
    [['Matches', 'Held'], '2 apps match Git, 1 of them held.'],
    [['Held'], '1 app matches Git, and is held.'],
    [['Broken', 'Matches', 'Differs', 'Differs'], '1 of 4 apps does not work, 2 differ from Git.'],
    [['OnTheWay', 'OnTheWay', 'Held'], '2 of 3 apps are on the way.'],
    [['Differs'], '1 of 1 app differs from Git.'],
  ])('says of %j: %s', (states, sentence) => {
    expect(verdictOver(states)).toBe(sentence);
  });
});

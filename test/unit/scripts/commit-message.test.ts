import { describe, expect, it } from 'vitest';
import { errorsOfMessage } from '../../../scripts/language/commit-message.mjs';

const body = '\n\nA lagging watcher kept 200 MB of events in memory.\n';

describe('a commit message', () => {
  it.each([
    `storage/sqlite: end lagging watchers with Expired${body}`,
    `api, apiserver: process lists in parts${body}`,
    `src: embed the page${body}# Please enter the commit message\n#\n`,
    `test: wait for the fence${body}# ------------------------ >8 ------------------------\ndiff --git What stands\n`,
    "Merge branch 'main'\n",
    'fixup! storage: anything\n',
  ])('passes as %j', (message) => {
    expect(errorsOfMessage(message)).toEqual([]);
  });

  it.each([
    [`end lagging watchers${body}`, 'begins with no area'],
    [`storage: ends lagging watchers${body}`, '"ends" is no imperative'],
    [`storage: ended lagging watchers${body}`, '"ended" is no imperative'],
    [`storage: ending lagging watchers${body}`, '"ending" is no imperative'],
    [`storage: End lagging watchers${body}`, 'no small verb'],
    [`storage: end lagging watchers.${body}`, 'full stop'],
    [`storage: end watchers that lag ${'very '.repeat(10)}far${body}`, 'at most 72'],
    ['storage: end lagging watchers\nA lagging watcher kept 200 MB.\n\nMore.\n', 'second line is not blank'],
    ['storage: end lagging watchers\n', 'there is no body'],
    ['storage: end lagging watchers\n\nThe watcher is told that it lags.\n', 'line 3: banned "told"'],
    [`storage: end lagging watchers\n\n${'long '.repeat(21)}line.\n`, 'line 3 has 110 columns'],
  ])('is refused as %j', (message, error) => {
    expect(errorsOfMessage(message)).toEqual([expect.stringContaining(error)]);
  });
});

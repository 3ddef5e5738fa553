import { expect, it } from 'vitest';
import { createStorageWatch } from '../../../src/cli/storage-watch.ts';
import { createManualClock } from '../../support/manual-clock.ts';

it('says once that the store refuses writes, and once that it takes them again, until it is stopped', async () => {
  const clock = createManualClock();
  const storage: { failure: Error | undefined } = { failure: undefined };
  const messages: string[] = [];
  const watch = createStorageWatch({ storage, clock, onChange: (failure) => void messages.push(failure?.message ?? 'over') });
  await watch.start({ signal: new AbortController().signal });
  expect(messages).toEqual([]);
  storage.failure = new Error('the disk is nearly full');
  clock.advance(60_000);
  expect(messages).toEqual(['the disk is nearly full']);
  storage.failure = undefined;
  clock.advance(5_000);
  expect(messages).toEqual(['the disk is nearly full', 'over']);
  await watch.stop();
  storage.failure = new Error('again');
  clock.advance(60_000);
  expect(messages).toHaveLength(2);
});

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { timeLimit } from '../../../src/base/time-limit.ts';
import { until } from '../../support/until.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

describe('a time limit', () => {
  it('comes also after a garbage collection, to whoever listens or asks', async () => {
    const signal = timeLimit(new AbortController().signal, 100);
    let isHeard = false;
    timeLimit(new AbortController().signal, 100).addEventListener('abort', () => {
      isHeard = true;
    });
    for (let turn = 0; turn < 5; turn += 1) {
      collectGarbage();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => signal.aborted && isHeard, { what: 'the limit' });
    expect(signal.reason).toMatchObject({ name: 'TimeoutError' });
  });

  it('ends with the signal that it limits', () => {
    const abort = new AbortController();
    const signal = timeLimit(abort.signal, 60_000);
    abort.abort(new Error('enough'));
    expect(signal.reason).toEqual(new Error('enough'));
  });
});

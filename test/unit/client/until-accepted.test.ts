import { expect, it } from 'vitest';
import { untilAccepted } from '../../../src/client/until-accepted.ts';
import { forbidden, internalError } from '../../../src/machinery/status-error.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const pods = { group: '', resource: 'pods' };

it('tries until the API takes it, and tells of each new refusal once', async () => {
  const clock = createManualClock();
  const answers = [internalError('webhook'), internalError('webhook'), forbidden(pods, 'p', 'policy')];
  const told: string[] = [];
  let tries = 0;
  const accepted = untilAccepted(
    async () => {
      const refusal = answers[tries];
      tries += 1;
      if (refusal !== undefined) throw refusal;
      return 'done';
    },
    { clock, signal: new AbortController().signal, onRefusal: ({ message }) => told.push(message) },
  );
  for (const count of [1, 2, 3]) {
    await until(() => tries === count && clock.pending > 0, { what: `try ${count}` });
    clock.advance(1_000);
  }
  expect(await accepted).toBe('done');
  expect(told).toEqual(['Internal error occurred: webhook', 'pods "p" is forbidden: policy']);
});

it('ends with the first other error, and when its signal is aborted', async () => {
  const options = { clock: createManualClock(), onRefusal: () => undefined };
  const broken = async (): Promise<never> => {
    throw new Error('broken');
  };
  await expect(untilAccepted(broken, { ...options, signal: new AbortController().signal })).rejects.toThrow('broken');
  const refused = async (): Promise<never> => {
    throw internalError('webhook');
  };
  await expect(untilAccepted(refused, { ...options, signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped');
});

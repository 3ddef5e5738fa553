import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Component } from '../../../src/base/component.ts';
import { startAll } from '../../../src/base/shutdown.ts';
import { createManualClock } from '../../support/manual-clock.ts';

function createParts() {
  const log: string[] = [];
  const part = (name: string, overrides: Partial<Component> = {}): Component => ({
    name,
    async start() {
      log.push(`start ${name}`);
    },
    async stop() {
      log.push(`stop ${name}`);
    },
    ...overrides,
  });
  const clock = createManualClock();
  return { log, part, clock, options: { clock, log: pino({ level: 'silent' }), signal: new AbortController().signal } };
}

describe('startAll', () => {
  it('starts in order and stops in reverse, once', async () => {
    const { log, part, options } = createParts();
    const stop = await startAll([part('store'), part('api'), part('page')], options);
    await Promise.all([stop(), stop()]);
    expect(log).toEqual(['start store', 'start api', 'start page', 'stop page', 'stop api', 'stop store']);
  });

  it('stops what was started when a part does not start', async () => {
    const { log, part, options } = createParts();
    const broken = part('api', { start: () => Promise.reject(new Error('port taken')) });
    await expect(startAll([part('store'), broken, part('page')], options)).rejects.toThrow('port taken');
    expect(log).toEqual(['start store', 'stop api', 'stop store']);
  });

  it('goes on stopping when a part fails to stop or hangs', async () => {
    const { log, part, clock, options } = createParts();
    const broken = part('api', { stop: () => Promise.reject(new Error('broken')) });
    const hanging = part('page', { stop: () => new Promise(() => undefined) });
    const stop = await startAll([part('store'), broken, hanging], options);
    const stopped = stop();
    await turn();
    clock.advance(30_000);
    await stopped;
    expect(log.at(-1)).toBe('stop store');
  });
});

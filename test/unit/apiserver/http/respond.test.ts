import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { sendParts } from '../../../../src/apiserver/http/respond.ts';
import { createManualClock } from '../../../support/manual-clock.ts';

/** An answer to a client that reads when the test says so. */
function startAnswer({ isShort = (): boolean => false } = {}) {
  const clock = createManualClock();
  const gone = new AbortController();
  const log: string[] = [];
  let written = 0;
  const response = Object.assign(new EventEmitter(), {
    req: { headers: {} },
    writeHead: () => response,
    write(chunk: string) {
      written += chunk.length;
      return false;
    },
    end: () => log.push('end'),
    destroy() {
      log.push('cut');
      gone.abort();
      response.emit('close');
    },
  });
  const sent = sendParts({
    response: response as unknown as ServerResponse,
    encoding: 'json',
    parts: Array.from({ length: 30 }, () => 'x'.repeat(70_000)),
    clock,
    signal: gone.signal,
    seat: { pause: () => log.push('pause'), resume: () => log.push('resume') },
    isShortOfMemory: isShort,
    nextTurn: () => Promise.resolve(),
  });
  return {
    clock,
    log,
    sent,
    written: () => written,
    async read(): Promise<void> {
      response.emit('drain');
      for (let microtask = 0; microtask < 10; microtask += 1) await Promise.resolve();
    },
  };
}

describe('a long answer', () => {
  it('gives its seat back for as long as its client does not read', async () => {
    const { log, read } = startAnswer();
    expect(log).toEqual(['pause']);
    await read();
    expect(log).toEqual(['pause', 'resume', 'pause']);
  });

  it('is cut a minute after it began, however much of it was read meanwhile', async () => {
    const { clock, log, read, sent, written } = startAnswer();
    for (let second = 0; second < 59; second += 4) {
      clock.advance(4_000);
      if (!log.includes('cut')) await read();
    }
    expect(written()).toBeGreaterThan(10 * 70_000);
    expect(log.filter((entry) => entry === 'cut')).toHaveLength(1);
    await sent;
    expect(log).not.toContain('end');
  });

  it('that nobody reads is cut after some seconds when others wait for memory, and is not otherwise', async () => {
    let isShort = false;
    const { clock, log, sent } = startAnswer({ isShort: () => isShort });
    clock.advance(30_000);
    expect(log).toEqual(['pause']);
    isShort = true;
    clock.advance(6_000);
    expect(log).toContain('cut');
    await sent;
  });
});

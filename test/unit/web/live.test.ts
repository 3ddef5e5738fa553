import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createLive, type Rendering } from '../../../src/web/live.ts';
import { createManualClock } from '../../support/manual-clock.ts';

/** The part of a response that a stream writes to: it remembers what it was given, and how much of it waits. */
class Viewer extends EventEmitter {
  text = '';
  writableLength = 0;
  ended = false;
  destroyed = false;
  writeHead(): this {
    return this;
  }
  write(chunk: string): boolean {
    this.text += chunk;
    return true;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
  get events(): { type: string; id: string | undefined; data: Record<string, unknown> }[] {
    return this.text.split('\n\n').flatMap((block) => {
      const type = /^event: (.*)$/m.exec(block)?.[1];
      if (type === undefined) return [];
      return [{ type, id: /^id: (.*)$/m.exec(block)?.[1], data: JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? '{}') }];
    });
  }
}

function setUp() {
  const clock = createManualClock();
  const listeners = new Set<() => void>();
  const page = {
    title: 'one',
    regions: new Map([
      ['a', 'A'],
      ['b', 'B'],
    ]),
    exists: true,
    renders: 0,
  };
  const live = createLive({
    clock,
    bootId: 'boot',
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    render(path): Rendering | undefined {
      if (path !== '/' || !page.exists) return undefined;
      page.renders += 1;
      return { title: page.title, regions: new Map(page.regions) };
    },
  });
  const join = (lastEventId?: string, path = '/'): Viewer => {
    const viewer = new Viewer();
    if (!live.connect({ path, lastEventId, response: viewer as unknown as ServerResponse })) throw new Error('refused');
    return viewer;
  };
  const change = (region: string, html: string): void => {
    page.regions.set(region, html);
    for (const listener of listeners) listener();
  };
  return { clock, live, page, listeners, join, change };
}

describe('live pages', () => {
  it('begin with a snapshot and go on with what changed', () => {
    const { clock, join, change } = setUp();
    const viewer = join();
    change('b', 'B2');
    clock.advance(200);
    expect(viewer.events).toEqual([
      { type: 'snapshot', id: 'boot-1-1', data: { title: 'one', regions: { a: 'A', b: 'B' } } },
      { type: 'patch', id: 'boot-1-2', data: { title: 'one', regions: { b: 'B2' } } },
    ]);
  });

  it('render once for all viewers and at most five times a second', () => {
    const { clock, page, join, change } = setUp();
    const viewers = [join(), join()];
    const before = page.renders;
    for (let step = 0; step < 1_000; step += 1) {
      change('a', `A${step}`);
      clock.advance(1);
    }
    clock.advance(200);
    expect(page.renders - before).toBeLessThanOrEqual(7);
    for (const viewer of viewers) expect(viewer.events.at(-1)?.data).toMatchObject({ regions: { a: 'A999' } });
  });

  it('send nothing when nothing that is shown has changed', () => {
    const { clock, join, change } = setUp();
    const viewer = join();
    change('a', 'A');
    clock.advance(1_000);
    expect(viewer.events).toHaveLength(1);
  });

  it('give a viewer that comes back what it missed, and one from another server everything', () => {
    const { clock, join, change } = setUp();
    const stays = join();
    change('a', 'A2');
    clock.advance(200);
    change('b', 'B2');
    clock.advance(200);
    expect(join('boot-1-2').events).toEqual([{ type: 'patch', id: 'boot-1-3', data: { title: 'one', regions: { b: 'B2' } } }]);
    expect(join('boot-1-3').events).toEqual([]);
    for (const stranger of ['other-1-3', 'boot-1-99', 'boot-1-x', 'boot-2-1', '']) expect(join(stranger).events[0]?.type).toBe('snapshot');
    expect(stays.events).toHaveLength(3);
  });

  it('are heard of every 15 seconds', () => {
    const { clock, join } = setUp();
    const viewer = join();
    clock.advance(31_000);
    expect(viewer.events.filter(({ type }) => type === 'ping')).toHaveLength(2);
  });

  it('cut off a viewer that does not read', () => {
    const { clock, join, change } = setUp();
    const slow = join();
    const quick = join();
    slow.writableLength = 2 * 1024 * 1024;
    change('a', 'A2');
    clock.advance(200);
    expect([slow.destroyed, quick.destroyed]).toEqual([true, false]);
  });

  it('stop working when the last viewer leaves', () => {
    const { clock, listeners, join } = setUp();
    const viewer = join();
    expect(listeners.size).toBe(1);
    viewer.emit('close');
    expect(listeners.size).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it('say when what they show is gone, and refuse what never was', () => {
    const { clock, page, join, change } = setUp();
    const viewer = join();
    page.exists = false;
    change('a', 'A2');
    clock.advance(200);
    expect(viewer.events.at(-1)?.type).toBe('gone');
    expect(() => join(undefined, '/none')).toThrow('refused');
  });

  it('refuse more viewers than there is room for', () => {
    const { join } = setUp();
    for (let index = 0; index < 256; index += 1) join();
    expect(() => join()).toThrow('refused');
  });
});

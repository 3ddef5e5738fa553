import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createLive, type Rendering } from '../../../src/web/live.ts';
import { Busy } from '../../../src/web/pace.ts';
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
    isBusy: false,
    renders: 0,
  };
  const live = createLive({
    clock,
    bootId: 'boot',
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async render(path): Promise<Rendering | undefined> {
      if (page.isBusy) throw new Busy();
      if (!path.startsWith('/page') || !page.exists) return undefined;
      page.renders += 1;
      return { title: page.title, regions: new Map(page.regions) };
    },
  });
  const join = async (lastEventId?: string, path = '/page', address = '127.0.0.1'): Promise<Viewer> => {
    const viewer = new Viewer();
    const response = viewer as unknown as ServerResponse;
    if (!(await live.connect({ path, lastEventId, response, address }))) throw new Error('refused');
    return viewer;
  };
  /** Renderings take a turn of the event loop or two. */
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const change = (region: string, html: string): void => {
    page.regions.set(region, html);
    for (const listener of listeners) listener();
  };
  return { clock, live, page, listeners, join, change, advance };
}

describe('live pages', () => {
  it('begin with a snapshot and go on with what changed', async () => {
    const { join, change, advance } = setUp();
    const viewer = await join();
    change('b', 'B2');
    await advance(200);
    expect(viewer.events).toEqual([
      { type: 'snapshot', id: 'boot-1-1', data: { title: 'one', regions: { a: 'A', b: 'B' } } },
      { type: 'patch', id: 'boot-1-2', data: { title: 'one', regions: { b: 'B2' } } },
    ]);
  });

  it('render once for all viewers and at most five times a second', async () => {
    const { page, join, change, advance } = setUp();
    const viewers = [await join(), await join()];
    const before = page.renders;
    for (let step = 0; step < 1_000; step += 1) {
      change('a', `A${step}`);
      await advance(1);
    }
    await advance(200);
    expect(page.renders - before).toBeLessThanOrEqual(7);
    for (const viewer of viewers) expect(viewer.events.at(-1)?.data).toMatchObject({ regions: { a: 'A999' } });
  });

  it('send nothing when nothing that is shown has changed', async () => {
    const { join, change, advance } = setUp();
    const viewer = await join();
    change('a', 'A');
    await advance(1_000);
    expect(viewer.events).toHaveLength(1);
  });

  it('give a viewer that comes back what it missed, and one from another server everything', async () => {
    const { join, change, advance } = setUp();
    const stays = await join();
    change('a', 'A2');
    await advance(200);
    change('b', 'B2');
    await advance(200);
    expect((await join('boot-1-2')).events).toEqual([{ type: 'patch', id: 'boot-1-3', data: { title: 'one', regions: { b: 'B2' } } }]);
    expect((await join('boot-1-3')).events).toEqual([]);
    for (const stranger of ['other-1-3', 'boot-1-99', 'boot-1-x', 'boot-2-1', ''])
      expect((await join(stranger)).events[0]?.type).toBe('snapshot');
    expect(stays.events).toHaveLength(3);
  });

  it('get an event every 15 seconds', async () => {
    const { join, advance } = setUp();
    const viewer = await join();
    await advance(31_000);
    expect(viewer.events.filter(({ type }) => type === 'ping')).toHaveLength(2);
  });

  it('cut off a viewer that does not read', async () => {
    const { join, change, advance } = setUp();
    const slow = await join();
    const quick = await join();
    slow.writableLength = 2 * 1024 * 1024;
    change('a', 'A2');
    await advance(200);
    expect([slow.destroyed, quick.destroyed]).toEqual([true, false]);
  });

  it('stop working when the last viewer leaves', async () => {
    const { clock, listeners, join } = setUp();
    const viewer = await join();
    expect(listeners.size).toBe(1);
    viewer.emit('close');
    expect(listeners.size).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it('say when what they show is gone, and refuse what never was', async () => {
    const { page, join, change, advance } = setUp();
    const viewer = await join();
    page.exists = false;
    change('a', 'A2');
    await advance(200);
    expect(viewer.events.at(-1)?.type).toBe('gone');
    await expect(join(undefined, '/none')).rejects.toThrow('refused');
  });

  it('make room for a new viewer where one address has too many, and leave the others alone', async () => {
    const { join } = setUp();
    const other = await join(undefined, '/page', '192.0.2.1');
    const viewers = [];
    for (let index = 0; index < 130; index += 1) viewers.push(await join());
    expect(viewers.filter(({ destroyed }) => !destroyed)).toEqual(viewers.slice(2));
    expect(other.destroyed).toBe(false);
  });

  it('make room for a new viewer where all addresses together have too many', async () => {
    const { join } = setUp();
    const viewers = [];
    for (let index = 0; index < 300; index += 1) viewers.push(await join(undefined, '/page', `192.0.2.${index % 100}`));
    expect(viewers.filter(({ destroyed }) => !destroyed)).toEqual(viewers.slice(44));
  });

  it('leave the path that was opened first when more are open than are kept', async () => {
    const { join } = setUp();
    const viewers = [];
    for (let index = 0; index < 65; index += 1) viewers.push(await join(undefined, `/page/${index}`));
    expect(viewers.filter(({ ended }) => ended)).toEqual(viewers.slice(0, 1));
  });

  it('show what changed once there is time again, and refuse a new path meanwhile', async () => {
    const { page, join, change, advance } = setUp();
    const viewer = await join();
    page.isBusy = true;
    change('a', 'A2');
    await advance(200);
    await expect(join(undefined, '/page/2')).rejects.toThrow(Busy);
    page.isBusy = false;
    await advance(1_000);
    expect(viewer.events.at(-1)?.data).toMatchObject({ regions: { a: 'A2' } });
  });
});

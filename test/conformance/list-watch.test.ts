import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConfigMap, configMaps } from '../../src/api/core/v1/config-map.ts';
import type { Client, WatchEvent } from '../../src/client/client.ts';
import { isAlreadyExists, isConflict, isExpired, isNotFound } from '../../src/machinery/status-error.ts';
import { startSeededApi } from '../support/api.ts';
import { serveTestApi } from '../support/api-server.ts';
import { until } from '../support/until.ts';

/**
 * The promise under every informer. A client lists, and then watches from the version of the list. At any time it knows the state at the
 * last version that it saw. It does so however often the watch breaks, whatever it selects, and despite concurrent writers.
 */

interface Target {
  readonly name: string;
  readonly numRuns: number;
  start(): Promise<{ readonly client: Client; stop(): Promise<void> }>;
}

// The namespace comes from an earlier server, so that version 1 is one that this server has forgotten.
const targets: readonly Target[] = [
  {
    name: 'in process',
    numRuns: 12,
    async start() {
      const api = await startSeededApi(['shop']);
      return { client: api.clientFor(), stop: api.stop };
    },
  },
  {
    name: 'over HTTP',
    numRuns: 6,
    async start() {
      const { client, stop } = await serveTestApi(await startSeededApi(['shop']));
      return { client, stop };
    },
  },
];

/** One step of a writer. */
interface Step {
  readonly act: 'put' | 'label' | 'remove';
  readonly name: string;
  readonly app: string;
}

/** When a reader loses its connection: after so many events, and whether it then asks for a version that is forgotten. */
interface Break {
  readonly afterEvents: number;
  readonly forgets: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  act: fc.constantFrom('put', 'put', 'label', 'remove'),
  name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
  app: fc.constantFrom('x', 'y'),
});
const breaks: fc.Arbitrary<readonly Break[]> = fc.array(fc.record({ afterEvents: fc.integer({ min: 0, max: 6 }), forgets: fc.boolean() }), {
  maxLength: 4,
});

const selections = [{}, { labelSelector: 'app=x' }, { labelSelector: 'app!=x' }, { fieldSelector: 'metadata.name=a' }] as const;

const namespace = 'shop';

async function write(client: Client, steps: readonly Step[], writer: number): Promise<void> {
  for (const [index, { act, name, app }] of steps.entries()) {
    const object: ConfigMap = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace, labels: { app } },
      data: { writer: `${writer}`, step: `${index}` },
    };
    try {
      if (act === 'remove') await client.delete(configMaps, { name, namespace });
      else if (act === 'label')
        await client.patch(configMaps, { name, namespace }, { type: 'merge', body: { metadata: { labels: { app } } } });
      else await client.update(configMaps, object).catch(() => client.create(configMaps, object));
    } catch (err) {
      // Another writer was faster: that is part of the game.
      if (!isNotFound(err) && !isAlreadyExists(err) && !isConflict(err)) throw err;
    }
  }
}

/** Keeps the objects that it received, and notes each event that contradicts them. */
class Reader {
  readonly known = new Map<string, string>();
  readonly contradictions: string[] = [];
  expirations = 0;
  readonly #client: Client;
  readonly #selection: (typeof selections)[number];
  readonly #breaks: Break[];
  #version = 0;

  constructor(client: Client, selection: (typeof selections)[number], planned: readonly Break[]) {
    this.#client = client;
    this.#selection = selection;
    this.#breaks = [...planned];
  }

  /** Until `signal`, in whatever it is then. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#run(signal);
    } catch (err) {
      if (!signal.aborted) throw err;
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    await this.#list(signal);
    while (!signal.aborted) {
      const broken = this.#breaks.shift();
      const connection = new AbortController();
      const leave = (): void => connection.abort();
      signal.addEventListener('abort', leave, { once: true });
      let left = broken?.afterEvents ?? Number.POSITIVE_INFINITY;
      if (left === 0) leave();
      await this.#client.watch(configMaps, {
        ...this.#selection,
        namespace,
        resourceVersion: String(this.#version),
        signal: connection.signal,
        onEvents: (events) => {
          for (const event of events) {
            // Events after the end of the connection were never received.
            if (connection.signal.aborted) return;
            this.#take(event);
            left -= 1;
            if (left <= 0) leave();
          }
        },
      });
      signal.removeEventListener('abort', leave);
      if (broken?.forgets === true && !signal.aborted) await this.#expire(signal);
    }
  }

  /** In pages of two: all of them are of the version of the first. */
  async #list(signal: AbortSignal): Promise<void> {
    this.known.clear();
    let token: string | undefined;
    do {
      const page = await this.#client.list(configMaps, {
        ...this.#selection,
        namespace,
        limit: 2,
        signal,
        ...(token === undefined ? {} : { continue: token }),
      });
      for (const { metadata } of page.items) this.known.set(metadata.name ?? '', metadata.resourceVersion ?? '');
      this.#version = Number(page.metadata.resourceVersion);
      token = page.metadata.continue;
    } while (token !== undefined && token !== '');
  }

  async #expire(signal: AbortSignal): Promise<void> {
    try {
      await this.#client.watch(configMaps, { namespace, resourceVersion: '1', signal, onEvents: () => undefined });
    } catch (err) {
      if (!isExpired(err)) throw err;
      this.expirations += 1;
      await this.#list(signal);
    }
  }

  #take({ type, object }: WatchEvent<ConfigMap>): void {
    const { name = '', resourceVersion = '' } = object.metadata;
    const isNews = Number(resourceVersion) > this.#version;
    const isKnown = this.known.has(name);
    const follows = type === 'BOOKMARK' || (isNews && (type === 'ADDED') === !isKnown);
    if (!follows) this.contradictions.push(`${type} ${name} ${resourceVersion} after ${this.#version}, ${isKnown ? '' : 'not '}known`);
    this.#version = Math.max(this.#version, Number(resourceVersion));
    if (type === 'DELETED') this.known.delete(name);
    else if (type !== 'BOOKMARK') this.known.set(name, resourceVersion);
  }
}

describe.each(targets)('a client that lists and then watches, $name', ({ numRuns, start }) => {
  let cluster: Awaited<ReturnType<Target['start']>>;
  beforeAll(async () => {
    cluster = await start();
  });
  afterAll(() => cluster.stop());

  it('always knows what is there', async () => {
    let expirations = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { maxLength: 15 }), { minLength: 2, maxLength: 3 }),
        fc.array(breaks, { minLength: selections.length, maxLength: selections.length }),
        async (writers, plans) => {
          const { client } = cluster;
          const abort = new AbortController();
          const readers = selections.map((selection, index) => new Reader(client, selection, plans[index] ?? []));
          const reading = readers.map((reader) => reader.run(abort.signal));
          try {
            await Promise.all(writers.map((steps, index) => write(client, steps, index)));
            for (const [index, reader] of readers.entries()) {
              const { items } = await client.list(configMaps, { ...selections[index], namespace });
              const expected = new Map(items.map(({ metadata }) => [metadata.name ?? '', metadata.resourceVersion ?? '']));
              await until(() => same(reader.known, expected), { timeoutMs: 15_000, intervalMs: 2, what: 'what is there' });
              expect(reader.contradictions).toEqual([]);
              expirations += reader.expirations;
            }
          } finally {
            abort.abort();
            await Promise.allSettled(reading);
          }
          await Promise.all(reading);
        },
      ),
      { numRuns, seed: 11 },
    );
    expect(expirations).toBeGreaterThan(0);
  }, 60_000);
});

const same = (known: ReadonlyMap<string, string>, expected: ReadonlyMap<string, string>): boolean =>
  known.size === expected.size && [...expected].every(([name, version]) => known.get(name) === version);

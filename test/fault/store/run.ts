import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createRandom } from '../../support/random.ts';
import { until } from '../../support/until.ts';
import type { Api } from './api.ts';
import { checkHistory } from './check.ts';
import { runFaults } from './faults.ts';
import { type History, isAnswered, openHistory, readHistory, recordsOf } from './history.ts';
import { type Stage, type StoreName, startStage, type Topology } from './stage.ts';
import { keys, list, resources, runClient, send } from './traffic.ts';
import { startWatcher, type Watcher, watchSession } from './watchers.ts';

/** Servers, counts and findings of one run. */
export interface RunResult {
  readonly topology: Topology;
  readonly errors: readonly string[];
  readonly faults: ReadonlyMap<string, number>;
  readonly calls: number;
  readonly unknown: number;
  readonly events: number;
  /** Kept when something is wrong. */
  readonly historyFile: string;
}

const folder = fileURLToPath(new URL('../../../node_modules/.cache/midship/store-runs', import.meta.url));
const clients = 6;
/** Traffic ends when there was enough of it, so that a busy machine checks as much as an idle one. */
const minTrafficMs = 5_000;
const maxTrafficMs = 120_000;
const minAnswers = 400;
/** A run with less than this shows nothing. */
const minLooked = 100;
const settleMs = 30_000;
const maxErrors = 20;

/**
 * Runs the life of a store by a seed: clients read, write and watch through the API while faults fire. Then all is healed, every watcher
 * has to come to the end, and the history of all answers and events is checked.
 *
 * Calls and faults interleave by time, so a seed gives the same servers and much the same acts, not the same run call by call.
 */
export async function runOnce(store: StoreName, seed: number): Promise<RunResult> {
  const random = createRandom(seed);
  const topology = drawTopology(store, random);
  mkdirSync(folder, { recursive: true });
  const historyFile = join(folder, `${store}-${seed}.jsonl`);
  const history = openHistory(historyFile);
  const stage = await startStage(topology, history);
  const errors: string[] = [];
  let faults: ReadonlyMap<string, number> = new Map();
  try {
    await stage.ready();
    faults = await underTraffic(stage, random);
  } catch (err) {
    errors.push(`Run: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`);
  } finally {
    history.flush();
    await stage.stop();
  }
  history.flush();
  const records = readHistory(historyFile);
  errors.push(...checkHistory(records));
  const calls = recordsOf(records, 'call');
  const answered = calls.filter(isAnswered).length;
  const events = recordsOf(records, 'event').length;
  if (Math.min(answered, events) < minLooked) errors.push(`Run: ${answered} calls were answered and ${events} events came: too few`);
  if (errors.length === 0) rmSync(historyFile);
  return {
    ...{ topology, errors: errors.slice(0, maxErrors), faults, historyFile },
    calls: calls.length,
    unknown: calls.length - answered,
    events,
  };
}

function drawTopology(store: StoreName, random: () => number): Topology {
  const [drawn, hasClock] = [random(), random() < 0.3];
  if (store === 'sqlite') return { store, servers: 1, members: 0, hasClock };
  if (drawn < 0.4) return { store, servers: 3, members: 3, hasClock };
  if (drawn < 0.75) return { store, servers: 3, members: 1, hasClock };
  return { store, servers: 1, members: drawn < 0.85 ? 3 : 1, hasClock };
}

async function underTraffic(stage: Stage, random: () => number): Promise<ReadonlyMap<string, number>> {
  const { history, servers } = stage;
  const apis = servers.map(({ api }) => api);
  const began = performance.now();
  let answered = 0;
  const isOver = (): boolean => {
    const ms = performance.now() - began;
    return ms > maxTrafficMs || (ms > minTrafficMs && answered >= minAnswers);
  };
  const onAnswer = (): void => {
    answered += 1;
  };
  const abort = new AbortController();
  const common = { apis, history, signal: abort.signal };
  // Each has random numbers of its own, so that the draws of one do not depend on the pace of the others.
  const own = (n: number): (() => number) => createRandom(Math.floor(random() * 2 ** 32) + n);
  const watchers = resources.flatMap((resource, at) => [
    startWatcher({ ...common, watcher: at * 10 + 1, resource, begins: 'list', random: own(1) }),
    startWatcher({ ...common, watcher: at * 10 + 2, resource, begins: 'initial events', random: own(2) }),
    startWatcher({ ...common, watcher: at * 10 + 3, resource, color: 'red', begins: at === 0 ? 'list' : 'initial events', random: own(3) }),
  ]);
  try {
    const traffic = Array.from({ length: clients }, (_, client) =>
      runClient({ client, apis, random: own(client), history, isOver, onAnswer }),
    );
    const [faults] = await Promise.all([
      runFaults(stage, { random: own(4), isOver, answered: () => answered }),
      ...traffic,
      lookBack(stage, { watchers, random: own(5), isOver, signal: abort.signal }),
    ]);
    await stage.ready();
    await settle(stage, watchers);
    return faults;
  } finally {
    abort.abort();
    await Promise.all(watchers.map(({ ended }) => ended));
  }
}

interface LookBack {
  readonly watchers: readonly Watcher[];
  readonly random: () => number;
  readonly isOver: () => boolean;
  readonly signal: AbortSignal;
}

/** Opens watches from revisions of some time ago, as a client does that was away. */
async function lookBack({ servers, history }: Stage, { watchers, random, isOver, signal }: LookBack): Promise<void> {
  for (let watcher = 100; !isOver(); watcher += 1) {
    const after = watchers[Math.floor(random() * watchers.length)]?.revision ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 300 + random() * 700));
    if (after === 0) continue;
    const { api, index: server } = servers[Math.floor(random() * servers.length)] as (typeof servers)[number];
    const resource = resources[Math.floor(random() * resources.length)] as string;
    await watchSession({ watcher, resource, api, server, after, isResumed: false, seconds: 1, history, signal }, () => undefined);
  }
}

/** Ends with a write to each resource that every watcher has to deliver, and with reads of everything by every server. */
async function settle({ servers, history }: Stage, watchers: readonly Watcher[]): Promise<void> {
  const [{ api }] = servers as [(typeof servers)[number]];
  let last = 0;
  for (const resource of resources) {
    last = (await writeLast(api, resource, history)).revision ?? 0;
  }
  // The first resource's watchers get no event of the second one's; a bookmark comes with the end of each session.
  await until(() => watchers.every(({ revision }) => revision >= last), {
    timeoutMs: settleMs,
    what: () => `every watcher is at ${last}: ${watchers.map(({ revision }) => revision).join()}`,
  });
  for (const { api, index } of servers) {
    const reader = { client: clients, server: index, random: () => 0.9, history, api };
    for (const resource of resources) {
      if ((await list(reader, resource, true)) === undefined) throw new Error(`server ${index} gave no list at the end`);
    }
    for (const key of keys) {
      history.append(await send(api, { client: clients, server: index, key, value: '', expected: undefined, verb: 'get', body: '' }));
    }
  }
}

/** A server that had no room on its disk may refuse a write until it looks again, some seconds later. */
async function writeLast(api: Api, resource: string, history: History): Promise<{ readonly revision?: number }> {
  const deadline = performance.now() + settleMs;
  for (let tries = 1; ; tries += 1) {
    const call = await send(api, {
      // Red, for watchers with a selector. A refused try must not be taken for the one that was done.
      ...{ client: clients, server: 0, key: `${resource}/end`, value: `${clients}-${resource}.${tries}-red` },
      ...{ expected: undefined, verb: 'create', body: '' },
    });
    history.append(call);
    if (call.outcome.kind === 'ok') return call.outcome;
    if (performance.now() > deadline) throw new Error(`the last write was not acknowledged: ${JSON.stringify(call)}`);
    await sleep(200);
  }
}

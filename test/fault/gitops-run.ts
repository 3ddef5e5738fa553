import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { secrets } from '../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../src/client/client.ts';
import { readRecord } from '../../src/gitops/apply/objects/secret-record.ts';
import { isConflict, isNotFound } from '../../src/machinery/status-error.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { createApps, home, namespace, startEngine } from '../support/engine.ts';
import {
  createFaults,
  createLife,
  createSteppedClock,
  endFaults,
  type FaultCounts,
  type Life,
  withFaults,
  withGitFaults,
} from '../support/faults.ts';
import { createMemoryRepository, type Files } from '../support/memory-repository.ts';
import { createRandom } from '../support/random.ts';
import { until } from '../support/until.ts';

/** In time of the engine's clock: a wait of a second lasts 50 ms. */
const speed = 20;
const appNames = ['a', 'b', 'c'] as const;
const objectNames = Array.from({ length: 10 }, (_, index) => `n${index}`);
const strangerNames = ['s0', 's1', 's2'];
const timeoutMs = 60_000;

/**
 * One life of a cluster, seeded: apps follow a repository while people commit, revert, force-push and edit objects by
 * hand. Meanwhile the engine is killed, the API refuses, Git does not answer and the clock steps. Then all that ends,
 * and the invariants are checked.
 *
 * Waits and calls interleave by time, so a seed gives the same acts and shares of faults, not the same call-by-call run.
 *
 * @throws Error that names the broken invariant
 */
export async function runOnce(seed: number, counts: FaultCounts): Promise<void> {
  const random = createRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const count = (name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);
  const faults = createFaults(random, counts);
  const clock = createSteppedClock(speed);
  const repository = createMemoryRepository('https://example.com/fault.git');
  const storage = await openMemoryStorage();
  let api: TestApi = await startTestApi({ storage });
  let people = api.clientFor(undefined, 'kubectl/test');
  const history: string[] = [];
  const done: string[] = [];
  let engine: Awaited<ReturnType<typeof startEngine>> | undefined;
  let life: Life = createLife();
  let lives: Promise<void> = Promise.resolve();

  async function startLife(): Promise<void> {
    const born = createLife();
    life = born;
    const client = withFaults(api.clientFor({ name: 'system:midship:gitops', groups: [] }, 'midship/test'), faults, born);
    // A start may hang in its first list, and dies with its process then.
    lives = startEngine({ client, clock, random, openSource: async () => withGitFaults(repository.source, faults, born) }).then(
      (started) => {
        if (life === born && !born.isOver) engine = started;
      },
    );
    lives.catch(() => undefined);
    await Promise.race([lives, new Promise((resolve) => setTimeout(resolve, 50))]);
  }

  /** The process is gone; with it, now and then, the API server, which comes back from its store. */
  async function restart(): Promise<void> {
    life.endAfter(0);
    engine = undefined;
    if (random() < 0.2) {
      count('API server killed');
      api.kubeApi.stop();
      api = await startTestApi({ storage });
      people = api.clientFor(undefined, 'kubectl/test');
    }
    await startLife();
  }

  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, random() * 25));
  const commit = (message: string, files: Files): void => void history.push(repository.commit(message, files));
  const acts: Readonly<Record<string, { readonly weight: number; act(): Promise<void> | void }>> = {
    commit: { weight: 10, act: () => commit('change', changed(repository.files(), pick, random)) },
    revert: {
      weight: 2,
      act() {
        const before = history.at(-2);
        if (before !== undefined) commit(`Revert "change"\n\nThis reverts commit ${repository.head}.`, repository.files(before));
      },
    },
    'bad commit': {
      weight: 2,
      act() {
        const files = new Map(repository.files());
        const app = pick(appNames);
        const bad = pick([
          'a: [b\n',
          'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatum: {}\n',
          'apiVersion: x.io/v1\nkind: No\nmetadata: {name: x}\n',
        ]);
        files.set(`${app}/bad.yaml`, bad);
        commit('bad', files);
      },
    },
    'app without a directory': {
      weight: 1,
      act() {
        const app = pick(appNames);
        commit('gone', new Map([...repository.files()].filter(([path]) => !path.startsWith(`${app}/`))));
      },
    },
    'object in two apps': {
      weight: 1,
      act() {
        const files = new Map(repository.files());
        for (const app of ['a', 'b']) files.set(`${app}/twice.yaml`, manifest('twice', 'x'));
        commit('twice', files);
      },
    },
    'force-push': { weight: 2, act: () => repository.moveTo(pick(history)) },
    'half-written push': { weight: 2, act: () => repository.moveTo('f'.repeat(40)) },
    kill: { weight: 4, act: restart },
    'kill in the middle of a call': {
      weight: 4,
      async act() {
        const dying = life;
        dying.endAfter(1 + Math.floor(random() * 12));
        if (random() < 0.7) commit('change', changed(repository.files(), pick, random));
        await pause();
        if (!dying.isOver) dying.endAfter(0);
        await restart();
      },
    },
    'API trouble': {
      weight: 3,
      act() {
        faults.refused = random() * 0.4;
        faults.unanswered = random() * 0.3;
        faults.slow = random() * 0.3;
        faults.lateEvents = random() * 0.5;
      },
    },
    'API well': { weight: 2, act: () => void Object.assign(faults, { refused: 0, unanswered: 0, slow: 0, lateEvents: 0 }) },
    'deletes denied': { weight: 1, act: () => void Object.assign(faults, { deletesDenied: !faults.deletesDenied }) },
    'Git trouble': {
      weight: 2,
      act() {
        faults.gitBroken = random() * 0.5;
        faults.gitHangs = random() * 0.3;
      },
    },
    'Git well': { weight: 1, act: () => void Object.assign(faults, { gitBroken: 0, gitHangs: 0 }) },
    'clock step': { weight: 2, act: () => clock.step((random() - 0.5) * 4 * 3_600_000) },
    'edit by hand': { weight: 3, act: () => editByHand(people, pick(objectNames), `by hand ${random()}`) },
    'delete by hand': { weight: 3, act: () => ignoringAbsence(people.delete(configMaps, { namespace, name: pick(objectNames) })) },
  };
  const weighted = Object.entries(acts).flatMap(([name, { weight }]) => new Array<string>(weight).fill(name));

  try {
    commit('first', firstFiles(pick, random));
    const apps = { a: {}, b: { wait: true }, c: { dependsOn: [{ name: 'a' }] } };
    await createApps(people, 'https://example.com/fault.git', apps, { interval: '2s', timeout: '100ms' });
    for (const name of strangerNames) {
      await people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data: { a: 'stranger' } });
    }
    const strangers = await strangersOf(people);
    await startLife();

    const steps = 5 + Math.floor(random() * 15);
    for (let step = 0; step < steps; step += 1) {
      const name = pick(weighted);
      count(name);
      done.push(name);
      await acts[name]?.act();
      await pause();
    }

    // All trouble ends; the newest commit is a good one.
    endFaults(faults);
    repository.moveTo(history.at(-1) ?? '');
    const files = new Map([...changed(repository.files(), pick, random)].filter(([path]) => !/bad|twice/.test(path)));
    for (const app of appNames) files.set(`${app}/keep.yaml`, manifest(`keep-${app}`, 'x'));
    commit('last', files);
    if (engine === undefined || life.isOver) await restart();

    await until(async () => (await problemOf(people, repository.head, files)) === undefined, {
      timeoutMs,
      intervalMs: 10,
      what: async () => (await problemOf(people, repository.head, files)) ?? '?',
    });
    // It comes to rest: nothing is written any more.
    await until(
      async () => {
        const before = (await people.list(kustomizations)).metadata.resourceVersion;
        await new Promise((resolve) => setTimeout(resolve, 60));
        return (await people.list(kustomizations)).metadata.resourceVersion === before;
      },
      { timeoutMs, what: 'no more writes' },
    );
    const problem = await problemOf(people, repository.head, files);
    if (problem !== undefined) throw new Error(`not for long: ${problem}`);
    if (JSON.stringify(await strangersOf(people)) !== JSON.stringify(strangers)) throw new Error('an object of someone else was touched');
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`seed ${seed}: ${what}\nafter: ${done.join(', ')}`, { cause });
  } finally {
    life.endAfter(0);
    api.kubeApi.stop();
    await storage.close();
  }
}

const manifest = (name: string, value: string, wave = 0): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n${wave === 0 ? '' : `  annotations: {argocd.argoproj.io/sync-wave: "${wave}"}\n`}data: {a: "${value}"}\n`;

function firstFiles(pick: <T>(items: readonly T[]) => T, random: () => number): Files {
  const files = new Map<string, string>();
  for (const app of appNames) files.set(`${app}/keep.yaml`, manifest(`keep-${app}`, 'x'));
  for (const name of objectNames) if (random() < 0.6) files.set(`${pick(appNames)}/${name}.yaml`, manifest(name, String(random())));
  return files;
}

/** Some objects added, changed, moved to another app or taken away. */
function changed(before: Files, pick: <T>(items: readonly T[]) => T, random: () => number): Files {
  const files = new Map([...before].filter(([path]) => !path.endsWith('bad.yaml')));
  for (let change = 0; change < 1 + random() * 4; change += 1) {
    const name = pick(objectNames);
    const at = [...files.keys()].find((path) => path.endsWith(`/${name}.yaml`));
    if (at !== undefined) files.delete(at);
    const wave = random() < 0.2 ? Math.floor(random() * 3) : 0;
    if (random() < 0.7)
      files.set(at !== undefined && random() < 0.5 ? at : `${pick(appNames)}/${name}.yaml`, manifest(name, String(random()), wave));
  }
  return files;
}

async function ignoringAbsence(promise: Promise<unknown>): Promise<void> {
  try {
    await promise;
  } catch (err) {
    if (!isNotFound(err) && !isConflict(err)) throw err;
  }
}

const editByHand = (people: Client, name: string, value: string): Promise<void> =>
  ignoringAbsence(
    people.patch(configMaps, { namespace, name }, { type: 'merge', body: { data: { a: value } } }, { fieldManager: 'kubectl-edit' }),
  );

async function strangersOf(people: Client): Promise<unknown> {
  return Promise.all(strangerNames.map((name) => people.get(configMaps, { namespace, name })));
}

/** The first thing that is not as the newest commit says; undefined when all is. */
async function problemOf(people: Client, head: string, files: Files): Promise<string | undefined> {
  const wanted = new Map<string, string>();
  for (const [path, text] of files)
    wanted.set(/name: (\S+)/.exec(text)?.[1] ?? '', `${path.split('/')[0]} ${/a: "([^"]*)"/.exec(text)?.[1]}`);
  const { items } = await people.list(configMaps, { namespace });
  const live = new Map(
    items
      .filter(({ metadata }) => !strangerNames.includes(metadata.name))
      .map(({ metadata, data }) => [metadata.name, `${metadata.labels?.['kustomize.toolkit.fluxcd.io/name']} ${data?.a}`]),
  );
  const apps = await people.list(kustomizations, { namespace: home });
  const told = (): string =>
    apps.items.map(({ metadata, status }) => `${metadata.name}: ${JSON.stringify({ ...status, history: undefined })}`).join('\n');
  for (const [name, value] of wanted) if (live.get(name) !== value) return `${name} is ${live.get(name)}, not ${value}\n${told()}`;
  for (const name of live.keys()) {
    if (wanted.has(name)) continue;
    const object = items.find(({ metadata }) => metadata.name === name);
    const owner = object?.metadata.labels?.['kustomize.toolkit.fluxcd.io/name'] ?? '';
    const [inventory, history] = await Promise.all(
      ['inventory', 'history'].map((kind) => readRecord(people, { namespace: home, name: `midship-${kind}-${owner}` })),
    );
    return `${name} was left behind: ${JSON.stringify(object)}\n${told()}\n${JSON.stringify(inventory)}\n${JSON.stringify(history)}`;
  }
  for (const { metadata, status } of apps.items) {
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status !== 'True' || status?.lastAppliedRevision !== `main@sha1:${head}`)
      return `app ${metadata.name}: ${JSON.stringify(status)}`;
    const listed = (status.inventory?.entries ?? []).map(({ id }) => id).sort();
    const due = [...wanted].filter(([, value]) => value.startsWith(`${metadata.name} `)).map(([name]) => `${namespace}_${name}__ConfigMap`);
    if (JSON.stringify(listed) !== JSON.stringify(due.sort()))
      return `inventory of ${metadata.name}: ${listed.join(' ')}, not ${due.join(' ')}`;
  }
  const kept = (await people.list(secrets)).items.map(({ metadata }) => metadata.name);
  const strange = kept.find((name) => !/^midship-(inventory|history)-[abc]$/.test(name));
  return strange === undefined ? undefined : `Secret ${strange} was left behind`;
}

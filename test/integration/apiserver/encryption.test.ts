import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type Secret, secrets } from '../../../src/api/core/v1/secret.ts';
import {
  type EncryptionConfiguration,
  ensureEncryptionConfiguration,
  parseEncryptionConfiguration,
} from '../../../src/apiserver/encryption/configuration.ts';
import { unreadableObjects } from '../../../src/apiserver/encryption/unreadable-objects.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

let directory: string;
let path: string;
let api: TestApi | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-encryption-'));
  path = join(directory, 'state.db');
});

afterEach(async () => {
  await api?.stop();
  api = undefined;
  await rm(directory, { recursive: true });
});

const keyOf = (name: string): string => `{name: ${name}, secret: ${Buffer.alloc(32, name).toString('base64')}}`;

const configurationOf = (providers: string, resources = '[secrets]'): EncryptionConfiguration =>
  parseEncryptionConfiguration(
    `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: ${resources}\n  providers: ${providers}\n`,
  );

const aesGcm = (...names: readonly string[]): string => `{aesgcm: {keys: [${names.map(keyOf).join(', ')}]}}`;

interface Start {
  readonly configuration?: EncryptionConfiguration;
  readonly purge?: boolean;
  readonly lines?: string[];
}

async function start({ configuration, purge = false, lines = [] }: Start = {}): Promise<TestApi> {
  const metrics = createMetrics();
  const log = createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } });
  api = await startTestApi({
    storage: await openSqliteStorage({ path }),
    encryption: configuration === undefined ? undefined : { configuration, purge },
    log,
    metrics,
  });
  return api;
}

async function stop(): Promise<void> {
  await api?.stop();
  api = undefined;
}

/** The store as it lies there, with nothing between. */
async function raw<T>(use: (storage: Storage) => Promise<T>): Promise<T> {
  const storage = await openSqliteStorage({ path });
  try {
    return await use(storage);
  } finally {
    await storage.close();
  }
}

const storedText = (name: string): Promise<string | undefined> =>
  raw(async (storage) => (await storage.get(`core/secrets/default/${name}`))?.text);

/** Names of files in the directory that hold the text or its base64. */
async function filesWith(value: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const file of await readdir(directory)) {
    const bytes = await readFile(join(directory, file));
    // As text, in base64 as the API has it, and in the base64 of what is stored.
    if ([value, Buffer.from(value).toString('base64')].some((form) => bytes.includes(form))) found.push(file);
  }
  return found;
}

const newSecret = (name: string, value: string) => ({
  apiVersion: 'v1' as const,
  kind: 'Secret' as const,
  metadata: { name, namespace: 'default' },
  stringData: { password: value },
});

const refOf = (name: string) => ({ namespace: 'default', name });
const passwordOf = (data: Readonly<Record<string, string>> | undefined): string =>
  Buffer.from(data?.password ?? '', 'base64').toString('utf8');

async function seed(values: Readonly<Record<string, string>>, options: Start = {}): Promise<void> {
  const { clientFor } = await start(options);
  const client = clientFor();
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } });
  for (const [name, value] of Object.entries(values)) await client.create(secrets, newSecret(name, value));
}

describe('values of Secrets on the disk', () => {
  test('are in no file, whatever became of the Secret, and come back after a restart', async () => {
    const configuration = configurationOf(`[${aesGcm('one')}, {identity: {}}]`);
    await seed({ kept: 'canary-kept-1f6b', changed: 'canary-before-8c22', deleted: 'canary-deleted-77aa' }, { configuration });
    const client = api?.clientFor();
    if (client === undefined) throw new Error('not started');
    // The search would find a plain text: a ConfigMap is not encrypted.
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: refOf('open'), data: { a: 'canary-open-90d1' } });
    const seen: string[] = [];
    void client.watch(secrets, {
      namespace: 'default',
      resourceVersion: '0',
      signal: AbortSignal.timeout(60_000),
      onEvents: (events) => void seen.push(...events.map(({ object }) => passwordOf((object as Secret).data))),
    });
    await client.patch(secrets, refOf('changed'), { type: 'merge', body: { stringData: { password: 'canary-after-3e3e' } } });
    await client.delete(secrets, refOf('deleted'));
    await until(() => seen.includes('canary-after-3e3e'), { what: 'the watch to tell the new value' });
    expect(await filesWith('canary-open-90d1')).not.toEqual([]);
    for (const value of ['canary-kept-1f6b', 'canary-before-8c22', 'canary-after-3e3e', 'canary-deleted-77aa']) {
      expect(await filesWith(value), value).toEqual([]);
    }

    await stop();
    expect(await storedText('kept')).toMatch(/^k8s:enc:aesgcm:v1:one:[A-Za-z0-9+/=]+$/);
    const again = (await start({ configuration })).clientFor();
    expect(passwordOf((await again.get(secrets, refOf('kept'))).data)).toBe('canary-kept-1f6b');
    expect(passwordOf((await again.get(secrets, refOf('changed'))).data)).toBe('canary-after-3e3e');
  });

  test('leave it when encryption comes to a store that has plain ones', async () => {
    await seed({ kept: 'canary-kept-1f6b', changed: 'canary-before-8c22', deleted: 'canary-deleted-77aa' });
    await api?.clientFor().patch(secrets, refOf('changed'), { type: 'merge', body: { stringData: { password: 'canary-after-3e3e' } } });
    await api?.clientFor().delete(secrets, refOf('deleted'));
    await stop();
    expect(await filesWith('canary-kept-1f6b')).toEqual(['state.db']);
    expect(await filesWith('canary-before-8c22')).toEqual(['state.db']);

    const lines: string[] = [];
    const { clientFor } = await start({ configuration: configurationOf(`[${aesGcm('one')}, {identity: {}}]`), lines });
    expect(passwordOf((await clientFor().get(secrets, refOf('kept'))).data)).toBe('canary-kept-1f6b');
    await until(() => lines.some((line) => line.includes('Sealed values')), { what: 'the old values to be sealed' });
    for (const value of ['canary-kept-1f6b', 'canary-before-8c22', 'canary-after-3e3e', 'canary-deleted-77aa']) {
      expect(await filesWith(value), value).toEqual([]);
    }
    expect(passwordOf((await clientFor().get(secrets, refOf('changed'))).data)).toBe('canary-after-3e3e');
  });

  test('leave it at the next start when the first one ended between sealing and removing', async () => {
    await seed({ kept: 'canary-kept-1f6b' });
    await stop();
    // A crash after the last value leaves the mark, all values sealed, and the old texts in the files.
    const configuration = configurationOf(`[${aesGcm('one')}, {identity: {}}]`);
    await raw(async (storage) => {
      await storage.create('midship/encryption/purge', { text: '{}' });
      const entry = await storage.get('core/secrets/default/kept');
      const [provider] = configuration.providersOf('core/secrets') ?? [];
      await storage.update(entry?.key ?? '', { text: provider?.seal(entry?.key ?? '', entry?.text ?? '') ?? '' }, entry?.revision ?? 0);
    });
    expect(await filesWith('canary-kept-1f6b')).toEqual(['state.db']);
    const lines: string[] = [];
    await start({ configuration, lines });
    await until(() => lines.some((line) => line.includes('Sealed values')), { what: 'the old texts to be removed' });
    expect(await filesWith('canary-kept-1f6b')).toEqual([]);
    await stop();
    expect(await raw((storage) => storage.get('midship/encryption/purge'))).toBeUndefined();
  });

  test('leave it when the key was made just now and nothing is there to be sealed', async () => {
    await seed({ deleted: 'canary-deleted-77aa' });
    await api?.clientFor().delete(secrets, refOf('deleted'));
    await stop();
    expect(await filesWith('canary-deleted-77aa')).toEqual(['state.db']);
    const lines: string[] = [];
    await start({ configuration: configurationOf(`[${aesGcm('one')}, {identity: {}}]`), purge: true, lines });
    await until(() => lines.some((line) => line.includes('Sealed values')), { what: 'the old texts to be removed' });
    expect(await filesWith('canary-deleted-77aa')).toEqual([]);
  });
});

describe('keys', () => {
  test('are replaced by a new one in front: old values are read, and sealed again', async () => {
    await seed({ a: 'canary-a', b: 'canary-b' }, { configuration: configurationOf(`[${aesGcm('one')}]`) });
    await stop();
    const lines: string[] = [];
    await start({ configuration: configurationOf(`[${aesGcm('two', 'one')}]`), lines });
    await until(() => lines.some((line) => line.includes('Sealed values')), { what: 'the values to be sealed anew' });
    await stop();
    for (const name of ['a', 'b']) expect(await storedText(name)).toMatch(/^k8s:enc:aesgcm:v1:two:/);
    const { clientFor } = await start({ configuration: configurationOf(`[${aesGcm('two')}]`) });
    expect(passwordOf((await clientFor().get(secrets, refOf('a'))).data)).toBe('canary-a');
  });

  test('for aescbc work, and identity in front removes the encryption', async () => {
    await seed({ a: 'canary-a' }, { configuration: configurationOf(`[{aescbc: {keys: [${keyOf('cbc')}]}}]`) });
    await stop();
    expect(await storedText('a')).toMatch(/^k8s:enc:aescbc:v1:cbc:/);
    const lines: string[] = [];
    await start({ configuration: configurationOf(`[{identity: {}}, {aescbc: {keys: [${keyOf('cbc')}]}}]`), lines });
    await until(() => lines.some((line) => line.includes('Sealed values')), { what: 'the value to be written plain' });
    await stop();
    expect(await storedText('a')).toContain('"kind":"Secret"');
  });

  test('seal what the configuration names, and nothing else', async () => {
    await seed({ a: 'canary-a' }, { configuration: configurationOf(`[${aesGcm('one')}]`, '[configmaps, "*.example.com"]') });
    await api?.clientFor().create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: refOf('c'), data: { a: 'x' } });
    await stop();
    expect(await storedText('a')).toContain('"kind":"Secret"');
    expect(await raw(async (storage) => (await storage.get('core/configmaps/default/c'))?.text)).toMatch(/^k8s:enc:aesgcm:v1:one:/);
    const all = configurationOf(`[${aesGcm('one')}]`, '[secrets, widgets.example.com, "*.apps", "*."]');
    const isNamed = (resource: string): boolean => all.providersOf(resource) !== undefined;
    expect(['core/secrets', 'example.com/widgets', 'apps/deployments', 'core/pods'].map(isNamed)).toEqual([true, true, true, true]);
    expect(['example.com/gadgets', 'batch/jobs'].map(isNamed)).toEqual([false, false]);
  });
});

describe('a value that cannot be decrypted', () => {
  const one = configurationOf(`[${aesGcm('one')}]`);

  async function expectSetAside(name: string, reason: RegExp, configuration: EncryptionConfiguration = one): Promise<void> {
    const lines: string[] = [];
    const { clientFor, kubeApi } = await start({ configuration, lines });
    const client = clientFor();
    expect((await client.list(secrets, { namespace: 'default' })).items.map(({ metadata }) => metadata.name)).toEqual(['well']);
    for (const attempt of [
      () => client.get(secrets, refOf(name)),
      () => client.create(secrets, newSecret(name, 'another')),
      () => client.patch(secrets, refOf(name), { type: 'merge', body: { metadata: { labels: { a: 'b' } } } }),
      () => client.patch(secrets, refOf(name), { type: 'apply', body: newSecret(name, 'another') }, { fieldManager: 'test', force: true }),
    ]) {
      await expect(attempt()).rejects.toMatchObject({
        code: 500,
        message: expect.stringMatching(new RegExp(`unable to transform key "core/secrets/default/${name}": ${reason.source}`)),
      });
    }
    expect(lines.join('\n')).toContain(`"object":"core/secrets/default/${name}"`);
    expect(unreadableObjects(kubeApi)).toMatchObject([{ object: { kind: 'Secret', metadata: refOf(name) } }]);
    // The rest works, and so does the one way out.
    await client.create(secrets, newSecret('new', 'fresh'));
    await client.delete(secrets, refOf(name));
    await client.create(secrets, newSecret(name, 'another'));
    expect(passwordOf((await client.get(secrets, refOf(name))).data)).toBe('another');
    expect(unreadableObjects(kubeApi)).toEqual([]);
  }

  test('because one bit of it is another', async () => {
    await seed({ bad: 'canary-bad', well: 'canary-well' }, { configuration: one });
    await stop();
    await raw(async (storage) => {
      const entry = await storage.get('core/secrets/default/bad');
      const text = entry?.text ?? '';
      const at = text.length - 30;
      const flipped = text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
      await storage.update('core/secrets/default/bad', { text: flipped }, entry?.revision ?? 0);
    });
    await expectSetAside('bad', /it was changed, moved, or sealed with another key/);
  });

  test('because it was moved from another Secret', async () => {
    await seed({ bad: 'canary-bad', well: 'canary-well' }, { configuration: one });
    await stop();
    await raw(async (storage) => {
      const from = await storage.get('core/secrets/default/well');
      const to = await storage.get('core/secrets/default/bad');
      await storage.update('core/secrets/default/bad', { text: from?.text ?? '' }, to?.revision ?? 0);
    });
    await expectSetAside('bad', /it was changed, moved, or sealed with another key/);
  });

  test('because its key has another name than all that are there', async () => {
    await seed({ bad: 'canary-bad' }, { configuration: one });
    await stop();
    const both = configurationOf(`[${aesGcm('two')}]`);
    const started = await start({ configuration: both });
    await started.clientFor().create(secrets, newSecret('well', 'canary-well'));
    await stop();
    await expectSetAside('bad', /no key named "one"/, both);
  });

  test('comes back with its key, unchanged', async () => {
    await seed({ a: 'canary-a' }, { configuration: one });
    await stop();
    await start({ configuration: configurationOf(`[${aesGcm('two')}]`) });
    await stop();
    const { clientFor } = await start({ configuration: one });
    expect(passwordOf((await clientFor().get(secrets, refOf('a'))).data)).toBe('canary-a');
  });
});

describe('the configuration of a data directory', () => {
  test('is made once, for its owner alone, with a key that is named for its digest', async () => {
    const file = join(directory, 'encryption.yaml');
    expect(await ensureEncryptionConfiguration(file)).toMatchObject({ isNew: true });
    const text = await readFile(file, 'utf8');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(text).toMatch(/name: key-[0-9a-f]{8}\n/);
    expect(await ensureEncryptionConfiguration(file)).toMatchObject({ isNew: false });
    expect(await readFile(file, 'utf8')).toBe(text);
  });

  test.each([
    ['[]', 'the configuration must be a map'],
    ['kind: EncryptionConfiguration', 'it is no EncryptionConfiguration of apiserver.config.k8s.io/v1'],
    [`[{secretbox: {keys: [${keyOf('one')}]}}]`, 'resources[0].providers[0].secretbox is not supported: use aesgcm'],
    [`[{aesgcm: {keys: [{name: a, secret: ${randomBytes(20).toString('base64')}}]}}]`, 'must have 16, 24 or 32 bytes; it has 20'],
    ['[{aesgcm: {keys: [{name: a, secret: "hunter2secret!"}]}}]', 'resources[0].providers[0].aesgcm.keys[0].secret must be base64'],
    [`[${aesGcm('one', 'one')}]`, 'two keys of one provider have the same name'],
    ['[{aesgcm: {keys: []}}]', 'resources[0].providers[0].aesgcm.keys must be a list with an entry'],
  ])('says what is wrong with %s, without a key', (text, reason) => {
    let message = '';
    try {
      if (text.startsWith('[{')) configurationOf(text);
      else parseEncryptionConfiguration(text);
    } catch (err) {
      message = String(err);
    }
    expect(message).toContain(reason);
    expect(message).not.toContain('hunter2secret');
  });
});

test('an API without encryption refuses sealed values one by one', async () => {
  await seed({ a: 'canary-a' }, { configuration: configurationOf(`[${aesGcm('one')}]`) });
  await stop();
  const storage = await openSqliteStorage({ path });
  api = await startTestApi({ storage, encryption: { configuration: configurationOf('[{identity: {}}]') } });
  await expect(api.clientFor().get(secrets, refOf('a'))).rejects.toThrow('no key named "one"');
});

import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { extract } from 'tar';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { ensureEncryptionConfiguration } from '../../../src/apiserver/encryption/configuration.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki } from '../../../src/base/pki.ts';
import { authoritiesOf, filesOf } from '../../../src/cli/configuration.ts';
import { supportBundle } from '../../../src/cli/support-bundle.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { temporaryDirectory } from '../../support/git.ts';

/** Each is planted in one place; a digit and letters of its own make it findable in base64, too. */
const canary = (place: string): string => `canary-${place}-7f3a9c`;

describe('midship support-bundle', () => {
  let server: TestApiServer;
  beforeAll(async () => {
    server = await startTestApiServer();
  });
  afterAll(() => server.stop());

  const metadata = (name: string) => ({ name, namespace: 'default' });

  async function plantObjects(): Promise<readonly string[]> {
    const { client } = server;
    const last = 'kubectl.kubernetes.io/last-applied-configuration';
    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { ...metadata('s'), annotations: { [last]: canary('annotation') } },
      stringData: { password: canary('secret'), short: 'hunter2' },
    });
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('c'), data: { conf: canary('config-map') } });
    await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: metadata('d'),
      spec: {
        selector: { matchLabels: { app: 'd' } },
        template: {
          metadata: { labels: { app: 'd' }, annotations: { note: canary('template') } },
          spec: {
            containers: [
              {
                name: 'main',
                image: 'shown-image',
                command: ['run', canary('command')],
                args: [`--password=${canary('args')}`],
                env: [{ name: 'SHOWN_NAME', value: canary('environment') }],
                livenessProbe: {
                  httpGet: { path: `/live?token=${canary('probe')}`, port: 80, httpHeaders: [{ name: 'a', value: canary('header') }] },
                },
              },
            ],
          },
        },
      },
    });
    await client.create(gitRepositories, {
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: metadata('g'),
      spec: { url: `https://me:${canary('address')}@shown-host.example.com/a.git`, interval: '1m' },
    });
    await client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: metadata('k'),
      spec: {
        interval: '1m',
        prune: true,
        path: './shown-path',
        sourceRef: { kind: 'GitRepository', name: 'g' },
        postBuild: { substitute: { a: canary('substitute') } },
        patches: [{ patch: `a: ${canary('patch')}` }],
      },
    });
    await client.create(events, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: metadata('e'),
      involvedObject: { kind: 'Pod', name: 'p', namespace: 'default' },
      reason: 'ShownReason',
      message: `refused ${canary('secret')} and hunter2`,
      type: 'Warning',
    });
    const places = ['annotation', 'secret', 'config-map', 'template', 'command', 'args', 'environment', 'probe', 'header', 'address'];
    return [...[...places, 'substitute', 'patch'].map(canary), 'hunter2'];
  }

  /** A data directory with keys and tokens, and logs that repeat them. */
  async function plantFiles(dataDirectory: string): Promise<readonly string[]> {
    const files = filesOf(dataDirectory);
    const { cluster, frontProxy } = authoritiesOf(dataDirectory);
    await (await openPki({ ...cluster, clock: systemClock })).signingKey();
    await openPki({ ...frontProxy, clock: systemClock });
    await ensureEncryptionConfiguration(files.encryption);
    await writeFile(files.token, `${canary('git-token')}\n`);
    await writeFile(files.pageToken, `${canary('page-token')}\n`);
    await writeFile(files.joinToken, `K10${'a'.repeat(64)}::abcdef.0123456789abcdef\n`);
    await writeFile(files.serverToken, `K10${'a'.repeat(64)}::server:${canary('server-token')}\n`);
    const keyLine = (await readFile(join(files.pki, 'ca.key'), 'utf8')).split('\n')[1] ?? '';
    const encryptionKey = /secret: (\S+)/.exec(await readFile(files.encryption, 'utf8'))?.[1] ?? '';
    const found = [canary('git-token'), canary('page-token'), canary('server-token'), '0123456789abcdef', keyLine, encryptionKey];
    await mkdir(files.logs);
    await writeFile(
      join(files.logs, 'midship.log'),
      `${'x'.repeat(3_000_000)}\n{"msg":"shown-line ${[...found, canary('secret')].join(' ')}"}\n`,
    );
    return found;
  }

  it('has findings, logs, metrics and objects, and nothing of what is planted in every place that may hold a secret', async () => {
    const dataDirectory = await temporaryDirectory('bundle');
    const planted = [...(await plantObjects()), ...(await plantFiles(dataDirectory))];
    const place = await temporaryDirectory('out');
    const file = join(place, 'bundle.tar.gz');
    const told: string[] = [];
    const make = () =>
      supportBundle({
        file,
        force: false,
        dataDirectory,
        kubeconfig: server.kubeconfig,
        environment: { PATH: '' },
        output: new Writable({ write: (chunk, _encoding, done) => done(void told.push(String(chunk))) }),
        version: '0.0.0',
        now: Date.now,
        openStore: () => Promise.reject(new Error('there is no store')),
        checkMachine: async () => [{ check: 'machine', result: 'ok', what: `shown-finding ${canary('git-token')}` }],
      });
    expect(await make()).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(place)).toEqual(['bundle.tar.gz']);
    await expect(make()).rejects.toThrow('exists');
    const opened = await temporaryDirectory('opened');
    await extract({ file, cwd: opened });
    const entries = await readdir(opened, { recursive: true, withFileTypes: true });
    const contents = await Promise.all(
      entries
        .filter((entry) => entry.isFile())
        .map(async ({ parentPath, name }) => [name, await readFile(join(parentPath, name), 'utf8')] as const),
    );
    const all = contents.map(([, content]) => content).join('\n');
    for (const value of planted) {
      for (const form of [value, Buffer.from(value).toString('base64').replace(/=+$/, '')]) {
        const holders = contents.filter(([, content]) => content.includes(form)).map(([name]) => name);
        expect(holders, value).toEqual([]);
      }
    }
    for (const value of [
      'shown-image',
      'SHOWN_NAME',
      'shown-host',
      'shown-path',
      'ShownReason',
      'shown-line',
      'shown-finding',
      'apiserver_request_total',
    ])
      expect(all, value).toContain(value);
    expect(Object.fromEntries(contents)['midship.log']?.length).toBeLessThan(2_200_000);
    expect(told.join('')).not.toContain('without objects');
  });
});

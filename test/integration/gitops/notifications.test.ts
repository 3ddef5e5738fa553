import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { type Alert, alerts } from '../../../src/api/notification/v1beta3/alert.ts';
import { type Provider, providers } from '../../../src/api/notification/v1beta3/provider.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki } from '../../../src/base/pki.ts';
import { isForbidden, type PostError, post } from '../../../src/gitops/notify/http-post.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { serveProxy } from '../../support/git-remote.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: messages of every shape
  readonly json: any;
}

interface Receiver {
  readonly url: string;
  readonly received: Received[];
}

type Answer = (response: ServerResponse, received: Received, index: number) => void;

/** Receives messages and answers them, with 200 by default. */
async function startReceiver(answer: Answer = (response) => void response.end()): Promise<Receiver> {
  const received: Received[] = [];
  const server: Server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    request.on('end', () => {
      const message = {
        path: request.url ?? '',
        headers: request.headers,
        text,
        get json() {
          return JSON.parse(text);
        },
      };
      received.push(message);
      answer(response, message, received.length - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

const configMap = (name: string, value: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\ndata: {a: "${value}"}\n`;
const broken = configMap('a', '2').replace('\ndata:', '\ndate:');
const apiVersion = 'notification.toolkit.fluxcd.io/v1beta3';
const namespace = 'flux-system';

async function startWorld(): Promise<EngineWorld> {
  const world = await startEngineWorld({ 'web/a.yaml': configMap('a', '1') });
  cleanups.push(() => world.stop());
  return world;
}

const addProvider = (world: EngineWorld, spec: Provider['spec'], name = 'p'): Promise<Provider> =>
  world.client.create(providers, { apiVersion, kind: 'Provider', metadata: { name, namespace }, spec });

/** An alert that has begun to listen: its Secret exists, and it gets all later events. */
async function addAlert(world: EngineWorld, spec: Partial<Alert['spec']> = {}): Promise<void> {
  await world.client.create(alerts, {
    apiVersion,
    kind: 'Alert',
    metadata: { name: 'a', namespace },
    spec: { providerRef: { name: 'p' }, eventSources: [{ kind: 'Kustomization', name: '*' }], ...spec },
  });
  const listens = async (): Promise<boolean> =>
    (await world.client.list(secrets, { namespace })).items.some(({ metadata }) => metadata.name === 'midship-notified-a');
  await until(listens, { what: 'the alert listens' });
}

const addSecret = (world: EngineWorld, stringData: Readonly<Record<string, string>>, name = 'token') =>
  world.client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, stringData });

const addApp = (world: EngineWorld) =>
  world.client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'web', namespace },
    spec: { interval: '1m', prune: true, path: './web', sourceRef: { kind: 'GitRepository', name: 'cluster' } },
  });

async function settled(world: EngineWorld, sha: string, ready: 'True' | 'False' = 'True'): Promise<void> {
  await until(
    async () => {
      const { status } = await world.client.get(kustomizations, { namespace, name: 'web' });
      const at = ready === 'True' ? status?.lastAppliedRevision : status?.lastAttemptedRevision;
      return at === `main@sha1:${sha}` && status?.conditions?.find(({ type }) => type === 'Ready')?.status === ready;
    },
    { what: `web is settled at ${sha}` },
  );
}

const eventsAbout = async (world: EngineWorld, kind: string) =>
  (await world.client.list(events, { namespace })).items.filter(({ involvedObject }) => involvedObject.kind === kind);

/** Messages that a receiver gets, given up when there are more than expected. */
const messages = (receiver: Receiver, count: number): Promise<readonly Received[]> =>
  until(() => receiver.received.length >= count && receiver.received, { what: `${count} messages; there are ${receiver.received.length}` });

/** Once a marker sent behind it has arrived, nothing else is on its way. */
async function sendMarker(world: EngineWorld, receiver: Receiver): Promise<readonly Received[]> {
  const before = receiver.received.length;
  const sha = await world.repository.commit('marker', { 'web/marker.yaml': configMap('marker', String(before)) });
  await until(() => receiver.received.some(({ text }) => text.includes(sha)), { what: 'the marker arrives' });
  return receiver.received.slice(
    0,
    receiver.received.findIndex(({ text }) => text.includes(sha)),
  );
}

describe('notifications', () => {
  it('tell a generic receiver of each end that a commit comes to: what changed, who did it, and what failed', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addSecret(world, { address: `${receiver.url}/hook?key=hidden`, headers: 'X-Team: blue\nHost: evil.example.com\n' });
    await addProvider(world, { type: 'generic', secretRef: { name: 'token' } });
    await addAlert(world, { summary: 'home', eventMetadata: { env: 'prod', revision: 'mine' } });
    const first = await world.repository.git('rev-parse', 'HEAD');
    await addApp(world);
    const [applied] = await messages(receiver, 1);
    expect(applied?.path).toBe('/hook?key=hidden');
    expect(applied?.headers).toMatchObject({
      'x-team': 'blue',
      'gotk-component': 'kustomize-controller',
      host: new URL(receiver.url).host,
    });
    expect(applied?.json).toMatchObject({
      involvedObject: { kind: 'Kustomization', name: 'web', namespace, apiVersion: 'kustomize.toolkit.fluxcd.io/v1' },
      severity: 'info',
      reason: 'ReconciliationSucceeded',
      message: `ConfigMap web/a created\nApplied revision: main@sha1:${first}`,
      metadata: { summary: 'home', env: 'prod', author: 'Mara', revision: `main@sha1:${first}` },
      reportingController: 'kustomize-controller',
    });

    const bad = await world.repository.commit('typo', { 'web/a.yaml': broken });
    await messages(receiver, 2);
    expect(receiver.received[1]?.json).toMatchObject({
      severity: 'error',
      reason: 'ReconciliationFailed',
      message: expect.stringContaining('web/a.yaml:4:1'),
      metadata: { revision: `main@sha1:${bad}` },
    });
    // A further failed try is not reported, nor is a commit that does not touch the app.
    await world.repository.commit('elsewhere', { 'README.md': 'x' });
    await world.repository.git('revert', '--no-edit', bad);
    await messages(receiver, 3);
    expect(receiver.received.map(({ json }) => json.severity)).toEqual(['info', 'error', 'info']);
  });

  it('are not sent again by a restarted engine, and not for states from before the alert', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addApp(world);
    await settled(world, await world.repository.git('rev-parse', 'HEAD'));
    await addProvider(world, { type: 'generic', address: receiver.url });
    await addAlert(world);
    const second = await world.repository.commit('two', { 'web/a.yaml': configMap('a', '2') });
    await messages(receiver, 1);
    expect(receiver.received[0]?.json.metadata.revision).toBe(`main@sha1:${second}`);
    await world.restartEngine();
    const before = await sendMarker(world, receiver);
    expect(before.map(({ json }) => json.metadata.revision)).toEqual([`main@sha1:${second}`]);
  });

  it('treat an app that was deleted and created again as a new one', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addProvider(world, { type: 'generic', address: receiver.url });
    await addAlert(world);
    await addApp(world);
    await messages(receiver, 1);
    await world.client.delete(kustomizations, { namespace, name: 'web' });
    const isGone = async (): Promise<boolean> => (await world.client.list(kustomizations, { namespace })).items.length === 0;
    await until(isGone, { what: 'the app is gone' });
    await addApp(world);
    await messages(receiver, 2);
    expect(receiver.received[1]?.json.metadata.revision).toBe(receiver.received[0]?.json.metadata.revision);
  });

  it('are signed, and filtered by severity', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addSecret(world, { token: 'a-secret-key' });
    await addProvider(world, { type: 'generic-hmac', address: receiver.url, secretRef: { name: 'token' } });
    await addAlert(world, { eventSeverity: 'error' });
    await addApp(world);
    await settled(world, await world.repository.git('rev-parse', 'HEAD'));
    await world.repository.commit('typo', { 'web/a.yaml': broken });
    const [signed] = await messages(receiver, 1);
    expect(signed?.json.severity).toBe('error');
    expect(signed?.headers['x-signature']).toBe(
      `sha256=${createHmac('sha256', 'a-secret-key')
        .update(signed?.text ?? '')
        .digest('hex')}`,
    );
    expect(signed?.text).not.toContain('a-secret-key');
  });

  it('reach Slack as a webhook takes them', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addSecret(world, { address: `${receiver.url}/services/T0/B0/hidden` });
    await addProvider(world, { type: 'slack', channel: 'ops', username: 'ship', secretRef: { name: 'token' } });
    await addAlert(world);
    await addApp(world);
    const [message] = await messages(receiver, 1);
    expect(message?.json).toMatchObject({
      channel: 'ops',
      username: 'ship',
      attachments: [
        { color: 'good', author_name: 'kustomization/web.flux-system', text: expect.stringContaining('ConfigMap web/a created') },
      ],
    });
    expect(message?.json.attachments[0].fields).toContainEqual({ title: 'author', value: 'Mara', short: false });
  });

  it.each([
    ['github', '/api/v3/repos/me/infra/statuses/', { authorization: 'Bearer t0ken' }, 'failure', 'context'],
    ['gitea', '/api/v1/repos/me/infra/statuses/', { authorization: 'token t0ken' }, 'failure', 'context'],
    ['gitlab', '/api/v4/projects/me%2Finfra/statuses/', { 'private-token': 't0ken' }, 'failed', 'name'],
  ] as const)('set the status of a commit on %s', async (type, path, headers, failure, context) => {
    const world = await startWorld();
    const receiver = await startReceiver((response) => void response.writeHead(201).end('{}'));
    await addSecret(world, { token: 't0ken' });
    const provider = await addProvider(world, { type, address: `${receiver.url}/me/infra.git`, secretRef: { name: 'token' } });
    await addAlert(world);
    await addApp(world);
    const first = await world.repository.git('rev-parse', 'HEAD');
    await until(() => receiver.received.some(({ json }) => json.state === 'success'), { what: 'success' });
    const bad = await world.repository.commit('typo', { 'web/a.yaml': broken });
    const last = await until(() => receiver.received.find(({ path: at }) => at.endsWith(bad)), { what: 'the failure' });
    expect(receiver.received.every(({ path: at }) => at.startsWith(path))).toBe(true);
    expect(last.headers).toMatchObject(headers);
    expect(last.json).toMatchObject({
      state: failure,
      description: 'reconciliation failed',
      [context]: `kustomization/web/${provider.metadata.uid?.slice(0, 8)}`,
    });
    const states = receiver.received.filter(({ path: at }) => at.endsWith(first)).map(({ json }) => json.state);
    // The end, and at most one pending before it.
    expect(states.at(-1)).toBe('success');
    expect(states.slice(0, -1).length).toBeLessThanOrEqual(1);
    expect(states.slice(0, -1).every((state) => state === 'pending')).toBe(true);
    // A commit that changed nothing of the app has no status.
    const other = await world.repository.commit('elsewhere', { 'README.md': 'x' });
    await settled(world, other, 'False');
    expect(receiver.received.filter(({ path: at }) => at.endsWith(other))).toEqual([]);
  });

  it('are tried again when a receiver fails or is slow, and then are sent once', async () => {
    const world = await startWorld();
    const receiver = await startReceiver((response, _message, index) => {
      // The second one is never answered.
      if (index === 0) response.writeHead(500).end('internal secret');
      else if (index > 1) response.end();
    });
    await addProvider(world, { type: 'generic', address: `${receiver.url}/hidden-path`, timeout: '2s' });
    await addAlert(world);
    await addApp(world);
    await messages(receiver, 3);
    expect(new Set(receiver.received.map(({ text }) => JSON.parse(text).metadata.revision)).size).toBe(1);
    const told = await until(async () => (await eventsAbout(world, 'Alert')).find(({ reason }) => reason === 'NotificationFailed'), {
      what: 'an Event on the alert',
    });
    expect(told.message).toBe(`provider p: ${new URL(receiver.url).host} answered 500; tried again`);
    expect((await sendMarker(world, receiver)).length).toBe(3);
    expect(await world.metrics()).toMatch(/^gitops_notifications_total\{type="generic",result="failed"\} 2$/m);
  });

  it('are sent over TLS to who shows a certificate of the Secret’s authority, and to nobody else', async () => {
    const world = await startWorld();
    const directory = await temporaryDirectory('notify-pki');
    const pki = await openPki({ directory, clock: systemClock });
    const { certificate, key } = await pki.serverCertificate({ name: 'hook', commonName: 'hook', hosts: ['127.0.0.1'] });
    const texts: string[] = [];
    const server = createTlsServer({ cert: certificate, key }, (request, response) => {
      request.setEncoding('utf8').on('data', (chunk: string) => texts.push(chunk));
      request.on('end', () => response.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => void server.close());
    await addProvider(world, { type: 'generic', address: `https://127.0.0.1:${(server.address() as AddressInfo).port}` });
    await addAlert(world);
    await addApp(world);
    const refused = await until(async () => (await eventsAbout(world, 'Alert')).find(({ reason }) => reason === 'NotificationFailed'), {
      what: 'an Event on the alert',
    });
    expect(refused.message).toMatch(/cannot be reached: (SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE); tried again$/);
    expect(texts).toEqual([]);
    await addSecret(world, { 'ca.crt': pki.caCertificate }, 'ca');
    await world.client.patch(providers, { namespace, name: 'p' }, { type: 'merge', body: { spec: { certSecretRef: { name: 'ca' } } } });
    await until(() => texts.length > 0, { what: 'the message over TLS' });
  });

  it('follow no redirect, which would take the token elsewhere, and say so', async () => {
    const world = await startWorld();
    const elsewhere = await startReceiver();
    const receiver = await startReceiver((response) => void response.writeHead(307, { Location: elsewhere.url }).end());
    await addSecret(world, { token: 't0ken' });
    await addProvider(world, { type: 'generic-hmac', address: receiver.url, secretRef: { name: 'token' } });
    await addAlert(world);
    await addApp(world);
    const dropped = await until(async () => (await eventsAbout(world, 'Alert')).find(({ reason }) => reason === 'NotificationDropped'), {
      what: 'an Event on the alert',
    });
    expect(dropped.message).toContain('answered 307: redirects are not followed; not tried again');
    expect([receiver.received.length, elsewhere.received.length]).toEqual([1, 0]);
  });

  it('say what a provider lacks, is not there, or cannot do, and go on when that is changed', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addAlert(world);
    await addApp(world);
    const eventOf = (wanted: string) =>
      until(async () => (await eventsAbout(world, 'Alert')).find(({ reason }) => reason === wanted)?.message, { what: wanted });
    expect(await eventOf('ProviderNotFound')).toBe('provider p does not exist');
    await addProvider(world, { type: 'pagerduty', address: receiver.url });
    expect(await eventOf('NotSupported')).toBe('provider p: not supported: spec.type pagerduty');
    const change = (spec: Partial<Provider['spec']>) =>
      world.client.patch(providers, { namespace, name: 'p' }, { type: 'merge', body: { spec } });
    await change({ type: 'generic-hmac' });
    expect(await eventOf('InvalidProvider')).toBe('provider p: a provider of type generic-hmac needs a Secret with the key token');
    await change({ type: 'generic' });
    await messages(receiver, 1);
  });

  it('go out the moment that a Secret of the provider comes, or is repaired', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addProvider(world, { type: 'generic-hmac', secretRef: { name: 'late' } });
    await addAlert(world);
    await addApp(world);
    const problem = (text: string) =>
      until(async () => (await eventsAbout(world, 'Alert')).find(({ message }) => message?.includes(text)), { what: text });
    await problem('secret flux-system/late does not exist');
    await addSecret(world, { address: receiver.url }, 'late');
    await problem('needs a Secret with the key token');
    await world.client.patch(secrets, { namespace, name: 'late' }, { type: 'merge', body: { stringData: { token: 't0ken' } } });
    const [message] = await messages(receiver, 1);
    expect(message?.headers['x-signature']).toBe(
      `sha256=${createHmac('sha256', 't0ken')
        .update(message?.text ?? '')
        .digest('hex')}`,
    );
  });

  it('reach one receiver while many to another are never answered', async () => {
    const world = await startWorld();
    const silent = await startReceiver(() => undefined);
    const receiver = await startReceiver();
    await addProvider(world, { type: 'generic', address: silent.url, timeout: '60s' }, 'silent');
    await addProvider(world, { type: 'generic', address: receiver.url });
    for (let index = 0; index < 8; index += 1) {
      await world.client.create(alerts, {
        apiVersion,
        kind: 'Alert',
        metadata: { name: `silent${index}`, namespace },
        spec: {
          providerRef: { name: 'silent' },
          eventSources: [
            { kind: 'Kustomization', name: '*' },
            { kind: 'GitRepository', name: '*' },
          ],
        },
      });
    }
    await addApp(world);
    await messages(silent, 2);
    await addAlert(world);
    const sha = await world.repository.commit('two', { 'web/a.yaml': configMap('a', '2') });
    await until(() => receiver.received.some(({ text }) => text.includes(sha)), { what: 'the other receiver hears of it' });
    expect(silent.received.length).toBe(2);
  });

  it('use the proxy of a Secret, with its password', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    const proxy = await serveProxy('swordfish');
    cleanups.push(() => proxy.stop());
    await addSecret(world, { address: proxy.address, username: 'midship', password: 'guess' }, 'way');
    await addProvider(world, { type: 'generic', address: `${receiver.url}/hook`, proxySecretRef: { name: 'way' } });
    await addAlert(world);
    await addApp(world);
    await until(() => proxy.requests.length > 0, { what: 'the proxy is asked' });
    expect(receiver.received).toEqual([]);
    await world.client.patch(secrets, { namespace, name: 'way' }, { type: 'merge', body: { stringData: { password: 'swordfish' } } });
    await messages(receiver, 1);
    expect(new Set(proxy.requests)).toEqual(new Set([`POST ${receiver.url}/hook`]));
    expect(receiver.received[0]?.headers).not.toHaveProperty('proxy-authorization');
  });

  it('carry what the app’s annotations say, and are filtered by all that they say', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addProvider(world, { type: 'generic', address: receiver.url });
    await addAlert(world, { inclusionList: ['ConfigMap web/wanted created'], eventMetadata: { team: 'alert' } });
    const app = await addApp(world);
    const annotated = { 'event.toolkit.fluxcd.io/team': 'app', 'event.toolkit.fluxcd.io/change': '42', other: 'x' };
    await world.client.patch(
      kustomizations,
      { namespace, name: app.metadata.name },
      { type: 'merge', body: { metadata: { annotations: annotated } } },
    );
    await settled(world, await world.repository.commit('not this', { 'web/b.yaml': configMap('b', '1') }));
    const sha = await world.repository.commit('this', { 'web/c.yaml': configMap('wanted', '1') });
    const [message] = await messages(receiver, 1);
    expect(message?.json.metadata).toEqual({ team: 'alert', change: '42', author: 'Mara', revision: `main@sha1:${sha}` });
    expect(receiver.received).toHaveLength(1);
  });

  it('name a commit status as an expression says, and say what is wrong with it', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addSecret(world, { token: 't0ken' });
    const address = `${receiver.url}/me/infra`;
    const expression = "alert.metadata.name + '/' + event.involvedObject.name + '/' + provider.metadata.name";
    await addProvider(world, { type: 'gitea', address, secretRef: { name: 'token' }, commitStatusExpr: `${expression} + 1` });
    await addAlert(world);
    await addApp(world);
    await until(async () => (await eventsAbout(world, 'Alert')).find(({ message }) => message?.includes('spec.commitStatusExpr')), {
      what: 'the Event that says so',
    });
    await world.client.patch(providers, { namespace, name: 'p' }, { type: 'merge', body: { spec: { commitStatusExpr: expression } } });
    const [status] = await messages(receiver, 1);
    expect(status?.json).toMatchObject({ context: 'a/web/p' });
  });

  it('stop while the alert or its provider is suspended, and then tell how it is', async () => {
    const world = await startWorld();
    const receiver = await startReceiver();
    await addProvider(world, { type: 'generic', address: receiver.url, suspend: true });
    await addAlert(world);
    await addApp(world);
    const second = await world.repository.commit('two', { 'web/a.yaml': configMap('a', '2') });
    await settled(world, second);
    await world.client.patch(providers, { namespace, name: 'p' }, { type: 'merge', body: { spec: { suspend: false } } });
    await messages(receiver, 1);
    expect(receiver.received[0]?.json.metadata.revision).toBe(`main@sha1:${second}`);
  });
});

describe('a message', () => {
  const send = (url: string, more: { readonly timeoutMs?: number } = {}): Promise<PostError | undefined> =>
    post({ url, headers: {}, body: '{}' }, { timeoutMs: 2_000, signal: new AbortController().signal, ...more }).then(
      () => undefined,
      (err: PostError) => err,
    );

  it('is not sent to where a machine’s own metadata answers, whatever way that is written', async () => {
    for (const host of [
      '169.254.169.254',
      '[fe80::1]',
      '[::ffff:169.254.169.254]',
      '[::ffff:a9fe:a9fe]',
      '0.0.0.0',
      '100.100.100.200',
      '255.255.255.255',
      '2852039166',
    ]) {
      expect(await send(`http://${host}/latest/meta-data/?key=hidden`), host).toMatchObject({ isFinal: true });
    }
    expect(['127.0.0.1', '10.0.0.1', '192.168.1.1', '::1', 'fd00::1', '1.1.1.1'].filter(isForbidden)).toEqual([]);
  });

  it('reads no more of an answer than it needs, and repeats none of it nor of the address', async () => {
    const receiver = await startReceiver((response) => {
      response.writeHead(403);
      const flood = (): void => {
        while (!response.destroyed && response.write('token=hidden '.repeat(10_000)));
        if (!response.destroyed) response.once('drain', flood);
      };
      flood();
    });
    const err = await send(`${receiver.url}/hidden`);
    expect(err).toMatchObject({ message: `${new URL(receiver.url).host} answered 403`, isFinal: false });
  });

  it('says within bounds when the receiver wants it again, and when it will never be accepted', async () => {
    const codes = [429, 503, 503, 422, 401, 429, 429];
    const waits = [
      '7',
      '100000',
      'tomorrow',
      undefined,
      undefined,
      new Date(0).toUTCString(),
      new Date(Date.now() + 86_400_000).toUTCString(),
    ];
    const receiver = await startReceiver((response, _message, index) => {
      const wait = waits[index];
      response.writeHead(codes[index] ?? 200, wait === undefined ? {} : { 'Retry-After': wait }).end();
    });
    const seen: unknown[] = [];
    for (const _ of codes) {
      const err = await send(receiver.url);
      seen.push([err?.retryAfterMs, err?.isFinal]);
    }
    expect(seen).toEqual([
      [7_000, false],
      [600_000, false],
      [undefined, false],
      [undefined, true],
      [undefined, false],
      [0, false],
      [600_000, false],
    ]);
  });

  it('gives up on a receiver that says nothing, is not there, or does not speak HTTP', async () => {
    const silent = await startReceiver(() => undefined);
    expect(await send(silent.url, { timeoutMs: 100 })).toMatchObject({ message: expect.stringContaining('did not answer within 100 ms') });
    expect(await send('http://127.0.0.1:1/hidden')).toMatchObject({ message: '127.0.0.1:1 cannot be reached: ECONNREFUSED' });
    const nonsense = createTcpServer((socket) => void socket.end('hidden nonsense\r\n\r\n'));
    await new Promise<void>((resolve) => nonsense.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => void nonsense.close());
    const err = await send(`http://127.0.0.1:${(nonsense.address() as AddressInfo).port}/`);
    expect(err?.message).toMatch(/^127\.0\.0\.1:\d+ cannot be reached: HPE_/);
  });
});

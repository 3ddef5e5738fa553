import { createHash, createHmac } from 'node:crypto';
import http from 'node:http';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { type ReceiverSpec, receivers } from '../../../src/api/notification/v1/receiver.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { annotations } from '../../../src/api/well-known.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createActivityFeed } from '../../../src/base/contracts/activity.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createTurnGate } from '../../../src/base/turn-gate.ts';
import { createWebhooks, type Webhooks } from '../../../src/gitops/webhooks/webhooks.ts';
import { createWeb, type Web } from '../../../src/web/server.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const token = 'correct-horse-battery-staple';
const namespace = 'flux-system';

const gitopsMetrics = createMetrics();
let plane: ControlPlane;
let web: Web;

beforeAll(async () => {
  let webhooks: Webhooks | undefined;
  plane = await startControlPlane({
    controllers: [
      (dependencies) => {
        webhooks = createWebhooks({ ...dependencies, gitopsMetrics });
        return webhooks;
      },
    ],
  });
  const { client, informers } = plane;
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'token', namespace }, stringData: { token } });
  web = createWeb({
    address: '127.0.0.1',
    port: 0,
    informers,
    activity: createActivityFeed(),
    mounts: webhooks === undefined ? [] : [webhooks.mount],
    metrics: {},
    ready: () => true,
    gate: createTurnGate({ clock: systemClock }),
    clock: systemClock,
    log: pino({ level: 'silent' }),
    clusterName: 'test',
    version: '0.0.0',
  });
  await web.start({ signal: AbortSignal.timeout(30_000) });
});
afterAll(async () => {
  await web.stop();
  await plane.stop();
});

/** A repository of this name and a Receiver for it; resolves with the path once it is known. */
async function receiver(name: string, spec: Partial<ReceiverSpec> & Pick<ReceiverSpec, 'type'>): Promise<string> {
  const { client } = plane;
  await client.create(gitRepositories, {
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name, namespace, labels: { team: name } },
    spec: { url: 'https://example.com/x.git', interval: '1h' },
  });
  await client.create(receivers, {
    apiVersion: 'notification.toolkit.fluxcd.io/v1',
    kind: 'Receiver',
    metadata: { name, namespace },
    spec: { secretRef: { name: 'token' }, resources: [{ kind: 'GitRepository', name }], ...spec },
  });
  const { status } = await until(
    async () => {
      const object = await client.get(receivers, { namespace, name });
      return (object.status?.conditions?.length ?? 0) > 0 && object;
    },
    { what: `Receiver ${name} has a status` },
  );
  return status?.webhookPath ?? '';
}

const post = async (path: string, body = '', headers: Record<string, string> = {}): Promise<number> =>
  (await fetch(web.url + path, { method: 'POST', body, headers })).status;
/** A request whose path is sent as it is written. */
const ask = (method: string, path: string, headers: Record<string, string> = {}): Promise<number> =>
  new Promise((resolve, reject) => {
    const request = http.request({ port: new URL(web.url).port, method, path, headers }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('error', reject);
    request.end();
  });
const requestedAt = async (name: string): Promise<string | undefined> =>
  (await plane.client.get(gitRepositories, { namespace, name })).metadata.annotations?.[annotations.reconcileRequestedAt];
const hmac = (body: string, algorithm = 'sha256', key = token): string => createHmac(algorithm, key).update(body).digest('hex');
const readyOf = async (name: string) =>
  (await plane.client.get(receivers, { namespace, name })).status?.conditions?.find(({ type }) => type === 'Ready');

describe('a Receiver', () => {
  it('without a spec says so, and no request reaches it', async () => {
    const { client } = plane;
    await client.create(receivers, {
      apiVersion: 'notification.toolkit.fluxcd.io/v1',
      kind: 'Receiver',
      metadata: { name: 'bare', namespace },
    });
    await until(async () => (await readyOf('bare'))?.status === 'False', { what: 'a condition' });
    expect(await readyOf('bare')).toMatchObject({ reason: 'NotSupported', message: 'not supported: a Receiver without spec' });
    // A path that somebody wrote into the status opens nothing.
    await client.patch(
      receivers,
      { namespace, name: 'bare' },
      { type: 'merge', body: { status: { webhookPath: '/hook/x' } } },
      { subresource: 'status' },
    );
    expect(await post('/hook/x')).toBe(404);
  });

  it('has the path that Flux gives it, and annotates what it names', async () => {
    const path = await receiver('generic', { type: 'generic' });
    expect(path).toBe(`/hook/${createHash('sha256').update(`${token}generic${namespace}`).digest('hex')}`);
    expect(await readyOf('generic')).toMatchObject({
      status: 'True',
      reason: 'Succeeded',
      message: `Receiver initialized for path: ${path}`,
    });
    expect(await requestedAt('generic')).toBeUndefined();
    expect(await post(path)).toBe(200);
    expect(Date.parse((await requestedAt('generic')) ?? '')).toBeGreaterThan(0);
  });

  it('finds objects by label, and apps', async () => {
    const { client } = plane;
    await client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'app', namespace },
      spec: { interval: '1h', prune: true, sourceRef: { kind: 'GitRepository', name: 'x' } },
    });
    const resources: ReceiverSpec['resources'] = [
      { kind: 'GitRepository', name: '*', matchLabels: { team: 'labels' } },
      { kind: 'Kustomization', name: 'app' },
    ];
    const path = await receiver('labels', { type: 'generic', resources });
    await until(() => plane.informers.get(gitRepositories).getByKey(`${namespace}/labels`) !== undefined, { what: 'the cache has it' });
    expect(await post(path)).toBe(200);
    expect(await requestedAt('labels')).toBeDefined();
    expect((await client.get(kustomizations, { namespace, name: 'app' })).metadata.annotations).toHaveProperty([
      annotations.reconcileRequestedAt,
    ]);
  });

  it('says what it has no support for, and takes no requests', async () => {
    expect(await receiver('harbor', { type: 'harbor' })).toBe('');
    expect(await readyOf('harbor')).toMatchObject({ status: 'False', reason: 'NotSupported', message: 'not supported: spec.type harbor' });
    await receiver('filter', { type: 'github', resourceFilter: 'true' });
    expect(await readyOf('filter')).toMatchObject({ message: 'not supported: spec.resourceFilter' });
    await receiver('secretless', { type: 'github', secretRef: { name: 'gone' } });
    expect(await readyOf('secretless')).toMatchObject({ status: 'False', reason: 'TokenNotFound' });
  });

  const body = JSON.stringify({ ref: 'refs/heads/main', after: 'a'.repeat(40) });
  const other = JSON.stringify({ ref: 'refs/heads/evil' });
  it.each([
    ['github', 'github', { 'x-hub-signature-256': `sha256=${hmac(body)}`, 'x-github-event': 'push' }],
    ['gitea', 'gitea', { 'x-gitea-signature': hmac(body), 'x-gitea-event': 'push' }],
    ['forgejo', 'gitea', { 'x-forgejo-signature': hmac(body), 'x-forgejo-event': 'Push' }],
    ['gogs', 'gogs', { 'x-gogs-signature': hmac(body), 'x-gogs-event': 'push' }],
    ['bitbucket', 'bitbucket', { 'x-hub-signature': `sha256=${hmac(body)}`, 'x-event-key': 'push' }],
    ['gitea-as-github', 'github', { 'x-hub-signature-256': `sha256=${hmac(body)}`, 'x-github-event': 'push', 'x-gitea-event': 'push' }],
    ['hmac', 'generic-hmac', { 'x-signature': `sha512=${hmac(body, 'sha512')}` }],
    ['gitlab', 'gitlab', { 'x-gitlab-token': token, 'x-gitlab-event': 'push' }],
  ] as const)('with type %s accepts requests that are signed with its token', async (name, type, headers) => {
    const path = await receiver(name, { type, events: ['push'] });
    expect(await post(path, body, headers)).toBe(200);
    expect(await requestedAt(name)).toBeDefined();
  });

  it.each([
    ['no signature', 'github', body, { 'x-github-event': 'push' }],
    [
      'a signature of another token',
      'github',
      body,
      { 'x-hub-signature-256': `sha256=${hmac(body, 'sha256', 'guess')}`, 'x-github-event': 'push' },
    ],
    ['a signature of another body', 'github', other, { 'x-hub-signature-256': `sha256=${hmac(body)}`, 'x-github-event': 'push' }],
    ['a cut signature', 'github', body, { 'x-hub-signature-256': `sha256=${hmac(body).slice(0, 10)}`, 'x-github-event': 'push' }],
    ['an empty signature', 'github', body, { 'x-hub-signature-256': 'sha256=', 'x-github-event': 'push' }],
    [
      'an algorithm that GitHub no longer uses',
      'github',
      body,
      { 'x-hub-signature-256': `sha1=${hmac(body, 'sha1')}`, 'x-github-event': 'push' },
    ],
    ['an algorithm that is none', 'generic-hmac', body, { 'x-signature': `md5=${hmac(body, 'md5')}` }],
    ['an event that is not listed', 'github', body, { 'x-hub-signature-256': `sha256=${hmac(body)}`, 'x-github-event': 'issues' }],
    ['a digest of another token', 'gogs', body, { 'x-gogs-signature': hmac(body, 'sha256', 'guess'), 'x-gogs-event': 'push' }],
    ['a signature for another type', 'gogs', body, { 'x-gitea-signature': hmac(body), 'x-gogs-event': 'push' }],
    ['a Bitbucket push that is not signed', 'bitbucket', body, { 'x-event-key': 'push' }],
    ['a wrong token', 'gitlab', body, { 'x-gitlab-token': `${token}x`, 'x-gitlab-event': 'push' }],
    ['no token', 'gitlab', body, { 'x-gitlab-event': 'push' }],
  ] as const)('refuses %s', async (what, type, sent, headers) => {
    const name = what.replaceAll(' ', '-').toLowerCase();
    const path = await receiver(name, { type, events: ['push'] });
    expect(await post(path, sent, headers)).toBe(400);
    expect(await requestedAt(name)).toBeUndefined();
  });

  it('acts on a delivery that is sent again, and at most once a second on a flood of them', async () => {
    const path = await receiver('again', { type: 'github' });
    const headers = { 'x-hub-signature-256': `sha256=${hmac(body)}`, 'x-github-event': 'push', 'x-github-delivery': 'one' };
    expect(await post(path, body, headers)).toBe(200);
    const first = await requestedAt('again');
    expect(first).toBeDefined();
    for (let index = 0; index < 20; index += 1) expect(await post(path, body, headers)).toBe(200);
    await until(async () => (await requestedAt('again')) !== first, { what: 'the repeated delivery acts' });
    const second = await requestedAt('again');
    expect(Date.parse(second ?? '') - Date.parse(first ?? '')).toBeGreaterThan(900);
  });

  it('does not mind the newline that a file of the token ends with', async () => {
    const { client } = plane;
    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'from-file', namespace },
      stringData: { token: `${token}\n` },
    });
    const secretRef = { name: 'from-file' };
    const github = await receiver('newline-github', { type: 'github', secretRef });
    expect(await post(github, body, { 'x-hub-signature-256': `sha256=${hmac(body)}` })).toBe(200);
    const gitlab = await receiver('newline-gitlab', { type: 'gitlab', secretRef });
    expect(await post(gitlab, body, { 'x-gitlab-token': token })).toBe(200);
    expect(await post(gitlab, body, { 'x-gitlab-token': '' })).toBe(400);
  });

  it('refuses what does not say its event where only some are meant', async () => {
    const github = await receiver('silent-github', { type: 'github', events: ['push'] });
    expect(await post(github, body, { 'x-hub-signature-256': `sha256=${hmac(body)}` })).toBe(400);
    const gitlab = await receiver('silent-gitlab', { type: 'gitlab', events: ['Push Hook'] });
    expect(await post(gitlab, body, { 'x-gitlab-token': token })).toBe(400);
    expect(await post(gitlab, body, { 'x-gitlab-token': token, 'x-gitlab-event': 'push hook' })).toBe(200);
    // Its senders have no word for it.
    const generic = await receiver('silent-generic', { type: 'generic', events: ['push'] });
    expect(await post(generic)).toBe(200);
  });

  it('means nothing by a star without labels, as with Flux, and says so to the sender', async () => {
    const resources: ReceiverSpec['resources'] = [
      { kind: 'GitRepository', name: '*' },
      { kind: 'GitRepository', name: 'star' },
    ];
    await receiver('bystander', { type: 'generic' });
    const path = await receiver('star', { type: 'generic', resources });
    await until(() => plane.informers.get(gitRepositories).getByKey(`${namespace}/star`) !== undefined, { what: 'the cache has it' });
    expect(await post(path)).toBe(500);
    expect(await requestedAt('star')).toBeDefined();
    expect(await requestedAt('bystander')).toBeUndefined();
  });

  it('is ready the moment its Secret comes, and has another path the moment it is changed', async () => {
    const { client } = plane;
    expect(await receiver('awaits', { type: 'generic', secretRef: { name: 'comes-late' } })).toBe('');
    expect(await readyOf('awaits')).toMatchObject({ status: 'False', reason: 'TokenNotFound' });
    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'comes-late', namespace },
      stringData: { token: 'a' },
    });
    await until(async () => (await readyOf('awaits'))?.status === 'True', { what: 'the Receiver is ready' });
    await client.patch(secrets, { namespace, name: 'comes-late' }, { type: 'merge', body: { stringData: { token: 'b' } } });
    const path = `/hook/${createHash('sha256').update(`bawaits${namespace}`).digest('hex')}`;
    await until(async () => (await post(path)) === 200, { what: 'the new path is known' });
  });

  it('is not found by a wrong path, another method, or the path of a token that was changed, and nothing tells them apart', async () => {
    const path = await receiver('rotated', { type: 'generic', secretRef: { name: 'rotating' } }).catch(() => '');
    expect(path).toBe('');
    await plane.client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'second', namespace },
      stringData: { token: 'old' },
    });
    const old = await receiver('changed', { type: 'generic', secretRef: { name: 'second' } });
    expect(await post(old)).toBe(200);
    await plane.client.patch(secrets, { namespace, name: 'second' }, { type: 'merge', body: { stringData: { token: 'new' } } });
    const paths = [old, `/hook/${'0'.repeat(64)}`, '/hook/', '/hook/../status.json', `${old}/`, '/hook/%2e%2e/status.json'];
    expect(await Promise.all(paths.map((each) => ask('POST', each)))).toEqual(paths.map(() => 404));
    expect((await fetch(web.url + old)).status).toBe(404);
    expect(await (await fetch(`${web.url}/hook/${'0'.repeat(64)}`, { method: 'POST' })).text()).toBe('');
  });

  it('is reached by any host name, which the pages are not', async () => {
    const path = await receiver('proxied', { type: 'generic' });
    expect(await ask('POST', path, { host: 'hooks.example.com' })).toBe(200);
    expect(await ask('GET', '/status.json', { host: 'hooks.example.com' })).toBe(403);
  });

  it('reads no more of a body than a Git host sends, and keeps none of it', async () => {
    const path = await receiver('large', { type: 'github' });
    const chunk = Buffer.alloc(1024 * 1024);
    let sent = 0;
    await new Promise<void>((resolve) => {
      const request = http.request({ port: new URL(web.url).port, method: 'POST', path }, ({ statusCode }) => {
        expect(statusCode).toBe(413);
        request.destroy();
      });
      // The connection may break before the answer is read: it is closed while there is more to send.
      request.on('error', () => undefined);
      request.on('close', resolve);
      const send = (): void => {
        sent += chunk.byteLength;
        if (!request.destroyed && sent < 1024 * chunk.byteLength) request.write(chunk, () => setImmediate(send));
      };
      send();
    });
    expect(sent).toBeLessThan(100 * chunk.byteLength);
  });

  it('takes nothing while it is suspended', async () => {
    const path = await receiver('paused', { type: 'generic' });
    await plane.client.patch(receivers, { namespace, name: 'paused' }, { type: 'merge', body: { spec: { suspend: true } } });
    await until(async () => (await post(path)) === 503, { what: 'suspended' });
    const before = await requestedAt('paused');
    expect(await post(path)).toBe(503);
    // A request to another Receiver comes after, and its effect is there first.
    expect(await post(await receiver('running', { type: 'generic' }))).toBe(200);
    await until(async () => (await requestedAt('running')) !== undefined, { what: 'the later request to have its effect' });
    expect(await requestedAt('paused')).toBe(before);
    // Once it is resumed the same request is taken.
    await plane.client.patch(receivers, { namespace, name: 'paused' }, { type: 'merge', body: { spec: { suspend: false } } });
    await until(async () => (await post(path)) === 200, { what: 'resumed' });
    await until(async () => (await requestedAt('paused')) !== before, { what: 'the effect of the request after that' });
  });

  it('is counted by its type and by what became of the request, and what names no Receiver by neither path nor token', async () => {
    const count = async (provider: string, result: string): Promise<number> => {
      const lines = (await gitopsMetrics.text()).split('\n');
      const head = `gitops_webhook_requests_total{provider="${provider}",result="${result}"} `;
      return Number(lines.find((line) => line.startsWith(head))?.slice(head.length));
    };
    const path = await receiver('counted', { type: 'gitlab' });
    const before = [await count('gitlab', 'refused'), await count('unknown', 'not_found')];
    expect(await ask('POST', path)).toBe(400);
    expect(await ask('POST', '/hook/unknown')).toBe(404);
    expect([await count('gitlab', 'refused'), await count('unknown', 'not_found')]).toEqual(before.map((each) => each + 1));
  });
});

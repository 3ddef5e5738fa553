import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Cluster } from '../../../src/cli/compose/cluster.ts';
import { createHttpClient, type HttpClient } from '../../../src/client/http-client.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import type { DynamicObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { adminToken, startTestApiServer } from '../../support/api-server.ts';
import { newRepository, temporaryDirectory, type WorkTree } from '../../support/git.ts';
import { startInProcess } from '../../support/in-process-cluster.ts';
import { until } from '../../support/until.ts';
import { type Answer, type Ask, ask, startWeb } from '../../support/web.ts';

const manifests = (word: string): string => `apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: web}
data: {greeting: ${word}}
---
apiVersion: v1
kind: Secret
metadata: {name: door, namespace: web}
stringData: {password: open-sesame-42}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: web}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {tolerations: [{operator: Exists}], containers: [{name: main, image: shop, env: [{name: COPY, value: open-sesame-42}]}]}
`;

/** Service accounts: one may read ConfigMaps of one namespace and apps, the other nothing. */
const rights = [
  ['v1', 'ServiceAccount', { metadata: { name: 'reader', namespace: 'web' } }],
  ['v1', 'ServiceAccount', { metadata: { name: 'nobody', namespace: 'web' } }],
  [
    'rbac.authorization.k8s.io/v1',
    'Role',
    { metadata: { name: 'reader', namespace: 'web' }, rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }] },
  ],
  [
    'rbac.authorization.k8s.io/v1',
    'Role',
    {
      metadata: { name: 'reader', namespace: 'flux-system' },
      rules: [{ apiGroups: ['kustomize.toolkit.fluxcd.io'], resources: ['kustomizations'], verbs: ['get'] }],
    },
  ],
  ...['web', 'flux-system'].map((namespace) => [
    'rbac.authorization.k8s.io/v1',
    'RoleBinding',
    {
      metadata: { name: 'reader', namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace: 'web' }],
    },
  ]),
] as const;

const path = '/apps/flux-system/flux-system';

describe('users of the API on the page', () => {
  let cluster: Cluster;
  let client: HttpClient;
  let port: number;
  let host: string;
  let repository: WorkTree;

  beforeAll(async () => {
    const data = join(await temporaryDirectory('users'), 'data');
    repository = await newRepository('fleet', { 'web.yaml': manifests('hello') });
    ({ cluster } = await startInProcess(data, { repository: repository.directory }));
    const { namespace: _, ...connection } = await loadKubeconfig(join(data, 'kubeconfig'));
    client = createHttpClient({ ...connection, userAgent: 'test' });
    ({ host } = new URL(cluster.endpoints.http));
    port = Number(new URL(cluster.endpoints.http).port);
    await until(() => cluster.status().matches, {
      what: () => `the app matches Git: ${JSON.stringify(cluster.status())}`,
      timeoutMs: 30_000,
    });
    const known = await client.discover();
    for (const [apiVersion, kind, rest] of rights as readonly (readonly [string, string, object])[]) {
      const resource = known.find((each) => each.kind === kind) as unknown as Resource<DynamicObject>;
      await client.create(resource, { apiVersion, kind, ...rest } as DynamicObject);
    }
  });
  afterAll(async () => {
    client?.close();
    await cluster?.stop();
  });

  /** As a browser sends it from a page of this server. */
  const send = (to: string, { Cookie, form, ...headers }: Record<string, string | undefined>, more: Ask = {}): Promise<Answer> =>
    ask(port, to, {
      method: 'POST',
      body: form === undefined ? '' : `form=${form}`,
      ...more,
      headers: given({
        Host: host,
        Origin: `http://${host}`,
        'Sec-Fetch-Site': 'same-origin',
        'Content-Type': 'application/x-www-form-urlencoded',
        Cookie,
        ...headers,
      }),
    });
  const given = (headers: Record<string, string | undefined>): Record<string, string> =>
    Object.fromEntries(Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
  const cookieIn = ({ headers }: Answer): string => (headers['set-cookie']?.[0] ?? '').split(';', 1)[0] ?? '';
  const ownerSession = async (): Promise<string> => {
    const { pageOwnerTokenFile = '' } = cluster.endpoints;
    const Authorization = `Bearer ${(await readFile(pageOwnerTokenFile, 'utf8')).trim()}`;
    const { body } = await ask(port, '/login/links', { method: 'POST', headers: { Authorization } });
    return cookieIn(await ask(port, (JSON.parse(body.toString()) as { path: string }).path));
  };
  const tokenOf = async (name: string): Promise<string> => {
    const accounts = (await client.discover()).find(({ resource }) => resource === 'serviceaccounts') as unknown as Resource<DynamicObject>;
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
    const answer = await client.createSubresource<DynamicObject, DynamicObject>(accounts, { namespace: 'web', name }, 'token', body);
    return (answer.status as { readonly token: string }).token;
  };
  const sessionOf = async (name: string): Promise<string> => {
    const answer = await send('/login', {}, { body: `token=${await tokenOf(name)}` });
    expect([answer.code, answer.headers.location]).toEqual([303, '/']);
    return cookieIn(answer);
  };
  const read = async (to: string, Cookie = ''): Promise<string> => (await ask(port, to, { headers: { Cookie } })).body.toString();
  const formIn = async (Cookie: string): Promise<string> => / name="form" value="([\w-]+)"/.exec(await read(path, Cookie))?.[1] ?? '';
  const app = (): Promise<Kustomization> => client.get(kustomizations, { namespace: 'flux-system', name: 'flux-system' });
  const objectPath = (id: string): string => `${path}?object=${encodeURIComponent(id)}`;

  it('sees names and states without a login, and neither fields, logs nor buttons', async () => {
    const html = await read(objectPath('web_settings__ConfigMap'));
    expect(html).toMatch(/ConfigMap<\/span> <b>settings<\/b>[\s\S]*Matches Git/);
    expect(html).toContain('href="/login"');
    expect(html).not.toContain('hello');
    const [pod = ''] = /\/logs\/web\/shop-[\w-]+/.exec(html) ?? [];
    expect(await read(pod)).toContain('href="/login"');
    expect((await ask(port, `${pod}/stream`)).code).toBe(401);
    expect((await send(`${path}/suspend`, { form: 'x' })).code).toBe(401);
    expect((await app()).spec.suspend).toBeUndefined();
  });

  it('shows the owner objects, with values of Secrets masked wherever they are', async () => {
    const Cookie = await ownerSession();
    expect(await read(objectPath('web_settings__ConfigMap'), Cookie)).toMatch(/<pre class="manifest"[\s\S]*greeting: hello/);
    const secret = await read(objectPath('web_door__Secret'), Cookie);
    expect(secret).toMatch(/password: (&quot;|'|&#39;)?\*\*\*/);
    const deployment = await read(objectPath('web_shop_apps_Deployment'), Cookie);
    expect(deployment).toContain('name: COPY');
    for (const html of [secret, deployment]) {
      expect(html).not.toContain('open-sesame');
      expect(html).not.toContain(Buffer.from('open-sesame-42').toString('base64'));
    }
  });

  it('shows what a commit changes, to users who may read the objects', async () => {
    const sha = await repository.commit('settings: greet in Welsh', { 'web.yaml': manifests('shwmae').replace('sesame-42', 'sesame-43') });
    await until(async () => (await app()).status?.lastAppliedRevision?.endsWith(sha), { what: 'the commit is in force' });
    const diff = `${path}?tab=history&commit=${sha}`;
    const ofOwner = await read(diff, await ownerSession());
    expect(ofOwner).toMatch(/-\s+greeting: hello\n[\s\S]*\+\s+greeting: shwmae\n/);
    expect(ofOwner).not.toContain('open-sesame');
    const ofReader = await read(diff, await sessionOf('reader'));
    expect(ofReader).toContain('  greeting: shwmae');
    expect(ofReader).toMatch(/Secret<\/span> web\/door[\s\S]*You may not read this object/);
    const ofNobody = await read(diff, await sessionOf('nobody'));
    expect(ofNobody).not.toContain('  greeting: shwmae');
    expect(ofNobody).toContain('The API refuses');
    expect(await read(diff)).not.toContain('  greeting: shwmae');
  });

  it('names changed fields to everybody, and shows their values to users who may read the object', async () => {
    const settings = (await client.discover()).find(({ resource }) => resource === 'configmaps') as unknown as Resource<DynamicObject>;
    const id = 'web_settings__ConfigMap';
    const isHeld = async (): Promise<boolean> =>
      ((await app()).status?.conditions ?? []).some(({ type, message }) => type === 'Drifted' && message.includes('held until'));
    // The engine puts back the first three, and leaves the fourth.
    for (let change = 1; !(await isHeld()); change += 1) {
      expect(change).toBeLessThan(6);
      const body = { data: { greeting: `by-hand-${change}` } };
      await client.patch(settings, { namespace: 'web', name: 'settings' }, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
      await until(
        async () =>
          (await isHeld()) || (await read('/events')).split(/ConfigMap web\/settings: data\.greeting[^<]*, put back/).length > change,
        { what: () => `change ${change} is put back or left` },
      );
    }
    const { pageOwnerTokenFile = '' } = cluster.endpoints;
    const owner = { Authorization: `Bearer ${(await readFile(pageOwnerTokenFile, 'utf8')).trim()}` };
    const [reader, nobody] = [await sessionOf('reader'), await sessionOf('nobody')];
    const places = [
      '/',
      path,
      objectPath(id),
      '/events',
      '/status.json',
      ...['history', 'events', 'conditions'].map((tab) => `${path}?tab=${tab}`),
    ];
    for (const place of places) {
      for (const Cookie of ['', nobody]) {
        const html = await read(place, Cookie);
        expect(html, place).toMatch(/data\.greeting/);
        expect(html, place).not.toMatch(/hello|shwmae|by-hand/);
      }
    }
    const stream = await fetch(`http://${host}/events/stream?path=${encodeURIComponent(path)}`);
    const first = await stream.body?.getReader().read();
    expect(Buffer.from(first?.value ?? []).toString()).not.toMatch(/hello|shwmae|by-hand/);

    expect(await read(objectPath(id), reader)).toMatch(/data\.greeting shwmae → by-hand-4 by kubectl-edit/);
    expect((await ask(port, '/status.json', { headers: owner })).body.toString()).toMatch(/data\.greeting shwmae → by-hand-4/);
  });

  it('lets the rights of a user decide, not those of the page', async () => {
    const [reader, nobody] = [await sessionOf('reader'), await sessionOf('nobody')];
    expect(await read('/', reader)).toContain('system:serviceaccount:web:reader');
    expect(await read(objectPath('web_settings__ConfigMap'), reader)).toContain('greeting:');
    for (const [Cookie, id] of [
      [reader, 'web_door__Secret'],
      [reader, 'web_shop_apps_Deployment'],
      [nobody, 'web_settings__ConfigMap'],
    ] as const) {
      const html = await read(objectPath(id), Cookie);
      expect(html).toMatch(/The API refuses: .* is forbidden: User &quot;system:serviceaccount:web/);
      expect(html).not.toContain('<pre class="manifest"');
    }
    const [log = ''] = /\/logs\/web\/shop-[\w-]+/.exec(await read(path)) ?? [];
    expect(await read(log, reader)).toContain('The API refuses');
    const answer = await send(`${path}/suspend`, { Cookie: reader, form: await formIn(reader) });
    expect(answer.code).toBe(403);
    expect(answer.body.toString()).toMatch(/The API refuses to suspend flux-system: .*cannot patch resource "kustomizations"/);
    expect((await app()).spec.suspend).toBeUndefined();
  });

  it('acts for a user who may, and notes who it was', async () => {
    const Cookie = await ownerSession();
    const form = await formIn(Cookie);
    for (const action of ['sync', 'suspend', 'resume'] as const) {
      const before = await app();
      const { code, headers } = await send(`${path}/${action}`, { Cookie, form });
      expect([code, headers.location], action).toEqual([303, path]);
      const after = await app();
      expect(after.metadata.resourceVersion).not.toBe(before.metadata.resourceVersion);
      expect(after.spec.suspend).toBe(action === 'suspend' ? true : undefined);
      expect(after.metadata.annotations?.['midship.dev/suspended-by']).toBe(action === 'suspend' ? 'admin' : undefined);
    }
    expect((await app()).metadata.annotations?.['reconcile.fluxcd.io/requestedAt']).toMatch(/^20/);
  });

  it('refuses forms that no page of this server made for this session', async () => {
    const [Cookie, other] = [await ownerSession(), await ownerSession()];
    const form = await formIn(Cookie);
    const before = (await app()).metadata.resourceVersion;
    const attacks: Readonly<Record<string, Record<string, string | undefined>>> = {
      'a foreign site': { Cookie, form, Origin: 'http://evil.example' },
      'another port of this machine': { Cookie, form, Origin: 'http://127.0.0.1:1' },
      'a sandboxed frame': { Cookie, form, Origin: 'null' },
      'no origin': { Cookie, form, Origin: undefined },
      'a site with the same name': { Cookie, form, 'Sec-Fetch-Site': 'same-site' },
      'a name that points here': { Cookie, form, Host: 'evil.example', Origin: 'http://evil.example' },
      'a guessed secret': { Cookie, form: 'x'.repeat(form.length) },
      'no secret': { Cookie },
      'the secret of another session': { Cookie, form: await formIn(other) },
    };
    for (const [name, headers] of Object.entries(attacks)) expect((await send(`${path}/suspend`, headers)).code, name).toBe(403);
    // Another address than the one that logged in, no cookie, another method.
    expect((await send(`${path}/suspend`, { Cookie, form }, { from: '127.0.0.9' })).code).toBe(401);
    expect((await send(`${path}/suspend`, { form })).code).toBe(401);
    expect((await ask(port, `${path}/suspend?form=${form}`, { headers: { Cookie } })).code).toBe(404);
    for (const action of ['delete', 'SUSPEND', 'suspend%2f', '..%2fsync'])
      expect((await send(`${path}/${action}`, { Cookie, form })).code).toBe(404);
    expect((await send(`${path}/suspend`, { Cookie }, { body: `form=${'x'.repeat(40_000)}` })).code).toBe(413);
    expect((await app()).metadata.resourceVersion).toBe(before);
  });

  it('keeps names and secrets of users out of pages that others get', async () => {
    const Cookie = await ownerSession();
    const form = await formIn(Cookie);
    expect(form).toMatch(/^[\w-]{32}$/);
    for (const to of [path, '/', '/login']) {
      expect(await read(to)).not.toContain(form);
      expect(await read(to)).not.toContain('>admin<');
    }
    const abort = new AbortController();
    const stream = await fetch(`http://${host}/events/stream?path=${encodeURIComponent(path)}`, {
      headers: { Cookie },
      signal: abort.signal,
    });
    let text = '';
    for await (const chunk of stream.body ?? []) {
      text += Buffer.from(chunk).toString();
      if (text.includes('\n\n') && text.includes('snapshot')) break;
    }
    abort.abort();
    // The buttons of users come by the stream, which all users share; secrets do not.
    expect(text).toContain('formaction');
    expect(text).not.toContain(form);
  });

  it('ends a session by its own form alone', async () => {
    const Cookie = await ownerSession();
    const form = await formIn(Cookie);
    expect((await send('/logout', { Cookie, form: 'wrong' })).code).toBe(403);
    expect(await read(path, Cookie)).toContain(form);
    expect((await send('/logout', { Cookie, form })).code).toBe(303);
    expect(await read(path, Cookie)).not.toContain(form);
    expect((await send(`${path}/sync`, { Cookie, form })).code).toBe(401);
  });

  it('refuses tokens that the API does not know, and too many of them', async () => {
    const logIn = (token: string): Promise<Answer> => send('/login', {}, { body: `token=${token}`, from: '127.0.0.7' });
    for (const token of ['', 'wrong', 'a%0d%0ab', 'x'.repeat(20_000)]) {
      const { code, headers } = await logIn(token);
      expect([code, headers['set-cookie']], token.slice(0, 9)).toEqual([401, undefined]);
    }
    const codes = await Promise.all(Array.from({ length: 25 }, () => logIn('wrong').then(({ code }) => code)));
    expect(codes).toContain(429);
    expect((await send('/login', { Origin: 'http://evil.example' }, { body: 'token=x' })).code).toBe(403);
  });
});

it('asks a user of the API for the right to the page where the page asks for a login', async () => {
  const server = await startTestApiServer();
  const { caCertificate } = server.serverOptions.tls;
  const { port, stop } = await startWeb({ token: 'swordfish', users: { api: { server: server.server.url, caCertificate } } });
  try {
    const logIn = (token: string): Promise<Answer> =>
      ask(port, '/login', {
        method: 'POST',
        body: `token=${token}`,
        headers: { Origin: `http://127.0.0.1:${port}`, Host: `127.0.0.1:${port}` },
      });
    const alice = await logIn(server.aliceToken);
    expect([alice.code, alice.headers['set-cookie']]).toEqual([403, undefined]);
    expect(alice.body.toString()).toContain('/midship.dev/v1/page');
    const admin = await logIn(adminToken);
    const Cookie = (admin.headers['set-cookie']?.[0] ?? '').split(';', 1)[0] ?? '';
    expect((await ask(port, '/', { headers: { Cookie } })).code).toBe(200);
    expect((await ask(port, '/')).code).toBe(401);
  } finally {
    await stop();
    await server.stop();
  }
});

import { connect, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import { adminToken, type FetchResult, startTestApiServer, type TestApiServer } from '../support/api-server.ts';
import { until } from '../support/until.ts';

/**
 * Crosses every verb with every possible error of a request, and adds requests that mean harm. Each answer must be the
 * Status of the real server, with the same code in it as in the head. An error of the client is no 500.
 */

const configMaps = '/api/v1/namespaces/default/configmaps';
const deployments = '/apis/apps/v1/namespaces/default/deployments';
const json = 'application/json';
const mergePatch = 'application/merge-patch+json';
const strategicPatch = 'application/strategic-merge-patch+json';
const jsonPatch = 'application/json-patch+json';
const applyPatch = 'application/apply-patch+yaml';

interface Wrong {
  readonly code: number;
  readonly reason?: string;
  readonly message?: string | RegExp;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly type?: string;
  readonly body?: unknown;
}

const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x:1' }] } };
const deploymentSpec = { replicas: 0, selector: { matchLabels: { a: 'b' } }, template };
const typed = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } };

/** One request of each verb, all of them good; the objects are a ConfigMap `c` and a Deployment `d`. */
const verbs: Readonly<Record<string, Request>> = {
  get: { method: 'GET', path: `${configMaps}/c` },
  list: { method: 'GET', path: configMaps },
  watch: { method: 'GET', path: `${configMaps}?watch=true&timeoutSeconds=1` },
  create: { method: 'POST', path: configMaps, type: json, body: { metadata: { name: 'new' } } },
  update: { method: 'PUT', path: `${configMaps}/c`, type: json, body: { metadata: { name: 'c' }, data: { u: '1' } } },
  'json patch': { method: 'PATCH', path: `${configMaps}/c`, type: jsonPatch, body: [{ op: 'add', path: '/data', value: { j: '1' } }] },
  'merge patch': { method: 'PATCH', path: `${configMaps}/c`, type: mergePatch, body: { data: { m: '1' } } },
  'strategic patch': { method: 'PATCH', path: `${configMaps}/c`, type: strategicPatch, body: { data: { s: '1' } } },
  apply: { method: 'PATCH', path: `${configMaps}/c?fieldManager=t`, type: applyPatch, body: { ...typed, data: { a: '1' } } },
  delete: { method: 'DELETE', path: `${configMaps}/c` },
  'delete collection': { method: 'DELETE', path: `${configMaps}?labelSelector=none` },
  'get status': { method: 'GET', path: `${deployments}/d/status` },
  'update status': {
    method: 'PUT',
    path: `${deployments}/d/status`,
    type: json,
    body: { metadata: { name: 'd' }, spec: deploymentSpec, status: { replicas: 0 } },
  },
  'patch status': { method: 'PATCH', path: `${deployments}/d/status`, type: mergePatch, body: { status: { replicas: 0 } } },
  'get scale': { method: 'GET', path: `${deployments}/d/scale` },
  'update scale': { method: 'PUT', path: `${deployments}/d/scale`, type: json, body: { metadata: { name: 'd' }, spec: { replicas: 0 } } },
  'patch scale': { method: 'PATCH', path: `${deployments}/d/scale`, type: mergePatch, body: { spec: { replicas: 0 } } },
};
const all = Object.entries(verbs);
const withBody = all.filter(([, { body }]) => body !== undefined);
const writes = all.filter(([, { method }]) => method !== 'GET');
const named = all.filter(([, { path }]) => /\/[cd](\/|\?|$)/.test(path));

const and = (path: string, query: string): string => `${path}${path.includes('?') ? '&' : '?'}${query}`;

/** A custom resource that accepts anything. */
const definition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'things.bad.example' },
  spec: {
    group: 'bad.example',
    scope: 'Namespaced',
    names: { plural: 'things', singular: 'thing', kind: 'Thing', listKind: 'ThingList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

let cluster: TestApiServer;

beforeAll(async () => {
  const storage = await openMemoryStorage();
  // An older server's revisions, which this one has forgotten.
  for (const name of ['a', 'b', 'c']) await storage.create(`history/${name}`, { text: '{}' });
  await storage.compact(storage.currentRevision);
  cluster = await startTestApiServer({ storage });
  await send({ method: 'POST', path: configMaps, type: json, body: { metadata: { name: 'c' }, data: { a: '1' } } });
  await send({ method: 'POST', path: deployments, type: json, body: { metadata: { name: 'd' }, spec: deploymentSpec } });
});
afterAll(() => cluster.stop());

const send = ({ method, path, type, body }: Request, headers: Readonly<Record<string, string>> = {}): Promise<FetchResult> =>
  cluster.fetch(path, {
    method,
    ...(body === undefined ? {} : { body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
    headers: { ...(type === undefined ? {} : { 'content-type': type }), ...headers },
  });

function expectWrong(result: FetchResult, { code, reason, message }: Wrong, what: string): void {
  expect.soft(result.status, `${what}: ${result.text.slice(0, 300)}`).toBe(code);
  if (result.status !== code) return;
  expect.soft(result.json, what).toMatchObject({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', code });
  expect.soft(typeof result.json.message, what).toBe('string');
  if (reason !== undefined) expect.soft(result.json.reason ?? '', what).toBe(reason);
  if (typeof message === 'string') expect.soft(result.json.message, what).toBe(message);
  else if (message !== undefined) expect.soft(result.json.message, what).toMatch(message);
}

describe('every verb', () => {
  it('is good as it is written here', async () => {
    const bodies = { ...typed, data: { a: '1' } };
    for (const [what, request] of all) {
      const result = await send(
        request.method === 'DELETE' || what === 'create' ? { ...request, path: and(request.path, 'dryRun=All') } : request,
      );
      expect.soft(result.status, `${what}: ${result.text}`).toBe(what === 'create' ? 201 : 200);
    }
    expect((await send({ method: 'PUT', path: `${configMaps}/c`, type: json, body: bodies })).status).toBe(200);
  });

  it('is refused without good credentials, and without rights', async () => {
    for (const [what, request] of all) {
      const wrongToken = await send(request, { authorization: 'Bearer nobody' });
      expectWrong(wrongToken, { code: 401, reason: 'Unauthorized', message: 'Unauthorized' }, what);
      const alice = await send(request, { authorization: `Bearer ${cluster.aliceToken}` });
      expectWrong(alice, { code: 403, reason: 'Forbidden', message: /forbidden: User "alice" cannot \w+ resource "/ }, what);
    }
  });

  it('does not find what is not there', async () => {
    for (const [what, request] of named) {
      const path = request.path.replace(/\/[cd](?=\/|\?|$)/, '/gone');
      const rename = (body: unknown): unknown =>
        typeof body === 'object' && body !== null && 'metadata' in body ? { ...body, metadata: { name: 'gone' } } : body;
      if (what === 'apply') continue;
      const result = await send({ ...request, path, ...(request.body === undefined ? {} : { body: rename(request.body) }) });
      expectWrong(result, { code: 404, reason: 'NotFound', message: /^(configmaps|deployments\.apps) "gone" not found$/ }, what);
    }
    for (const [what, request] of all) {
      const unknown = request.path.replace('/configmaps', '/unknowns').replace('/deployments', '/unknowns');
      const why = 'the server could not find the requested resource';
      expectWrong(await send({ ...request, path: unknown }), { code: 404, reason: 'NotFound', message: why }, what);
      const nowhere = await send({ ...request, path: request.path.replace(/^\/(api\/v1|apis\/apps\/v1)/, '/apis/nowhere.example/v1') });
      expect.soft({ status: nowhere.status, text: nowhere.text }, what).toEqual({ status: 404, text: '404 page not found\n' });
    }
    const elsewhere = await send({
      method: 'POST',
      path: '/api/v1/namespaces/gone/configmaps',
      type: json,
      body: { metadata: { name: 'a' } },
    });
    expectWrong(elsewhere, { code: 404, reason: 'NotFound', message: 'namespaces "gone" not found' }, 'create in no namespace');
  });

  it('names what an apply or an endpoint lacks', async () => {
    const bare = { apiVersion: 'v1', kind: 'ConfigMap' };
    const why = 'the name of the object (gone based on URL) was undeterminable: name must be provided';
    for (const body of [bare, { ...bare, metadata: null }, { ...bare, metadata: {} }]) {
      const apply = { method: 'PATCH', path: `${configMaps}/gone?fieldManager=t`, type: applyPatch, body };
      expectWrong(await send(apply), { code: 400, reason: 'BadRequest', message: why }, 'apply without a name');
    }
    const present = await send({ method: 'PATCH', path: `${configMaps}/c?fieldManager=t`, type: applyPatch, body: bare });
    expect(present.status, present.text).toBe(200);
    const status = { method: 'PATCH', path: `${deployments}/gone/status?fieldManager=t`, type: applyPatch };
    const named = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'gone' }, status: { replicas: 0 } };
    expectWrong(await send({ ...status, body: named }), { code: 404, reason: 'NotFound' }, 'apply of the status of what is not there');
    const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
    for (const endpoints of [[{}], [{ addresses: null }], [null]]) {
      const body = { metadata: { name: 's' }, addressType: 'IPv4', endpoints };
      const result = await send({ method: 'POST', path: slices, type: json, body });
      expectWrong(
        result,
        { code: 422, reason: 'Invalid', message: /endpoints\[0\]\.addresses: Required value/ },
        JSON.stringify(endpoints),
      );
    }
  });

  it('is refused where it has no place', async () => {
    const why = { code: 405, reason: 'MethodNotAllowed', message: 'the server does not allow this method on the requested resource' };
    for (const [method, path] of [
      ['POST', `${configMaps}/c`],
      ['PUT', configMaps],
      ['PATCH', configMaps],
      ['POST', `${deployments}/d/status`],
      ['DELETE', `${deployments}/d/status`],
      ['DELETE', `${deployments}/d/scale`],
      ['GET', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'],
      ['OPTIONS', `${configMaps}/c`],
    ] as const) {
      expectWrong(await send({ method, path, ...(method === 'PATCH' ? { type: mergePatch } : {}), body: {} }), why, `${method} ${path}`);
    }
  });

  it('says what forms it has when none is taken', async () => {
    for (const [what, request] of all) {
      const result = await send(request, { accept: 'text/xml' });
      expectWrong(
        result,
        { code: 406, reason: 'NotAcceptable', message: /^406: Not Acceptable\n\nAvailable representations: application\/json/ },
        what,
      );
    }
  });

  it('is refused on another version of the object', async () => {
    const old = { metadata: { name: 'c', resourceVersion: '1' }, data: {} };
    const conflict = {
      code: 409,
      reason: 'Conflict',
      message: /the object has been modified; please apply your changes to the latest version/,
    };
    for (const [what, request] of withBody) {
      if (/create|apply|json|scale/.test(what)) continue;
      const body = { ...(request.body as object), metadata: { ...(request.body as typeof old).metadata, resourceVersion: '1' } };
      expectWrong(await send({ ...request, body }), conflict, what);
    }
    for (const path of [`${configMaps}/c`]) {
      const preconditions = { preconditions: { uid: '00000000-0000-4000-8000-000000000000' } };
      expectWrong(
        await send({ method: 'DELETE', path, type: json, body: preconditions }),
        { code: 409, reason: 'Conflict' },
        `delete ${path}`,
      );
    }
    const taken = { code: 409, reason: 'AlreadyExists', message: 'configmaps "c" already exists' };
    expectWrong(await send({ method: 'POST', path: configMaps, type: json, body: { metadata: { name: 'c' } } }), taken, 'create');
  });

  it('is refused when it goes back further than is known', async () => {
    const list = await send({ method: 'GET', path: `${configMaps}?resourceVersion=1&resourceVersionMatch=Exact` });
    expectWrong(list, { code: 410, reason: 'Expired' }, 'list');
    const token = Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: 1, start: 'c\u0000' })).toString('base64url');
    const page = await send({ method: 'GET', path: `${configMaps}?limit=1&continue=${token}` });
    expect(page.status).toBe(410);
    expect(page.json).toMatchObject({ kind: 'Status', reason: 'Expired', metadata: { continue: expect.any(String) } });
    const { continue: inconsistent } = page.json.metadata as { continue: string };
    expect((await send({ method: 'GET', path: `${configMaps}?limit=1&continue=${inconsistent}` })).status).toBe(200);
    const watch = await send({ method: 'GET', path: `${configMaps}?watch=true&resourceVersion=1` });
    expect(watch.status).toBe(200);
    expect(JSON.parse(watch.text)).toMatchObject({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
  });

  it('does not read bodies that are too large, or of another type', async () => {
    const large = Buffer.alloc(3 * 1024 * 1024 + 1, ' ');
    for (const [what, request] of [...withBody, ['delete', { ...verbs.delete, type: json }] as const]) {
      const path = request.path ?? '';
      const method = request.method ?? '';
      const result = await send({ method, path, type: request.type ?? json, body: large });
      expectWrong(result, { code: 413, reason: 'RequestEntityTooLarge' }, what);
    }
    for (const [what, request] of withBody) {
      const result = await send({ ...request, type: 'text/plain' });
      expectWrong(result, { code: 415, reason: 'UnsupportedMediaType' }, what);
    }
    expectWrong(
      await send({ ...verbs['merge patch'], type: json } as Request),
      { code: 415, reason: 'UnsupportedMediaType' },
      'JSON patch',
    );
  });

  it('does not take options that do not exist', async () => {
    for (const [what, request] of writes) {
      const result = await send({ ...request, path: and(request.path, 'dryRun=Some') });
      expectWrong(
        result,
        { code: 422, reason: 'Invalid', message: /dryRun: Unsupported value: \["Some"\]: supported values: "All"/ },
        what,
      );
    }
    for (const [what, request] of withBody) {
      const result = await send({ ...request, path: and(request.path, 'fieldValidation=Maybe') });
      expectWrong(result, { code: 422, reason: 'Invalid', message: /fieldValidation: Unsupported value: "Maybe"/ }, what);
    }
    for (const [query, code] of [
      ['labelSelector=a%20b%3D%3D', 400],
      ['labelSelector=a%20in', 400],
      ['fieldSelector=spec.x%3D1', 400],
      ['fieldSelector=%3D', 400],
      ['continue=garbage', 400],
      ['resourceVersion=abc', 400],
      ['resourceVersion=-1', 400],
      ['resourceVersionMatch=Exact', 422],
      ['resourceVersion=0&resourceVersionMatch=Exact', 422],
      ['sendInitialEvents=true', 422],
    ] as const) {
      expectWrong(await send({ method: 'GET', path: `${configMaps}?${query}` }), { code }, query);
    }
    for (const query of ['labelSelector=a%20in', 'fieldSelector=spec.x%3D1']) {
      expectWrong(
        await send({ method: 'GET', path: `${configMaps}?watch=true&${query}` }),
        { code: 400, reason: 'BadRequest' },
        `watch ${query}`,
      );
      expectWrong(await send({ method: 'DELETE', path: `${configMaps}?${query}` }), { code: 400, reason: 'BadRequest' }, `delete ${query}`);
    }
  });
});

describe('bodies', () => {
  /** Effect of each verb with a body on one; patches are documents, not objects. */
  const each = async (body: unknown, wrong: (what: string, request: Request) => Wrong | undefined): Promise<void> => {
    for (const [what, request] of withBody) {
      const expected = wrong(what, request);
      if (expected !== undefined) expectWrong(await send({ ...request, body }), expected, `${what} ${String(body).slice(0, 60)}`);
    }
  };

  it('that are no JSON are bad requests', async () => {
    for (const text of ['{', '{"a":', '{"a":1,}', "{'a':1}", '{"a":01}', '{"a":nul}', '\u0000', '{"a":"\u0001"}', '[1,2', 'NaN', '{}{}']) {
      await each(text, (what) => (what === 'apply' ? undefined : { code: 400, reason: 'BadRequest' }));
    }
    await each('', (what) => (what === 'apply' ? undefined : { code: 400, reason: 'BadRequest' }));
    for (const text of ['{"a": [', '\t- a', '&a [*a', 'a: b: c', '!!js/function x', '%']) {
      expectWrong(await send({ ...verbs.apply, body: text } as Request), { code: 400, reason: 'BadRequest' }, text);
      expectWrong(
        await send({ ...verbs.create, type: 'application/yaml', body: text } as Request),
        { code: 400, reason: 'BadRequest' },
        text,
      );
    }
  });

  it('that are no objects, or of another kind, name or namespace, are bad requests', async () => {
    const objects = (what: string): Wrong | undefined => (/create|update$/.test(what) ? { code: 400, reason: 'BadRequest' } : undefined);
    for (const value of ['[]', '1', '"x"', 'true']) await each(value, objects);
    for (const body of [
      { kind: 'Secret', apiVersion: 'v1', metadata: { name: 'c' } },
      { kind: 'ConfigMap', apiVersion: 'v2', metadata: { name: 'c' } },
      { kind: 1, metadata: { name: 'c' } },
      { metadata: 'c' },
      { metadata: { name: 1 } },
      { metadata: { name: 'c', namespace: 'other' } },
      { metadata: { name: 'c', labels: { a: 1 } } },
      { metadata: { name: 'c' }, data: { a: 1 } },
      { metadata: { name: 'c' }, data: [] },
      { metadata: { name: 'c' }, binaryData: { a: '?' } },
    ]) {
      await each(JSON.stringify(body), objects);
    }
    const other = await send({ ...verbs.update, body: { metadata: { name: 'x' } } } as Request);
    expectWrong(other, { code: 400, message: 'the name of the object (x) does not match the name on the URL (c)' }, 'update');
  });

  it('that say a thing twice, or what is not known, are refused when that is asked for', async () => {
    const twice = '{"metadata":{"name":"c"},"data":{"a":"1","a":"2"},"junk":1}';
    const strict = 'strict decoding error: duplicate field "data.a", unknown field "junk"';
    for (const [method, path] of [
      ['POST', configMaps],
      ['PUT', `${configMaps}/c`],
    ] as const) {
      const result = await send({ method, path: `${path}?fieldValidation=Strict`, type: json, body: twice });
      const message = `ConfigMap in version "v1" cannot be handled as a ConfigMap: ${strict}`;
      expectWrong(result, { code: 400, reason: 'BadRequest', message }, method);
    }
    const patch = await send({ method: 'PATCH', path: `${configMaps}/c?fieldValidation=Strict`, type: mergePatch, body: { junk: 1 } });
    expectWrong(patch, { code: 422, reason: 'Invalid', message: /strict decoding error: unknown field "junk"/ }, 'merge patch');
  });

  it('with numbers that are not held exactly, or of the wrong type, are refused', async () => {
    for (const number of ['9007199254740993', '1e400', '-9007199254740993', '123456789012345678901234567890']) {
      await each(`{"metadata":{"name":"c","generation":${number}}}`, () => ({ code: 400, reason: 'BadRequest' }));
    }
    const scale = (replicas: unknown): Promise<FetchResult> =>
      send({ method: 'PUT', path: `${deployments}/d/scale`, type: json, body: { metadata: { name: 'd' }, spec: { replicas } } });
    for (const replicas of ['1', 1.5, 3_000_000_000, {}, []]) {
      expectWrong(await scale(replicas), { code: 400, reason: 'BadRequest', message: /cannot unmarshal/ }, `scale ${replicas}`);
    }
    expectWrong(await scale(-1), { code: 422, reason: 'Invalid', message: /spec\.replicas: Invalid value: -1/ }, 'scale -1');
  });

  it('that are nested deeply or hold very many items are refused, soon', async () => {
    const deep = `{"metadata":{"name":"c"},"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    await each(deep, () => ({ code: 400, reason: 'BadRequest' }));
    const many = `{"metadata":{"name":"c","finalizers":[${Array.from({ length: 300_000 }, () => '"a/b"').join(',')}]}}`;
    await each(many, (what) =>
      /json patch|status|scale/.test(what) ? { code: 400 } : { code: 400, message: /too many items|than the 1000 fields/ },
    );
    await send({ method: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', type: json, body: definition });
    const custom = `{"apiVersion":"bad.example/v1","kind":"Thing","metadata":{"name":"t"},"spec":{"list":[${'{},'.repeat(500_000)}{}]}}`;
    const things = '/apis/bad.example/v1/namespaces/default/things';
    await until(async () => (await send({ method: 'GET', path: things })).status === 200, {
      timeoutMs: 10_000,
      what: 'the custom resource',
    });
    const tooMany = { code: 400, reason: 'BadRequest', message: /too many items/ };
    expectWrong(await send({ method: 'POST', path: things, type: json, body: custom }), tooMany, 'custom resource');
    const broken = {
      metadata: { name: 'c' },
      data: Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`no key ${index}`, ''])),
    };
    const result = await send({ ...verbs.create, body: { ...broken, metadata: { name: 'b' } } } as Request);
    expectWrong(result, { code: 422, reason: 'Invalid', message: /, and 4800 more\]$/ }, 'many errors');
    expect(result.json.details.causes).toHaveLength(200);
  });

  /** More runs, each time others, by hand: `MIDSHIP_FUZZ_RUNS=500`. */
  const runs = process.env.MIDSHIP_FUZZ_RUNS;
  /** The recorded server calls these an internal error, too. */
  const recorded500 =
    /^failed to create typed (patch|live) object|^resourceVersion should not be set|does not contain declared merge key|^unknown patch type: /;

  it('get an answer that blames the client, in any shape', async () => {
    const key = fc.oneof(
      fc.constantFrom('metadata', 'spec', 'data', 'name', 'labels', 'op', 'path', 'value', '$patch', 'kind', 'replicas', 'managedFields'),
      fc.string(),
    );
    const { tree: value } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, true, 0, -1, 1.5, '', 'c', '/data', 'replace', [], {}),
        fc.string(),
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(value, async (body) => {
        for (const [what, request] of withBody) {
          const { status, json: answer } = await send({ ...request, path: and(request.path, 'dryRun=All'), body: JSON.stringify(body) });
          if (status >= 500) expect(answer.message, `${what} ${JSON.stringify(body)}`).toMatch(recorded500);
          else expect(status, what).toBeGreaterThanOrEqual(200);
        }
      }),
      runs === undefined ? { numRuns: 20, seed: 7 } : { numRuns: Number(runs) },
    );
  });

  it('do not reach prototypes', async () => {
    const text =
      '{"metadata":{"name":"proto","labels":{"constructor":"x"}},"data":{"constructor":"1","toString":"2","hasOwnProperty":"3"},"__proto__":{"polluted":"yes"}}';
    const created = await send({ method: 'POST', path: configMaps, type: json, body: text });
    expect(created.status).toBe(201);
    expect(created.json.data).toEqual({ constructor: '1', toString: '2', hasOwnProperty: '3' });
    for (const [type, body] of [
      [mergePatch, '{"__proto__":{"polluted":"yes"},"data":{"__proto__":"x","a":"1"}}'],
      [strategicPatch, '{"__proto__":{"polluted":"yes"},"metadata":{"__proto__":{"polluted":"yes"}}}'],
      [jsonPatch, '[{"op":"add","path":"/__proto__/polluted","value":"yes"}]'],
      [jsonPatch, '[{"op":"add","path":"/constructor/prototype/polluted","value":"yes"}]'],
    ] as const) {
      const { status, text: answer } = await send({ method: 'PATCH', path: `${configMaps}/proto`, type, body });
      expect.soft([200, 422], answer).toContain(status);
    }
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    const selected = await send({ method: 'GET', path: `${configMaps}?labelSelector=constructor%3Dx` });
    expect(selected.json.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual(['proto']);
    for (const path of ['/api/v1/constructor', '/api/v1/namespaces/default/__proto__', '/apis/__proto__/v1/x', '/apis/constructor']) {
      expect.soft((await send({ method: 'GET', path })).status, path).toBe(404);
    }
  });
});

describe('paths', () => {
  it('that try to leave their place lead nowhere', async () => {
    for (const path of [
      `${configMaps}/../secrets`,
      `${configMaps}/..%2f..%2fkube-system%2fsecrets`,
      `${configMaps}/%2e%2e/secrets`,
      '/api/v1/namespaces/default/../kube-system/configmaps',
      '/api//v1/namespaces',
      '//api/v1/namespaces',
      `${configMaps}/c%00`,
      `${configMaps}/c/extra/parts/here`,
      '/api/v1/namespaces/%ff/configmaps/x',
      '/%',
      '/api/v1/namespaces/default/configmaps/%zz',
    ]) {
      const { status, text } = await send({ method: 'GET', path });
      expect.soft([301, 400, 404], `${path}: ${status} ${text.slice(0, 200)}`).toContain(status);
    }
    const unicode = await send({ method: 'GET', path: `${configMaps}/${encodeURIComponent('日本')}` });
    expectWrong(unicode, { code: 404, message: 'configmaps "日本" not found' }, 'name');
    const names = ['..', '.', 'a/b', 'a%b', 'A', '-a', 'a_b', 'x'.repeat(254), ''];
    for (const name of names) {
      const created = await send({ method: 'POST', path: configMaps, type: json, body: { metadata: { name } } });
      expectWrong(created, { code: 422, reason: 'Invalid' }, name);
    }
  });

  it('beyond any useful length are refused before they are read', async () => {
    const { status } = await send({ method: 'GET', path: `${configMaps}?labelSelector=${'a'.repeat(100_000)}` });
    expect([400, 414, 431]).toContain(status);
  });
});

describe('connections', () => {
  /** Answers to bytes that a client library would not send. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(cluster.server.url);
      const socket = connect({ host: hostname, port: Number(port), ca: cluster.pki.caCertificate }, () => socket.write(text));
      let answer = '';
      socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')));
      socket.on('data', (chunk) => {
        answer += chunk.toString();
      });
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });

  it('with broken requests are closed with 400', async () => {
    const host = 'Host: x\r\nConnection: close\r\n';
    for (const text of [
      `GET /api HTTP/9.9\r\n${host}\r\n`,
      `POST /api HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `POST /api HTTP/1.1\r\n${host}Content-Length: abc\r\n\r\n`,
      `GET /api HTTP/1.1\r\n${host}Bad Header: x\r\n\r\n`,
    ]) {
      expect.soft(await raw(text), text).toMatch(/^HTTP\/1\.1 (400|505)/);
    }
  });

  it('that end within a body leave nothing behind', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), ca: cluster.pki.caCertificate }, () => {
        const head = `POST ${configMaps} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${adminToken}\r\nContent-Type: application/json`;
        socket.end(`${head}\r\nContent-Length: 1000\r\n\r\n{"metadata":{"name":"half"}`);
      });
      socket.on('close', () => resolve());
      socket.on('error', reject);
      socket.resume();
    });
    expect((await send({ method: 'GET', path: `${configMaps}/half` })).status).toBe(404);
    expect((await send({ method: 'GET', path: '/readyz' })).status).toBe(200);
  });

  it('with slow bodies block no other, and are answered once complete', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    const body = '{"metadata":{"name":"slow"}}';
    const head = `POST ${configMaps} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${adminToken}\r\nContent-Type: application/json`;
    const sockets = await Promise.all(
      Array.from(
        { length: 100 },
        () =>
          new Promise<TLSSocket>((resolve, reject) => {
            const socket = connect({ host: hostname, port: Number(port), ca: cluster.pki.caCertificate }, () => {
              socket.write(`${head}\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`, () => resolve(socket));
            });
            socket.once('error', reject);
          }),
      ),
    );
    expect((await send({ method: 'POST', path: configMaps, type: json, body: { metadata: { name: 'quick' } } })).status).toBe(201);
    const [first, ...others] = sockets;
    const answer = new Promise<string>((resolve) => first?.once('data', (chunk: Buffer) => resolve(chunk.toString())));
    first?.write(body.slice(9));
    expect(await answer).toMatch(/^HTTP\/1\.1 201 /);
    for (const socket of others) socket.destroy();
    first?.destroy();
    expect((await send({ method: 'DELETE', path: `${configMaps}/quick` })).status).toBe(200);
    expect((await send({ method: 'DELETE', path: `${configMaps}/slow` })).status).toBe(200);
  });
});

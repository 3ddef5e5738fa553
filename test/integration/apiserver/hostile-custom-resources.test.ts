import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { processorMs } from '../../support/processor-time.ts';
import { until } from '../../support/until.ts';

/** Most processor time of one request, in which all others wait. */
const maxProcessorMs = 5_000;

let cluster: TestApiServer;
beforeAll(async () => {
  cluster = await startTestApiServer();
});
afterAll(() => cluster.stop());

type Json = unknown;

interface Answer {
  readonly status: number;
  readonly message: string;
  readonly processorMs: number;
}

async function post(path: string, body: Json): Promise<Answer> {
  const before = processorMs();
  const { status, text } = await cluster.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const { message = '' } = text === '' ? {} : JSON.parse(text);
  return { status, message, processorMs: processorMs() - before };
}

const define = (kind: string, schema: Json): Promise<Answer> =>
  post('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.toLowerCase()}s.example.com` },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: `${kind.toLowerCase()}s`, kind },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  });

const pathOf = (kind: string): string => `/apis/example.com/v1/namespaces/default/${kind.toLowerCase()}s`;

const served = (kind: string) =>
  until(async () => (await cluster.fetch(pathOf(kind))).status === 200, { what: `${kind} to be served`, intervalMs: 5 });

const add = (kind: string, spec: Json): Promise<Answer> =>
  post(pathOf(kind), { apiVersion: 'example.com/v1', kind, metadata: { generateName: 'x-' }, spec });

const objectOf = (properties: Json, more: object = {}): Json => ({ type: 'object', properties, ...more });
const specOf = (properties: Json, more: object = {}): Json => objectOf({ spec: objectOf(properties, more) });
const nested = (levels: number): string => `${'{"x":'.repeat(levels)}1${'}'.repeat(levels)}`;
const keyed = <T>(count: number, make: (index: number) => T): Readonly<Record<string, T>> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}`, make(index)]));

const unboundedList = { type: 'array', items: { type: 'integer' } };
const withRule = (rule: string, list: object) => specOf({ a: list }, { 'x-kubernetes-validations': [{ rule }] });

it('a rule that could take forever is refused with its definition', async () => {
  const cubic = 'self.a.all(x, self.a.all(y, self.a.all(z, x + y + z >= 0)))';
  const refused = await define('Cubic', withRule(cubic, unboundedList));
  expect(refused.status).toBe(422);
  expect(refused.message).toMatch(/cost/);
  expect((await define('Cubic', withRule(cubic, { ...unboundedList, maxItems: 10 }))).status).toBe(201);
});

it('a pattern that backtracks elsewhere is matched in linear time', async () => {
  expect((await define('Slow', specOf({ text: { type: 'string', pattern: '^(([a-z])+.)+[A-Z]([a-z])+$' } }))).status).toBe(201);
  await served('Slow');
  const refused = await add('Slow', { text: 'a'.repeat(100_000) });
  expect(refused.status).toBe(422);
  expect(refused.processorMs).toBeLessThan(maxProcessorMs);
});

it.each([
  [
    'too deep',
    () => specOf({ deep: JSON.parse(`${'{"type":"object","properties":{"x":'.repeat(500)}{"type":"string"}${'}}'.repeat(500)}`) }),
  ],
  [
    'too many rules',
    () => specOf(keyed(10_000, (index) => ({ type: 'string', 'x-kubernetes-validations': [{ rule: `self != '${index}'` }] }))),
  ],
  ['too many patterns', () => specOf(keyed(10_000, (index) => ({ type: 'string', pattern: `^(a${index}+){1,20}$` })))],
  ['a pattern that multiplies', () => specOf({ text: { type: 'string', pattern: '((((a{1,100}){1,100}){1,100}){1,100}){1,100}' } })],
  ['a rule that nests', () => specOf({}, { 'x-kubernetes-validations': [{ rule: `${'('.repeat(20_000)}true${')'.repeat(20_000)}` }] })],
  ['a rule of many terms', () => specOf({}, { 'x-kubernetes-validations': [{ rule: `true${' && true'.repeat(50_000)}` }] })],
])('a schema with %s is refused', async (_, schemaOf) => {
  const refused = await define('Refused', schemaOf());
  expect([400, 413, 422]).toContain(refused.status);
  expect(refused.processorMs).toBeLessThan(maxProcessorMs);
});

it('objects are held to what every object is held to', async () => {
  expect((await define('Open', objectOf({}, { 'x-kubernetes-preserve-unknown-fields': true }))).status).toBe(201);
  await served('Open');
  const deep = await post(
    pathOf('Open'),
    `{"apiVersion":"example.com/v1","kind":"Open","metadata":{"name":"deep"},"spec":${nested(100_000)}}`,
  );
  expect(deep.status).toBe(400);
  expect((await add('Open', { text: 'a'.repeat(1_500_000) })).status).toBe(201);
  expect((await add('Open', { text: 'a'.repeat(1_600_000) })).status).toBe(413);
  expect((await add('Open', { text: 'a'.repeat(3_500_000) })).status).toBe(413);
  const odd = await post(
    pathOf('Open'),
    '{"apiVersion":"example.com/v1","kind":"Open","metadata":{"name":"odd"},"spec":{"__proto__":{"admin":true},"constructor":1}}',
  );
  expect(odd.status).toBe(201);
  expect(JSON.parse((await cluster.fetch(`${pathOf('Open')}/odd`)).text).spec.constructor).toBe(1);
  expect(({} as { admin?: boolean }).admin).toBeUndefined();
});

it('the server is as before', async () => {
  expect((await cluster.fetch('/readyz')).status).toBe(200);
  expect((await cluster.fetch('/openapi/v3/apis/example.com/v1')).status).toBe(200);
});

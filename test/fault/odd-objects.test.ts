import { Agent, request } from 'node:https';
import { describe, expect, it } from 'vitest';
import { builtInKinds } from '../../src/api/kinds.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import type { Cluster } from '../../src/cli/compose/cluster.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import { temporaryDirectory } from '../support/git.ts';
import { startInProcess } from '../support/in-process-cluster.ts';
import { bareObjects, createOddObjects, type Json, type OddObjects, plainObject, storedKinds } from '../support/odd-objects.ts';
import { createRandom } from '../support/random.ts';

/** `npm run fault -- --fuzz N --seed S` sets both. */
const rounds = Number(process.env.MIDSHIP_FUZZ_ROUNDS ?? 1);
const seed = Number(process.env.MIDSHIP_SEED ?? 7);
/** A few where no rounds were asked for, as in `npm test`. */
const objectsOfAKind = process.env.MIDSHIP_FUZZ_ROUNDS === undefined ? 4 : 12;
const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));

describe('objects that the API takes, whatever their shape', () => {
  it('has a plain object of every kind that is stored', () => {
    expect(() => storedKinds.map((kind) => plainObject(kind, 'aa'))).not.toThrow();
  });

  it.each(Array.from({ length: rounds }, (_, round) => seed + round))(
    'are answered without a 500, and the cluster starts with them again, seed %i',
    {
      timeout: 240_000,
    },
    async (round) => {
      const dataDirectory = await temporaryDirectory('odd');
      const random = createRandom(round);
      const first = await startInProcess(dataDirectory);
      const counts = { taken: 0, refused: 0 };
      const broken: string[] = [];
      try {
        const ask = await clientOf(first.cluster);
        await ask('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'odd' } });
        const odd = createOddObjects(random, schemas);
        const send = async (method: string, path: string, body: Json, type: string): Promise<void> => {
          const { code, text } = await ask(method, path, body, type);
          counts[code < 300 ? 'taken' : 'refused'] += 1;
          if (code >= 500 && !isAsUpstream(text)) broken.push(`${method} ${path} ${type} ${JSON.stringify(body)}\n    ${code} ${text}`);
        };
        for (const kind of storedKinds) {
          for (const body of bareObjects(kind)) await send('POST', collectionOf(kind), body, 'application/json');
          for (let index = 0; index < objectsOfAKind; index += 1) {
            for (const each of requestsOf(kind, `o${index.toString(36)}`, odd, random)) await send(...each);
          }
        }
      } finally {
        await first.cluster.stop();
      }
      const again = await startInProcess(dataDirectory);
      try {
        const ask = await clientOf(again.cluster);
        expect(await ask('GET', '/readyz')).toMatchObject({ code: 200 });
      } finally {
        await again.cluster.stop();
      }
      if (process.env.MIDSHIP_FUZZ_LOG !== undefined) process.stdout.write([...first.log, ...again.log].join(''));
      expect(broken).toEqual([]);
      expect(counts.taken).toBeGreaterThan(storedKinds.length * 3);
    },
  );
});

/** True for what the real server answers with 500 as well: applies that fit no schema or type, and a webhook that does not answer. */
const isAsUpstream = (text: string): boolean =>
  /failed to create typed patch object|failed to convert new object|failed to merge config|resourceVersion should not be set|declared merge key|types are not identical|failed calling webhook/.test(
    text,
  );

type Ask = (method: string, path: string, body?: Json, type?: string) => Promise<{ readonly code: number; readonly text: string }>;

function collectionOf({ group, version, namespaced, resource }: KindDefinition): string {
  return `${group === '' ? '/api' : `/apis/${group}`}/${version}/${namespaced ? 'namespaces/odd/' : ''}${resource}`;
}

function* requestsOf(
  kind: KindDefinition,
  name: string,
  odd: OddObjects,
  random: () => number,
): Iterable<readonly [method: string, path: string, body: Json, type: string]> {
  const plain = plainObject(kind, name);
  const collection = collectionOf(kind);
  const path = `${collection}/${(plain.metadata as { readonly name: string }).name}`;
  const json = 'application/json';
  // If the odd one is refused, the other requests work on the plain one.
  yield ['POST', collection, odd.mutate(plain, kind), json];
  if (random() < 0.5) yield ['POST', collection, plain, json];
  yield ['PUT', path, odd.mutate(plain, kind), json];
  yield [
    'PATCH',
    `${path}?fieldManager=odd${random() < 0.5 ? '&force=true' : ''}`,
    odd.mutate(plain, kind),
    'application/apply-patch+yaml',
  ];
  yield ['PATCH', path, odd.mutate(plain, kind), 'application/merge-patch+json'];
  yield ['PATCH', path, odd.mutate(plain, kind), 'application/strategic-merge-patch+json'];
  yield [
    'PATCH',
    path,
    [{ op: random() < 0.5 ? 'add' : 'replace', path: random() < 0.7 ? '/spec' : '/metadata', value: odd.value() }],
    'application/json-patch+json',
  ];
  if (random() < 0.3) yield [random() < 0.5 ? 'PUT' : 'POST', random() < 0.5 ? path : collection, odd.value(), json];
  for (const { name: subresource } of kind.subresources) {
    if (subresource !== 'status' && subresource !== 'scale') continue;
    yield ['PATCH', `${path}/${subresource}`, odd.mutate(plain, kind), 'application/merge-patch+json'];
    yield ['PUT', `${path}/${subresource}`, odd.mutate(plain, kind), json];
    yield ['PATCH', `${path}/${subresource}?fieldManager=odd`, odd.mutate(plain, kind), 'application/apply-patch+yaml'];
  }
}

async function clientOf({ endpoints }: Cluster): Promise<Ask> {
  const { server, caCertificate, clientCertificate } = await loadKubeconfig(endpoints.kubeconfig);
  const agent = new Agent({ ca: caCertificate, cert: clientCertificate?.certificate, key: clientCertificate?.key, keepAlive: true });
  return (method, path, body, type = 'application/json') =>
    new Promise((resolve, reject) => {
      const sent = request(`${server}${path}`, { method, agent, headers: { 'Content-Type': type } }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ code: response.statusCode ?? 0, text: text.slice(0, 600) }));
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
}

import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { applyPatch } from '../../../src/machinery/managed-fields.ts';
import { type DynamicObject, deepFreeze, type ManagedFieldsEntry } from '../../../src/machinery/object.ts';

const set = loadSchemas();
const refOf = (name: string) => ({ $ref: `#/components/schemas/${name}` });

const recorded = new URL('../../../../shared/reference/wire/api/ssa.jsonl', import.meta.url);

interface Exchange {
  readonly title: string;
  readonly req: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body: unknown;
  };
  readonly res: { readonly status: number; readonly body: DynamicObject };
}

describe.skipIf(!existsSync(recorded))('applies recorded from a real server (skipped where the recordings are absent)', () => {
  const exchanges = readFileSync(recorded, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Exchange)
    .filter(
      ({ req }) =>
        req.headers?.['content-type'] === 'application/apply-patch+yaml' && /deployments\/s1(\/status)?\?fieldManager=./.test(req.path),
    );
  const withoutTimes = (entries: readonly ManagedFieldsEntry[] | undefined): unknown =>
    entries?.filter(({ manager }) => manager !== 'kube-controller-manager').map(({ time: _, ...entry }) => entry);

  it('have the recorded owners, fields and conflicts', () => {
    let live: DynamicObject | undefined;
    for (const { title, req, res } of exchanges) {
      const query = new URL(req.path, 'http://x').searchParams;
      const subresource = req.path.includes('/status') ? 'status' : undefined;
      const run = (): DynamicObject =>
        applyPatch({
          live,
          patch: req.body,
          manager: query.get('fieldManager') ?? '',
          force: query.get('force') === 'true',
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          time: '2026-11-24T06:59:18Z',
          subresource,
          resetFields: subresource === undefined ? { 'f:status': {} } : { 'f:spec': {}, 'f:metadata': { 'f:labels': {} } },
          schema: refOf('io.k8s.api.apps.v1.Deployment'),
          set,
        });
      if (res.status >= 400 && res.status !== 422) {
        const { message, details, code } = res.body as unknown as { message: string; details?: object; code: number };
        expect(run, title).toThrow(expect.objectContaining({ message, code, details }));
      } else if (res.status < 300) {
        const result = run();
        expect(withoutTimes(result.metadata.managedFields), title).toEqual(withoutTimes(res.body.metadata.managedFields));
        expect(result.metadata.labels ?? {}, title).toEqual(res.body.metadata.labels ?? {});
        expect(res.body.spec, title).toMatchObject(result.spec as object);
        live = deepFreeze(res.body);
      }
    }
  });
});

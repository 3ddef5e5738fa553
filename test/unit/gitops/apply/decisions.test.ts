import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changesBetween, formatPath, lostFields, managerOf, ownFieldsOf, valueAt } from '../../../../src/gitops/apply/objects/fields.ts';
import { describeId, idOf, inventoryEntriesOf, tryParseId } from '../../../../src/gitops/apply/objects/object-id.ts';
import { stagesOf } from '../../../../src/gitops/apply/objects/order.ts';
import { addToHistory, type HistoryEntry, isRollback } from '../../../../src/gitops/apply/records/history.ts';
import { judgePrune } from '../../../../src/gitops/apply/sync/prune-guard.ts';
import type { DynamicObject } from '../../../../src/machinery/object.ts';

const deployment = (replicas: number, image: string): DynamicObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'web', labels: { app: 'web' } },
  spec: {
    replicas,
    template: {
      spec: {
        containers: [
          { name: 'side', image: 'x' },
          { name: 'web', image },
        ],
      },
    },
  },
});

describe('ids of an inventory', () => {
  it('are Flux’s, and can be read back whatever the names are', () => {
    expect(idOf(deployment(1, 'a'))).toBe('web_web_apps_Deployment');
    expect(idOf({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'web' } })).toBe('_web__Namespace');
    expect(idOf({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'system:node' } })).toBe(
      '_system__node_rbac.authorization.k8s.io_ClusterRole',
    );
    const name = fc.stringMatching(/^[a-z0-9]([a-z0-9.:-]{0,20}[a-z0-9])?$/);
    fc.assert(
      fc.property(
        name,
        fc.option(name, { nil: undefined }),
        fc.constantFrom('v1', 'apps/v1', 'a.b-c.io/v2'),
        (objectName, namespace, apiVersion) => {
          const object = {
            apiVersion,
            kind: 'Thing',
            metadata: { name: objectName, ...(namespace === undefined ? {} : { namespace: namespace.replaceAll(':', '') || 'x' }) },
          };
          const parsed = tryParseId(idOf(object));
          expect(parsed).toEqual({
            group: apiVersion === 'v1' ? '' : apiVersion.split('/')[0],
            kind: 'Thing',
            ref:
              object.metadata.namespace === undefined ? { name: objectName } : { namespace: object.metadata.namespace, name: objectName },
          });
        },
      ),
    );
    expect(tryParseId('nonsense')).toBeUndefined();
    expect(describeId('web_web_apps_Deployment')).toBe('Deployment web/web');
  });

  it('are listed in one order, so that equal inventories are equal texts', () => {
    const entries = inventoryEntriesOf(
      new Map([
        ['b', { version: 'v1' }],
        ['a', { version: 'v2' }],
      ]),
    );
    expect(entries).toEqual([
      { id: 'a', v: 'v2' },
      { id: 'b', v: 'v1' },
    ]);
  });
});

describe('fields', () => {
  const before = {
    'f:spec': { 'f:replicas': {}, 'f:template': { 'f:spec': { 'f:containers': { 'k:{"name":"web"}': { '.': {}, 'f:image': {} } } } } },
  };

  it('that another manager took are found by path, with who has them and what they are', () => {
    const after = { 'f:spec': { 'f:template': { 'f:spec': { 'f:containers': { 'k:{"name":"web"}': { '.': {} } } } } } };
    const lost = lostFields(before, after);
    expect(lost.map(formatPath)).toEqual(['spec.replicas', 'spec.template.spec.containers[web].image']);
    const live: DynamicObject = {
      ...deployment(9, 'other'),
      metadata: {
        name: 'web',
        managedFields: [
          { manager: 'midship', operation: 'Apply', fieldsV1: after },
          { manager: 'old', operation: 'Update', time: '2026-01-01T00:00:00Z', fieldsV1: { 'f:spec': { 'f:replicas': {} } } },
          { manager: 'kubectl-scale', operation: 'Update', time: '2026-01-02T00:00:00Z', fieldsV1: { 'f:spec': { 'f:replicas': {} } } },
        ],
      },
    };
    const [replicas = [], image = []] = lost;
    expect(managerOf(live, replicas)).toBe('kubectl-scale');
    expect(managerOf(live, image)).toBeUndefined();
    expect(valueAt(live, replicas)).toBe(9);
    expect(valueAt(live, image)).toBe('other');
    expect(ownFieldsOf(live)).toBe(after);
    expect(lostFields(before, before)).toEqual([]);
    expect(lostFields(before, undefined)).toHaveLength(2);
  });

  it('that an apply changes are described, Secrets without their values', () => {
    const same = (text: string): string => text;
    expect(changesBetween(deployment(3, 'a'), deployment(5, 'b'), same)).toEqual([
      'spec.replicas 3 → 5',
      'spec.template.spec.containers[web].image a → b',
    ]);
    expect(changesBetween(deployment(3, 'a'), deployment(3, 'a'), same)).toEqual([]);
    const secret = (value: string): DynamicObject => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's' },
      data: { password: value },
    });
    expect(changesBetween(secret('b2xk'), secret('bmV3'), same)).toEqual(['data.password *** → ***']);
    // The value before was one of the Secret as well, though nobody knows it any more.
    const redact = (text: string): string => text.replace('new-secret', '***');
    expect(changesBetween(deployment(3, 'old-secret'), deployment(3, 'new-secret'), redact)).toEqual([
      'spec.template.spec.containers[web].image *** → ***',
    ]);
  });
});

describe('prune', () => {
  const ids = Array.from({ length: 25 }, (_, index) => `web_c${index}__ConfigMap`);
  const request = {
    revision: 'main@sha1:1',
    ids,
    along: new Map<string, readonly string[]>(),
    total: 30,
    isRevert: false,
    approved: undefined,
    losses: new Map<string, string>(),
  };
  const heldOf = (more: Partial<Parameters<typeof judgePrune>[0]>): number => judgePrune({ ...request, ...more }).held.size;

  it('need an approval for most of a large app, which fits this revision and these objects alone', () => {
    const { approval: approved, ...verdict } = judgePrune(request);
    expect(verdict).toEqual({ held: new Set(ids), reason: '25 of 30 objects would be deleted' });
    expect(heldOf({ approved })).toBe(0);
    expect(heldOf({ approved, revision: 'main@sha1:2' })).toBe(25);
    expect(heldOf({ approved, ids: ids.slice(1) })).toBe(24);
  });

  it('goes on for few objects, for a small share, and when a revert takes back what a commit added', () => {
    expect(heldOf({ ids: ids.slice(0, 20) })).toBe(0);
    expect(heldOf({ total: 60 })).toBe(0);
    expect(heldOf({ isRevert: true })).toBe(0);
  });

  it('holds back only what would lose something, a revert or not', () => {
    const losses = new Map([['_web__Namespace', 'still holds Pod web/a']]);
    const some = { ids: ['_web__Namespace', ...ids], isRevert: true, losses };
    const { held, reason, approval: approved } = judgePrune({ ...request, ...some });
    expect([[...held], reason]).toEqual([['_web__Namespace'], 'Namespace web still holds Pod web/a']);
    // The others are gone by then.
    expect(heldOf({ ...some, ids: ['_web__Namespace'], approved })).toBe(0);
  });

  it('counts the objects of an app whose Kustomization goes, and names that app when it is large', () => {
    const app = 'flux-system_shop_kustomize.toolkit.fluxcd.io_Kustomization';
    const some = { ids: [app, 'web_a__ConfigMap'], along: new Map([[app, ids]]), total: 300 };
    const { held, reason } = judgePrune({ ...request, ...some });
    expect([[...held], reason]).toEqual([[app], 'Kustomization flux-system/shop would delete its 25 objects']);
    expect(heldOf({ ...some, isRevert: true })).toBe(0);
    const two = new Map([
      ['x_a_kustomize.toolkit.fluxcd.io_Kustomization', ids.slice(0, 12)],
      ['x_b_kustomize.toolkit.fluxcd.io_Kustomization', ids.slice(12)],
    ]);
    expect(judgePrune({ ...request, ids: [...two.keys()], along: two, total: 40 }).reason).toBe('27 of 40 objects would be deleted');
    expect(heldOf({ ids: [...two.keys()], along: two, total: 400 })).toBe(0);
  });
});

describe('order', () => {
  it('puts what others need first, and prunes the other way round', () => {
    const kinds = ['Deployment', 'Ingress', 'Namespace', 'ConfigMap', 'ServiceAccount', 'Service', 'Widget'];
    expect(stagesOf(kinds, (kind) => ({ kind, wave: 0 }), 1)).toEqual([
      ['Namespace'],
      ['ServiceAccount'],
      ['ConfigMap', 'Service'],
      ['Deployment', 'Widget'],
      ['Ingress'],
    ]);
    expect(stagesOf(kinds, (kind) => ({ kind, wave: 0 }), -1)[0]).toEqual(['Ingress']);
  });
});

describe('history', () => {
  const entry = (revision: string, digest: string, result: 'applied' | 'failed' = 'applied'): HistoryEntry => ({
    revision,
    digest,
    result,
    at: '2026-01-01T00:00:00Z',
    durationMs: 1,
    author: 'Mara',
    subject: revision,
    rollback: false,
    changes: [],
  });

  it('knows a rollback by its tree, or by what the commit says', () => {
    const history = [entry('1', 'a'), entry('2', 'b'), entry('3', '', 'failed')];
    expect(isRollback(history, 'a', 'back')).toBe(true);
    expect(isRollback(history, 'b', 'same as now')).toBe(false);
    expect(isRollback(history, 'c', 'new')).toBe(false);
    expect(isRollback(history, 'c', 'Revert "x"\n\nThis reverts commit 0123456789abcdef.\n')).toBe(true);
    expect(isRollback([], 'a', 'This reverts commit 0123456789abcdef.')).toBe(false);
  });

  it('is bounded, and a failure that repeats is one entry', () => {
    let history: readonly HistoryEntry[] = [];
    for (let index = 0; index < 60; index += 1) history = addToHistory(history, entry(String(index), String(index)));
    expect(history).toHaveLength(50);
    expect(history.at(-1)?.revision).toBe('59');
    const failed = addToHistory(history, entry('60', '', 'failed'));
    expect(addToHistory(failed, entry('60', '', 'failed'))).toHaveLength(50);
    expect(addToHistory(failed, entry('60', '', 'failed')).filter(({ result }) => result === 'failed')).toHaveLength(1);
  });
});

import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../../src/api/kustomize/v1/kustomization.ts';
import { isIgnored, withoutForeign } from '../../../../src/gitops/apply/objects/ignored-fields.ts';
import { isSuspended, policyOf } from '../../../../src/gitops/apply/objects/object-policy.ts';
import { stagesOf, wavesOf } from '../../../../src/gitops/apply/objects/order.ts';
import { createExpressions } from '../../../../src/gitops/apply/observe/expressions.ts';
import { findUnsupported, targetKeyOf } from '../../../../src/gitops/apply/plan/app-spec.ts';
import type { DynamicObject, KubeObject } from '../../../../src/machinery/object.ts';

const object = (annotations: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>> = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'x', annotations, labels },
});
const app = (spec: Partial<Kustomization['spec']> = {}): Kustomization => ({
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'web', namespace: 'flux-system' },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'x' }, ...spec },
});

describe('policies of an object', () => {
  it('is nothing without annotations', () => {
    expect(policyOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } })).toMatchObject({
      prune: 'last',
      wave: 0,
      hooks: [],
      recreates: false,
      drift: undefined,
    });
  });

  it('is read from the keys of Flux, in labels too and in any case', () => {
    expect(policyOf(object({ team: 'a' }))).toBe(policyOf(object({}, { app: 'b' })));
    const flux = (name: string, value: string) => policyOf(object({ [`kustomize.toolkit.fluxcd.io/${name}`]: value }));
    expect(flux('prune', 'Disabled').prune).toBe('never');
    expect(policyOf(object({}, { 'kustomize.toolkit.fluxcd.io/prune': 'disabled' })).prune).toBe('never');
    expect(flux('force', 'enabled').recreates).toBe(true);
    expect(flux('ssa', 'IfNotPresent').createsOnly).toBe(true);
    expect(isSuspended(flux('ssa', 'Ignore'), 0)).toBe(true);
    expect(isSuspended(flux('reconcile', 'disabled'), Date.now())).toBe(true);
    const until = object({ 'kustomize.toolkit.fluxcd.io/reconcile': 'disabled', 'midship.dev/suspend-until': '2026-01-01T00:00:00Z' });
    expect([isSuspended(policyOf(until), Date.UTC(2025, 11)), isSuspended(policyOf(until), Date.UTC(2026, 1))]).toEqual([true, false]);
  });

  it('is read from the keys of Argo CD', () => {
    const argo = (name: string, value: string) => policyOf(object({ [`argocd.argoproj.io/${name}`]: value }));
    expect([argo('sync-wave', '-5').wave, argo('sync-wave', 'x').wave, argo('sync-wave', '1e400').wave]).toEqual([-5, 0, 0]);
    expect(argo('hook', 'PostSync, PreSync').hooks).toEqual(['PreSync', 'PostSync']);
    expect(argo('hook', 'PreSync').hookDeletion).toEqual(['BeforeHookCreation']);
    expect([argo('hook', 'Skip').isSkipped, argo('hook', 'Skip').hooks]).toEqual([true, []]);
    expect(argo('sync-options', 'Prune=false,Force=true')).toMatchObject({ prune: 'never', recreates: true });
  });
});

describe('waves', () => {
  const item = (name: string, kind: string, annotations: Readonly<Record<string, string>> = {}) => ({
    name,
    kind,
    policy: policyOf(object(annotations)),
  });
  it('come by phase and number, with the kinds of one in their stages, and are pruned the other way round', () => {
    const items = [
      item('after', 'Job', { 'argocd.argoproj.io/hook': 'PostSync' }),
      item('late', 'ConfigMap', { 'argocd.argoproj.io/sync-wave': '2' }),
      item('web', 'Deployment'),
      item('ns', 'Namespace'),
      item('early', 'Deployment', { 'argocd.argoproj.io/sync-wave': '-1' }),
      item('before', 'Job', { 'argocd.argoproj.io/hook': 'PreSync' }),
      item('never', 'Job', { 'argocd.argoproj.io/hook': 'Skip' }),
    ];
    const names = (all: readonly { readonly name: string }[]) => all.map(({ name }) => name);
    expect(wavesOf(items).map(({ objects, hooks }) => [names(objects), names(hooks)])).toEqual([
      [[], ['before']],
      [['early'], []],
      [['web', 'ns'], []],
      [['late'], []],
      [[], ['after']],
    ]);
    const placed = ({ kind, policy }: (typeof items)[number]) => ({ kind, wave: policy.wave });
    const plain = items.filter(({ policy }) => policy.hooks.length === 0 && !policy.isSkipped);
    expect(stagesOf(plain, placed, 1).map(names)).toEqual([['early'], ['ns'], ['web'], ['late']]);
    expect(stagesOf(plain, placed, -1).map(names)).toEqual([['late'], ['web'], ['ns'], ['early']]);
  });
});

describe('fields that others may have', () => {
  const desired: DynamicObject = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', annotations: { 'a/b': '1' } },
    spec: {
      replicas: 3,
      template: {
        spec: {
          containers: [
            { name: 'side', image: 'x' },
            { name: 'web', image: 'y' },
          ],
        },
      },
    },
  };
  const live = (fieldsV1: Readonly<Record<string, unknown>>, manager = 'other'): DynamicObject => ({
    ...desired,
    metadata: { name: 'web', managedFields: [{ manager, operation: 'Update', apiVersion: 'apps/v1', fieldsType: 'FieldsV1', fieldsV1 }] },
  });
  const image = '/spec/template/spec/containers/1/image';
  const imageFields = {
    'f:spec': { 'f:template': { 'f:spec': { 'f:containers': { 'k:{"name":"web"}': { '.': {}, 'f:image': {} } } } } },
  };

  it('are sent as long as nobody else has them, and left out then', () => {
    expect(withoutForeign(desired, undefined, ['/spec/replicas'])).toBe(desired);
    expect(withoutForeign(desired, live({ 'f:spec': { 'f:replicas': {} } }, 'midship'), ['/spec/replicas'])).toBe(desired);
    expect(withoutForeign(desired, live({ 'f:spec': { 'f:replicas': {} } }), ['/spec/replicas', '/spec/none'])).toEqual({
      ...desired,
      spec: { template: (desired as { readonly spec?: { readonly template?: unknown } }).spec?.template },
    });
    const [side, web] = (withoutForeign(desired, live(imageFields), [image]) as unknown as Templated).spec.template.spec.containers;
    expect([side, web]).toEqual([{ name: 'side', image: 'x' }, { name: 'web' }]);
    expect(withoutForeign(desired, live(imageFields), ['spec/replicas', '', '/spec/template/spec/containers/7/image'])).toBe(desired);
  });

  it('are distinguished by the path of fieldsV1', () => {
    const path = ['f:spec', 'f:template', 'f:spec', 'f:containers', 'k:{"name":"web"}', 'f:image'];
    expect([
      isIgnored(desired, path, [image]),
      isIgnored(desired, path, ['/spec/template']),
      isIgnored(desired, path, ['/spec/temp']),
    ]).toEqual([true, true, false]);
    expect(isIgnored(desired, ['f:metadata', 'f:annotations', 'f:a/b'], ['/metadata/annotations/a~1b'])).toBe(true);
    expect(isIgnored(desired, path, [])).toBe(false);
  });
});

interface Templated {
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly unknown[] } } };
}

describe('expressions', () => {
  const expressions = createExpressions();
  const widget = (status: unknown, generation = 1) =>
    ({ apiVersion: 'x.io/v1', kind: 'Widget', metadata: { name: 'w', generation }, status }) as KubeObject;
  const checks = {
    apiVersion: 'x.io/v2',
    kind: 'Widget',
    current: "status.phase == 'Up'",
    failed: "status.phase == 'Down'",
    inProgress: "status.phase == 'Wait'",
  };
  const health = (object: KubeObject, more = {}) => expressions.healthOf(app({ healthCheckExprs: [{ ...checks, ...more }] }), object);

  it('judge a kind in any of its versions: in progress, failed, current, else not there yet', () => {
    expect(health(object({}))).toBeUndefined();
    expect(health(widget({ phase: 'Up' }))).toEqual({ status: 'Healthy', reason: '' });
    expect(health(widget({ phase: 'Wait' }))?.status).toBe('Progressing');
    expect(health(widget({ phase: 'Down', conditions: [{ type: 'Ready', status: 'False', message: 'no disk' }] }))).toEqual({
      status: 'Degraded',
      reason: 'Widget w failed: no disk',
    });
    expect(health(widget({ phase: '?' }))?.reason).toBe('Widget w is not there yet');
    expect(health(widget({ phase: 'Up', observedGeneration: 1 }, 2))?.reason).toBe('Widget w was changed just now');
  });

  it('that cannot be read or evaluated keep waiting and say why', () => {
    expect(health(widget({}))).toMatchObject({ status: 'Progressing', reason: expect.stringContaining('no such key: phase') });
    expect(health(widget(undefined))?.status).toBe('Progressing');
    expect(health(widget({}), { inProgress: 'status.(' })).toMatchObject({
      status: 'Progressing',
      reason: expect.stringContaining('Syntax error'),
    });
    expect(health(widget({}), { inProgress: "'text'" })?.reason).toMatch(/must evaluate to bool/);
  });

  it('that would run forever end', () => {
    const list = `[${new Array(200).fill(1).join(',')}]`;
    const nested = `${list}.all(a, ${list}.all(b, ${list}.all(c, ${list}.all(d, a + b + c + d > 0))))`;
    expect(health(widget({}), { inProgress: nested })?.reason).toMatch(/cost limit/);
  });
});

describe('the cluster of an app', () => {
  it('is named by the Secret of its kubeconfig', () => {
    expect(targetKeyOf(app())).toBe('');
    expect(targetKeyOf(app({ kubeConfig: { secretRef: { name: 'other' } } }))).toBe('flux-system/other');
    expect(targetKeyOf(app({ kubeConfig: { secretRef: { name: 'other', key: 'k' } } }))).toBe('flux-system/other/k');
    expect(findUnsupported(app({ kubeConfig: { configMapRef: { name: 'x' } } }))).toBe('spec.kubeConfig.configMapRef');
  });
});

import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { namespaces } from '../../../../../src/api/core/v1/namespace.ts';
import { type Kustomization, kustomizations } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { createMetrics } from '../../../../../src/base/metrics.ts';

import { createAppHealth } from '../../../../../src/gitops/apply/acts/app-health.ts';
import { type AppRecords, newAppRecords } from '../../../../../src/gitops/apply/records/app-records.ts';
import { createGitOpsMetrics } from '../../../../../src/gitops/apply/status/gitops-metrics.ts';
import type { Target } from '../../../../../src/gitops/apply/target/target.ts';
import type { Health } from '../../../../../src/lifecycle/reasons.ts';
import { createManualClock } from '../../../../support/manual-clock.ts';

const app: Kustomization = {
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'shop', namespace: 'flux-system' },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
};

const options = (feed: Parameters<typeof createAppHealth>[0]['feed']) => ({
  log: pino({ level: 'silent' }),
  wake: () => undefined,
  feed,
});

describe('health of an app that applies a Namespace and another app', () => {
  const clock = createManualClock();
  const gitops = createGitOpsMetrics({ metrics: createMetrics(), clock, commitsAfter: () => 0, apps: () => [], sources: () => [] });
  const health = createAppHealth({ clock, gitops, ...options({ add: () => undefined }) });
  const objects: Readonly<Record<string, { readonly resource: object; readonly live: object; readonly is: Health }>> = {
    namespace: { resource: namespaces, live: { kind: 'Namespace' }, is: { status: 'Healthy', reason: '' } },
    child: { resource: kustomizations, live: { kind: 'Kustomization' }, is: { status: 'Degraded', reason: 'Kustomization web: no image' } },
  };
  const target = {
    owned: {
      live: (_: unknown, { name }: { readonly name: string }) => objects[name]?.live,
      isSynced: () => true,
      podsOf: () => [],
      replicaSetsOf: () => [],
    },
    rulesOf: () => ({ healthOf: (live: object) => Object.values(objects).find((each) => each.live === live)?.is }),
  } as unknown as Target;
  const stateWith = (ids: readonly string[]) => {
    const state = newAppRecords('flux-system/shop');
    for (const id of ids) {
      const { resource, live } = objects[id] ?? {};
      state.ownership.apply(id, { desired: { resource, ref: { name: id }, object: live } } as never);
      state.health.mark([id]);
    }
    return state;
  };

  it('leaves out that app where it does not wait for health', () => {
    expect(health.current(app, stateWith(['namespace', 'child']), target)).toEqual({ status: 'Healthy', reason: '' });
  });

  it('waits for that app where it waits for health, and is never Degraded by it', () => {
    const waiting = { ...app, spec: { ...app.spec, wait: true, timeout: '1s' } };
    const state = stateWith(['namespace', 'child']);
    const expected = { status: 'Progressing', reason: 'waits for Kustomization web: no image', isOfApp: true };
    expect(health.current(waiting, state, target)).toEqual(expected);
    clock.advance(60_000);
    expect(health.current(waiting, state, target)).toEqual(expected);
  });
});

it('tells of a crash loop once, however often it counts and is well for a moment, and again when it had been over', () => {
  const clock = createManualClock();
  const reasons: string[] = [];
  const health = createAppHealth({
    clock,
    ...options({ add: (_, activity) => void (activity.type === 'degraded' && reasons.push(activity.reason)) }),
    gitops: createGitOpsMetrics({ metrics: createMetrics(), clock, commitsAfter: () => 0, apps: () => [], sources: () => [] }),
  });
  const fresh = newAppRecords('flux-system/shop');
  let state: AppRecords = {
    ...fresh,
    inForce: { ...fresh.inForce, appliedAt: 1 },
    announced: { ...fresh.announced, isHealthy: true },
  };
  // The app is not a list of apps.
  state.ownership.apply('x', { desired: { object: { kind: 'Deployment' } } } as never);
  const look = (is: Health): void => {
    for (let times = 0; times < 2; times += 1) {
      state = { ...state, announced: health.announce(app, state, { health: is, target: {} as Target }) };
      clock.advance(1_000);
    }
  };
  const crash = (times: string): Health => ({ status: 'Degraded', reason: `Container web in shop-1 exited 3, restarted ${times}` });
  look(crash('once'));
  look(crash('twice'));
  look({ status: 'Progressing', reason: '0 of 1 pods ready' });
  look(crash('3 times'));
  look({ status: 'Healthy', reason: '' });
  look(crash('4 times'));
  expect(reasons).toEqual(['Container web in shop-1 exited 3, restarted once']);
  look({ status: 'Healthy', reason: '' });
  clock.advance(60_000);
  look(crash('5 times'));
  expect(reasons).toHaveLength(2);
});

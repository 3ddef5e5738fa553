import { expect, it } from 'vitest';
import type { Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { newAppState } from '../../../../../src/gitops/apply/app-state.ts';
import { metricsStateOf } from '../../../../../src/gitops/apply/status/app-status.ts';
import type { HistoryEntry } from '../../../../../src/gitops/apply/status/history.ts';

const app: Kustomization = {
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'web', namespace: 'flux-system' },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
};
const entry = (result: HistoryEntry['result'], at: string): HistoryEntry => ({
  revision: 'main@sha1:1',
  digest: '',
  result,
  at,
  durationMs: 0,
  author: '',
  subject: '',
  rollback: false,
  changes: [],
});

it('an app was applied when its history says so, in a process that has not applied it itself', () => {
  const state = newAppState('flux-system/web');
  expect(metricsStateOf(app, { state: undefined, source: undefined, owned: undefined }).lastAppliedAt).toBe(0);
  expect(metricsStateOf(app, { state, source: undefined, owned: undefined }).lastAppliedAt).toBe(0);
  state.history = [
    entry('applied', '2026-01-01T00:00:00Z'),
    entry('applied', '2026-01-02T00:00:00Z'),
    entry('failed', '2026-01-03T00:00:00Z'),
  ];
  expect(metricsStateOf(app, { state, source: undefined, owned: undefined }).lastAppliedAt).toBe(
    Date.parse('2026-01-02T00:00:00Z') / 1_000,
  );
  state.appliedAt = Date.parse('2026-01-04T00:00:00Z');
  expect(metricsStateOf(app, { state, source: undefined, owned: undefined }).lastAppliedAt).toBe(
    Date.parse('2026-01-04T00:00:00Z') / 1_000,
  );
});

import { expect, it } from 'vitest';
import type { Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { newAppRecords } from '../../../../../src/gitops/apply/records/app-records.ts';
import type { HistoryEntry } from '../../../../../src/gitops/apply/records/history.ts';
import { metricsStateOf } from '../../../../../src/gitops/apply/status/app-status.ts';

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
  const fresh = newAppRecords('flux-system/web');
  expect(metricsStateOf(app, { state: undefined, source: undefined, owned: undefined }).lastAppliedAt).toBe(0);
  expect(metricsStateOf(app, { state: fresh, source: undefined, owned: undefined }).lastAppliedAt).toBe(0);
  const history = [
    entry('applied', '2026-01-01T00:00:00Z'),
    entry('applied', '2026-01-02T00:00:00Z'),
    entry('failed', '2026-01-03T00:00:00Z'),
  ];
  const restarted = { ...fresh, announced: { ...fresh.announced, history } };
  expect(metricsStateOf(app, { state: restarted, source: undefined, owned: undefined }).lastAppliedAt).toBe(
    Date.parse('2026-01-02T00:00:00Z') / 1_000,
  );
  const applied = { ...restarted, inForce: { ...fresh.inForce, appliedAt: Date.parse('2026-01-04T00:00:00Z') } };
  expect(metricsStateOf(app, { state: applied, source: undefined, owned: undefined }).lastAppliedAt).toBe(
    Date.parse('2026-01-04T00:00:00Z') / 1_000,
  );
});

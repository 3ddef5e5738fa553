import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { GitRepository } from '../../../src/api/source/v1/git-repository.ts';
import * as repository from '../../../src/lifecycle/git-repository.facts.ts';
import { gitRepositoryMachine } from '../../../src/lifecycle/git-repository.machine.ts';
import * as app from '../../../src/lifecycle/kustomization.facts.ts';
import { kustomizationMachine } from '../../../src/lifecycle/kustomization.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const metadataIn = (state: string) => ({
  name: 'x',
  namespace: 'flux-system',
  ...(state === 'Deleting' ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
});
const written = { before: [], generation: 1, now: '2026-01-01T00:00:00Z' };

machineSuite({
  machine: gitRepositoryMachine,
  samples: [
    { type: 'DUE' },
    { type: 'RESOLVED' },
    { type: 'RESOLVE_FAILED' },
    { type: 'UNSUPPORTED' },
    { type: 'SUSPENDED' },
    { type: 'RESUMED' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (state) =>
    repository.stateOf({
      apiVersion: 'source.toolkit.fluxcd.io/v1',
      kind: 'GitRepository',
      metadata: metadataIn(state),
      spec: { url: 'https://example.com/x.git', interval: '10s', suspend: state === 'Suspended' },
      status: { conditions: repository.statusOf({ ...written, state, finding: { reason: 'R', message: '' } }) },
    } satisfies GitRepository),
});

machineSuite({
  machine: kustomizationMachine,
  samples: [
    { type: 'SOURCE_MISSING' },
    { type: 'DEPENDENCY_NOT_READY' },
    { type: 'OUT_OF_DATE' },
    { type: 'DRIFTED' },
    { type: 'APPLIED', waits: true },
    { type: 'APPLIED', waits: false },
    { type: 'WAVE_APPLIED' },
    { type: 'SYNC_FAILED' },
    { type: 'BECAME_HEALTHY' },
    { type: 'HEALTH_DEADLINE_PASSED' },
    { type: 'CANNOT_BECOME_HEALTHY' },
    { type: 'SPEC_REJECTED' },
    { type: 'SUSPENDED' },
    { type: 'RESUMED' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (state) =>
    app.stateOf({
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: metadataIn(state),
      spec: { interval: '10m', prune: true, sourceRef: { kind: 'GitRepository', name: 'x' }, suspend: state === 'Suspended' },
      status: {
        conditions: app.statusOf({
          ...written,
          state,
          finding: { reason: state === 'Waiting' ? app.kustomizationReasons.dependencyNotReady : 'R', message: '' },
        }),
      },
    } satisfies Kustomization),
});

import { expect, it } from 'vitest';
import type { Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { createRevisionFinder } from '../../../../../src/gitops/apply/acts/find-revision.ts';
import { createNextLook } from '../../../../../src/gitops/apply/acts/next-look.ts';
import { newAppRecords } from '../../../../../src/gitops/apply/records/app-records.ts';
import { createManualClock } from '../../../../support/manual-clock.ts';

it('looks again at an app whose source is missing, although its wait ends during the pass', async () => {
  const clock = createManualClock();
  const app: Kustomization = {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name: 'shop', namespace: 'flux-system', creationTimestamp: new Date(clock.now()).toISOString() },
    spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'gone' } },
  };
  const said: string[] = [];
  const finder = createRevisionFinder({
    clock,
    recorder: { record: (_: unknown, { reason }: { readonly reason: string }) => said.push(reason) },
    feed: { add: () => undefined },
    revisions: { get: () => undefined, isKnown: () => false, keys: () => [] },
    absent: 'does not exist',
  } as never);
  const nextLook = createNextLook({
    clock,
    appHealth: { lookAgainAfterMs: () => undefined },
    autoRevert: { graceLeftMs: () => undefined },
  });
  const target = { drift: { retryAfterMs: () => undefined } };
  const rest = { state: newAppRecords('flux-system/shop'), target, checksUnknown: false };

  // A timer may fire a moment early, so this pass begins just before the wait is over.
  clock.advance(4_999);
  const early = await finder.find(app, AbortSignal.timeout(1_000));
  expect(early.finding.reason).toBe('ArtifactFailed');
  clock.advance(5);
  const look = nextLook({ ...early, ...rest } as never, { value: 'Stalled', deleting: 0 });
  expect(look?.requeueAfterMs).toBeGreaterThan(0);

  clock.advance(look?.requeueAfterMs ?? 0);
  const late = await finder.find(app, AbortSignal.timeout(1_000));
  expect(late.finding.reason).toBe('SourceNotFound');
  expect(said).toEqual(['SourceNotFound']);
  expect(nextLook({ ...late, ...rest } as never, { value: 'Stalled', deleting: 0 })).toBeUndefined();
});

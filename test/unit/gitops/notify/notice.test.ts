import { describe, expect, it } from 'vitest';
import { type Attempt, withAttempt } from '../../../../src/api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../../src/api/kustomize/v1/kustomization.ts';
import type { Alert } from '../../../../src/api/notification/v1beta3/alert.ts';
import type { GitRepository } from '../../../../src/api/source/v1/git-repository.ts';
import { badPattern, isAbout, wants } from '../../../../src/gitops/notify/alert-filter.ts';
import { graceMs, isNews, type Notice, nameOfNotice, noticeOfApp, noticeOfRepository } from '../../../../src/gitops/notify/notice.ts';
import { createSendRate } from '../../../../src/gitops/notify/send-rate.ts';
import { createManualClock } from '../../../support/manual-clock.ts';
import { processorMs } from '../../../support/processor-time.ts';

const at = '2026-01-01T00:00:00Z';
const now = Date.parse(at);
const revision = `main@sha1:${'a'.repeat(40)}`;
const attempt: Attempt = {
  revision,
  author: 'Mara',
  subject: 's',
  digest: '',
  seenAt: at,
  startedAt: at,
  phases: [],
  tries: 1,
  reason: 'X',
};

type Conditions = readonly (readonly [type: string, status: string, reason: string, message: string])[];

const app = (conditions: Conditions, changes: { suspend?: boolean; observed?: number; attempts?: boolean } = {}): Kustomization => ({
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'web', namespace: 'flux-system', generation: 2, labels: { team: 'a' } },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' }, suspend: changes.suspend === true },
  status: {
    observedGeneration: changes.observed ?? 2,
    conditions: conditions.map(([type, status, reason, message]) => ({ type, status, reason, message, lastTransitionTime: at })) as never,
    history: changes.attempts === false ? [] : withAttempt([], attempt, at),
  },
});

const ready = ['Ready', 'True', 'ReconciliationSucceeded', ''] as const;

describe('notices about an app', () => {
  it('is the end that its commit came to: healthy, refused, or unwell for a while', () => {
    expect(noticeOfApp(app([ready, ['Healthy', 'True', 'Healthy', '']]), now)).toMatchObject({ notice: { state: 'success', revision } });
    expect(noticeOfApp(app([['Ready', 'False', 'BuildFailed', 'a.yaml:1 no']]), now)).toEqual({
      notice: { state: 'failure', revision, reason: 'BuildFailed', message: 'a.yaml:1 no' },
    });
    const unwell = app([ready, ['Healthy', 'False', 'Degraded', 'exited 1']]);
    expect(noticeOfApp(unwell, now + 1_000)).toEqual({ lookAgainAfterMs: graceMs - 1_000 });
    expect(noticeOfApp(unwell, now + graceMs)).toMatchObject({
      notice: { state: 'failure', reason: 'HealthCheckFailed', message: 'exited 1' },
    });
    expect(noticeOfApp(app([ready, ['Healthy', 'Unknown', 'Progressing', '1 of 2']]), now)).toMatchObject({ notice: { state: 'pending' } });
    expect(noticeOfApp(app([ready]), now)).toMatchObject({ notice: { state: 'success' } });
  });

  it('is nothing while its spec or its turn has not come, or it is suspended', () => {
    expect(noticeOfApp(app([]), now)).toBeUndefined();
    expect(noticeOfApp(app([ready], { suspend: true }), now)).toBeUndefined();
    expect(noticeOfApp(app([ready], { observed: 1 }), now)).toBeUndefined();
    expect(noticeOfApp(app([ready], { attempts: false }), now)).toBeUndefined();
    for (const reason of ['DependencyNotReady', 'ArtifactFailed'])
      expect(noticeOfApp(app([['Ready', 'False', reason, '']]), now)).toBeUndefined();
  });

  it('comes once each, pending once before the end and never after it', () => {
    const notice = (state: Notice['state'], of = revision): Notice => ({ state, revision: of, reason: 'R', message: '' });
    const other = `main@sha1:${'b'.repeat(40)}`;
    expect(isNews(notice('pending'), undefined)).toBe(true);
    expect(isNews(notice('pending'), nameOfNotice(notice('pending')))).toBe(false);
    expect(isNews(notice('success'), nameOfNotice(notice('pending')))).toBe(true);
    expect(isNews(notice('pending'), nameOfNotice(notice('success')))).toBe(false);
    expect(isNews(notice('success'), nameOfNotice(notice('success')))).toBe(false);
    expect(isNews(notice('pending', other), nameOfNotice(notice('success')))).toBe(true);
    expect(isNews(notice('success'), nameOfNotice(notice('failure')))).toBe(true);
    expect(isNews({ ...notice('failure'), reason: 'Other' }, nameOfNotice(notice('failure')))).toBe(true);
  });
});

it('tells of a repository its new commits, and once that it cannot be read', () => {
  const repository = (status: 'True' | 'False', suspend = false): GitRepository => ({
    apiVersion: 'source.toolkit.fluxcd.io/v1',
    kind: 'GitRepository',
    metadata: { name: 'cluster', namespace: 'flux-system' },
    spec: { url: 'https://example.com/x', interval: '1m', suspend },
    status: {
      artifact: { path: '', url: '', revision, lastUpdateTime: at },
      conditions: [{ type: 'Ready', status, reason: 'GitOperationFailed', message: 'm', lastTransitionTime: at }],
    },
  });
  expect(noticeOfRepository(repository('True'))).toMatchObject({ notice: { state: 'success', revision, reason: 'NewArtifact' } });
  expect(noticeOfRepository(repository('False'))).toEqual({
    notice: { state: 'failure', revision: '', reason: 'GitOperationFailed', message: 'm' },
  });
  expect(noticeOfRepository(repository('False', true))).toBeUndefined();
});

describe('an alert', () => {
  const alert = (spec: Partial<Alert['spec']>): Alert => ({
    apiVersion: 'notification.toolkit.fluxcd.io/v1beta3',
    kind: 'Alert',
    metadata: { name: 'a', namespace: 'flux-system' },
    spec: { providerRef: { name: 'p' }, eventSources: [{ kind: 'Kustomization', name: '*' }], ...spec },
  });
  const sources = (...eventSources: Alert['spec']['eventSources']): Alert => alert({ eventSources });
  const subject = app([]);
  const notice = (message: string, state: Notice['state'] = 'success'): Notice => ({ state, revision, reason: 'R', message });

  it('is about objects by kind, name, namespace and labels', () => {
    expect(isAbout(sources({ kind: 'Kustomization', name: '*' }), subject)).toBe(true);
    expect(isAbout(sources({ kind: 'Kustomization', name: 'web' }), subject)).toBe(true);
    expect(isAbout(sources({ kind: 'Kustomization', name: 'we*' }), subject)).toBe(false);
    expect(isAbout(sources({ kind: 'GitRepository', name: '*' }), subject)).toBe(false);
    expect(isAbout(sources({ kind: 'Kustomization', name: '*', namespace: 'other' }), subject)).toBe(false);
    expect(isAbout(sources({ kind: 'Kustomization', name: '*', matchLabels: { team: 'a' } }), subject)).toBe(true);
    expect(isAbout(sources({ kind: 'Kustomization', name: '*', matchLabels: { team: 'b' } }), subject)).toBe(false);
    expect(isAbout(sources({ kind: 'Kustomization', name: 'web', matchLabels: { team: 'b' } }), subject)).toBe(false);
    expect(isAbout(sources({ kind: 'GitRepository', name: 'x' }, { kind: 'Kustomization', name: 'web' }), subject)).toBe(true);
  });

  it('wants messages by severity and by what they say', () => {
    expect(wants(alert({ eventSeverity: 'error' }), notice('m'), 'm')).toBe(false);
    expect(wants(alert({ eventSeverity: 'error' }), notice('m', 'failure'), 'm')).toBe(true);
    expect(wants(alert({ inclusionList: ['^never', 'de.loyed'] }), notice('m'), 'was deployed')).toBe(true);
    expect(wants(alert({ inclusionList: ['^never'] }), notice('m'), 'was deployed')).toBe(false);
    expect(wants(alert({ exclusionList: ['waiting'] }), notice('m'), 'waiting for health')).toBe(false);
    // With Flux, too, what cannot be read matches nothing.
    expect(wants(alert({ inclusionList: ['('] }), notice('m'), '(')).toBe(false);
    expect(wants(alert({ exclusionList: ['('] }), notice('m'), '(')).toBe(true);
    expect(badPattern(alert({ inclusionList: ['ok'], exclusionList: ['ok', '('] }))).toMatch(/^spec\.exclusionList\[1\]: /);
  });

  it('is not stalled by a pattern that other engines take forever with', () => {
    const before = processorMs();
    expect(wants(alert({ exclusionList: ['(a+)+$'] }), notice('m'), `${'a'.repeat(5_000)}!`)).toBe(true);
    expect(processorMs() - before).toBeLessThan(2_000);
  });
});

describe('a provider', () => {
  const start = () => {
    const clock = createManualClock();
    return { clock, rate: createSendRate(clock) };
  };

  it('gets a burst of messages, and then each its turn, however often they ask', () => {
    const { clock, rate } = start();
    const send = (provider: string, message: string): number => {
      const wait = rate.take(provider, message);
      if (wait === 0) rate.done(provider);
      return wait;
    };
    const first = Array.from({ length: 23 }, (_, index) => send('a', `m${index}`));
    expect(first).toEqual([...Array.from({ length: 20 }, () => 0), 200, 400, 600]);
    expect(send('b', 'm20')).toBe(0);
    clock.advance(250);
    expect(['m22', 'm20', 'm21'].map((message) => send('a', message))).toEqual([350, 0, 150]);
    // The turn of a message that nobody sends any more holds up nobody for long.
    clock.advance(120_000);
    expect(send('a', 'm22')).toBe(0);
  });

  it('that does not answer gets two messages at a time, and the others another turn each', () => {
    const { clock, rate } = start();
    expect(['a', 'b', 'c', 'd'].map((message) => rate.take('p', message))).toEqual([0, 0, 200, expect.any(Number)]);
    expect(rate.take('other', 'a')).toBe(0);
    rate.done('p');
    clock.advance(1_000);
    expect(rate.take('p', 'c')).toBe(0);
    expect(rate.take('p', 'd')).toBeGreaterThan(0);
  });

  it('that wants to be left alone gets nothing until then, whatever the message', () => {
    const { clock, rate } = start();
    rate.pause('p', 5_000);
    expect([rate.take('p', 'a'), rate.take('p', 'b')]).toEqual([5_000, 5_200]);
    clock.advance(5_000);
    expect([rate.take('p', 'a'), rate.take('p', 'b')]).toEqual([0, 200]);
  });
});

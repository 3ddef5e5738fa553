import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import { driftLine } from '../../../src/gitops/apply/records/drifts.ts';
import {
  changeWithoutValues,
  differenceWithoutValues,
  leftOverWithoutValues,
  publicActivity,
  publicApp,
  publicMessage,
  publicReason,
} from '../../../src/web/without-values.ts';

/** Values that look like the text around them. */
const hostile = [
  'hunter2',
  'hunter2 by kubectl',
  'hunter2 → hunter2',
  'hunter2 and 3 more',
  'hunter2 was put back 3 times within a minute',
  'hunter2, put back',
  'by hunter2',
  ': hunter2 by',
  'a → b by hunter2',
];
const pairs = hostile.flatMap((before) => hostile.map((after) => `${before} → ${after}`));

describe('texts about changed fields, for readers without rights', () => {
  it('keep the path, the count and the manager', () => {
    expect(changeWithoutValues('spec.replicas 3 → 9')).toBe('spec.replicas');
    expect(changeWithoutValues('data.a 1 → 9 and 1 more')).toBe('data.a and 1 more');
    expect(differenceWithoutValues('ConfigMap web/a: data.a 1 → 9 and 1 more by kubectl-edit')).toBe(
      'ConfigMap web/a: data.a and 1 more by kubectl-edit',
    );
    expect(differenceWithoutValues('Deployment web/a: spec.replicas 2 → 8 by kubectl, held until 14:03:12 UTC after 3 corrections')).toBe(
      'Deployment web/a: spec.replicas by kubectl, held until 14:03:12 UTC after 3 corrections',
    );
    expect(leftOverWithoutValues('Service web/a: spec.clusterIP None')).toBe('Service web/a: spec.clusterIP');
  });

  it('stay as they are when they have no values', () => {
    expect(changeWithoutValues('deleted')).toBe('deleted');
    expect(differenceWithoutValues('ConfigMap web/a: deleted; not healed: namespace web is being deleted')).toBe(
      'ConfigMap web/a: deleted; not healed: namespace web is being deleted',
    );
    expect(publicMessage('Pulled', 'image a → b')).toBe('image a → b');
    const created = 'ConfigMap web/a created\nConfigMap web/b configured\nrevision main@sha1:1';
    expect(publicMessage('ReconciliationSucceeded', created)).toBe(created);
  });

  it('have nothing of a value, whatever it looks like and whoever wrote it', () => {
    for (const values of pairs) {
      const change = `data.password ${values}`;
      expect(changeWithoutValues(change)).not.toContain('hunter2');
      for (const by of ['kubectl', '']) {
        const line = driftLine('ConfigMap web/a', { change, by });
        for (const ending of ['', ', held until 14:03:12 UTC after 3 corrections', '; not healed: it is being deleted'])
          expect(differenceWithoutValues(line + ending), line + ending).not.toContain('hunter2');
        expect(publicMessage('DriftCorrected', `${line}, put back`), line).not.toContain('hunter2');
      }
      const summary = `ConfigMap web/a configured (${change}, data.b ${values})\nrevision main@sha1:1`;
      expect(publicMessage('ReconciliationSucceeded', summary)).toBe('ConfigMap web/a configured\nrevision main@sha1:1');
      const fight = `ConfigMap web/a: ${change} was put back 3 times within a minute; kubectl changes it again each time`;
      expect(publicMessage('DriftFight', fight), fight).not.toContain('hunter2');
      expect(publicMessage('LeftOver', `ConfigMap web/a: ${change} left Git, and the server keeps it.`)).not.toContain('hunter2');
    }
  });

  it('are what conditions of an app say in public', () => {
    const condition = (type: string, message: string) => ({ type, status: 'True', reason: type, message, lastTransitionTime: '' });
    const app = (conditions: readonly object[]): Kustomization => ({ metadata: { name: 'a' }, spec: {}, status: { conditions } }) as never;
    const drifted = app([
      condition('Drifted', 'ConfigMap web/a: data.a 1 → 2 by kubectl\nConfigMap web/b: data.b 3 → 4 by kubectl'),
      condition('Ready', 'applied'),
    ]);
    expect(publicApp(drifted).status?.conditions?.map(({ message }) => message)).toEqual([
      'ConfigMap web/a: data.a by kubectl\nConfigMap web/b: data.b by kubectl',
      'applied',
    ]);
    expect(publicApp(drifted)).toBe(publicApp(drifted));
    const plain = app([condition('Ready', 'applied')]);
    expect(publicApp(plain)).toBe(plain);
  });
});

describe('reasons of objects and refusals, for readers without rights', () => {
  it.each([
    ['Container web in web-1 exited 3, restarted twice: token hunter2', 'Container web in web-1 exited 3, restarted twice'],
    ['Container web in web-1 ran out of memory, restarted once: hunter2', 'Container web in web-1 ran out of memory, restarted once'],
    [
      'Container web in web-1 exited 137, restarted 4 times: liveness probe failed 9 times: HTTP 503 from :8080/healthz',
      'Container web in web-1 exited 137, restarted 4 times: liveness probe failed 9 times: HTTP 503 from :8080/healthz',
    ],
    [
      'Container web in web-1 exited 137, restarted 4 times: liveness probe failed 9 times: hunter2',
      'Container web in web-1 exited 137, restarted 4 times: liveness probe failed 9 times',
    ],
    [
      '0 of 1 pods ready; web-1: readiness probe failed 34 times: hunter2: HTTP 500 from :1',
      '0 of 1 pods ready; web-1: readiness probe failed 34 times',
    ],
    [
      'web/a.yaml:3:1 Deployment web/a: spec.replicas: Invalid value: -1: must be greater than 0',
      'web/a.yaml:3:1 Deployment web/a: spec.replicas: Invalid value: must be greater than 0',
    ],
    ['env[0].name: Invalid value: "hunter2: \\"hunter2": must be short', 'env[0].name: Invalid value: must be short'],
    ['spec: Invalid value: {"a":"hunter2"}: field is immutable', 'spec: Invalid value: field is immutable'],
    ['type: Unsupported value: "hunter2": supported values: "A"', 'type: Unsupported value: supported values: "A"'],
    [
      'Image nginx:9 of container web in web-1 cannot be used: not found',
      'Image nginx:9 of container web in web-1 cannot be used: not found',
    ],
  ])('%s', (text, shown) => {
    expect(publicReason(text)).toBe(shown);
    expect(publicReason(`${text}\nhunter-free line`)).toBe(`${shown}\nhunter-free line`);
  });

  it('are the same in Events, conditions and activity', () => {
    expect(publicMessage('Unhealthy', 'Readiness probe failed: hunter2\nhunter2')).toBe('Readiness probe failed');
    expect(publicMessage('Unhealthy', 'Readiness probe failed: HTTP probe failed with statuscode: 500')).toContain('500');
    const reason = 'Container web in web-1 exited 3, restarted twice: hunter2';
    expect(JSON.stringify(publicActivity({ type: 'degraded', at: 0, app: 'web', sha: '', reason }))).not.toContain('hunter2');
    expect(JSON.stringify(publicActivity({ type: 'failed', at: 0, app: 'web', sha: '', errors: [reason] }))).not.toContain('hunter2');
    const condition = { type: 'Healthy', status: 'False', reason: 'Degraded', message: `${reason}\nkubectl logs`, lastTransitionTime: '' };
    const app = { metadata: { name: 'a' }, spec: {}, status: { conditions: [condition] } } as unknown as Kustomization;
    expect(JSON.stringify(publicApp(app))).not.toContain('hunter2');
  });
});

import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../src/api/kustomize/v1/kustomization.ts';
import { driftLine } from '../../../src/gitops/apply/records/drifts.ts';
import {
  changeWithoutValues,
  differenceWithoutValues,
  leftOverWithoutValues,
  publicApp,
  publicMessage,
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

import { describe, expect, it } from 'vitest';
import type { ControllerRevision } from '../../../src/api/apps/v1/controller-revision.ts';
import type { PodTemplateSpec } from '../../../src/api/core/v1/pod.ts';
import { byRevision, dataOf, isRevisionOf, templateIn } from '../../../src/controllers/revisions/revision.ts';

const template: PodTemplateSpec = {
  spec: { containers: [{ name: 'web', image: 'host/web:1' }] },
  metadata: { labels: { app: 'web' } },
};

const revision = (data: ControllerRevision['data'], number = 1, name = 'web-1'): ControllerRevision => ({
  apiVersion: 'apps/v1',
  kind: 'ControllerRevision',
  metadata: { name },
  ...(data === undefined ? {} : { data }),
  revision: number,
});

describe('the data of a revision', () => {
  it('is a patch that replaces the template', () => {
    expect(dataOf(template)).toEqual({ spec: { template: { $patch: 'replace', ...template } } });
    expect(templateIn(revision(dataOf(template)))).toEqual(template);
  });

  it('is that of a template whatever its order of fields, and with the null that upstream writes', () => {
    const theirs = {
      spec: { template: { $patch: 'replace', metadata: { creationTimestamp: null, labels: { app: 'web' } }, spec: template.spec } },
    };
    expect(isRevisionOf(revision(theirs), template)).toBe(true);
    expect(isRevisionOf(revision(dataOf({ ...template, metadata: { labels: { app: 'other' } } })), template)).toBe(false);
    expect(isRevisionOf(revision({ foreign: true }), template)).toBe(false);
    expect(isRevisionOf(revision(undefined), template)).toBe(false);
  });

  it('has its place by number, then by age and name', () => {
    const names = [revision({}, 2, 'a'), revision({}, 1, 'c'), revision({}, 1, 'b')]
      .toSorted(byRevision)
      .map(({ metadata }) => metadata.name);
    expect(names).toEqual(['b', 'c', 'a']);
  });
});

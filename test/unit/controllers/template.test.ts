import { describe, expect, it } from 'vitest';
import type { PodTemplateSpec } from '../../../src/api/core/v1/pod.ts';
import { templateHash, withHash } from '../../../src/controllers/deployment/template.ts';
import { sameTemplate } from '../../../src/lifecycle/deployment-templates.ts';

const template = (image: string): PodTemplateSpec => ({
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'web', image }] },
});

describe('template hash', () => {
  it('does not depend on the order of fields', () => {
    const other: PodTemplateSpec = { spec: { containers: [{ image: 'host/web:1', name: 'web' }] }, metadata: { labels: { app: 'web' } } };
    expect(templateHash(other, 0)).toBe(templateHash(template('host/web:1'), 0));
  });

  it('stays what it is: ReplicaSets of earlier versions have it in their names', () => {
    expect(templateHash(template('host/web:1'), 0)).toBe('7d5b66ccb5');
  });

  it('differs by template and by collision count, and is a label value', () => {
    const hashes = [
      templateHash(template('host/web:1'), 0),
      templateHash(template('host/web:2'), 0),
      templateHash(template('host/web:1'), 1),
    ];
    expect(new Set(hashes).size).toBe(3);
    for (const hash of hashes) expect(hash).toMatch(/^[bcdfghjklmnpqrstvwxz2456789]{1,10}$/);
  });

  it('is left out when templates are compared', () => {
    const hashed = withHash(template('host/web:1'), 'abc');
    expect(sameTemplate(hashed, template('host/web:1'))).toBe(true);
    expect(sameTemplate(hashed, template('host/web:2'))).toBe(false);
    const relabelled: PodTemplateSpec = { ...template('host/web:1'), metadata: { labels: { app: 'api' } } };
    expect(sameTemplate(hashed, relabelled)).toBe(false);
  });
});

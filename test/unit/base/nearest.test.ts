import { describe, expect, it } from 'vitest';
import { nearest } from '../../../src/base/nearest.ts';

describe('the nearest candidate', () => {
  it('is the candidate with the fewest slips', () => {
    const apps = ['storefront', 'cache', 'migrate', 'namespaces'];
    for (const [typed, meant] of [
      ['shopfront', 'storefront'],
      ['storefornt', 'storefront'],
      ['cahce', 'cache'],
      ['cach', 'cache'],
      ['migrates', 'migrate'],
      ['namespace', 'namespaces'],
      ['cache', 'cache'],
    ] as const) {
      expect(nearest(typed, apps), typed).toBe(meant);
    }
  });

  it('is nothing when nothing is near', () => {
    expect(nearest('frontend', ['storefront', 'cache'])).toBeUndefined();
    expect(nearest('a', ['bcd'])).toBeUndefined();
    expect(nearest('x', [])).toBeUndefined();
    expect(nearest('y'.repeat(10_000), ['cache'])).toBeUndefined();
  });
});

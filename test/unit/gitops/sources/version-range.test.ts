import { describe, expect, it } from 'vitest';
import { newestInRange } from '../../../../src/gitops/sources/version-range.ts';

const tags = ['v0.9.0', 'v1.0.0', '1.2.0', 'v1.2.1-rc.1', 'v1.10.0', 'v2.0.0-beta.1', 'latest', 'v3', '1.4'];

describe('a range of versions', () => {
  it.each([
    ['>=1.0.0', 'v1.10.0'],
    ['*', 'v1.10.0'],
    ['1.x', 'v1.10.0'],
    ['1.2', '1.2.0'],
    ['~1.2.0', '1.2.0'],
    ['^0.9', 'v0.9.0'],
    ['>=1.0.0, <1.10.0', '1.2.0'],
    ['>=1.0.0 <1.10.0', '1.2.0'],
    ['=>1.0.0 =<1.2.0', '1.2.0'],
    ['1.0.0 - 1.5.0', '1.2.0'],
    ['>=1.0.0, !=1.10.0', '1.2.0'],
    ['>=1.0.0, !=1.x', undefined],
    ['<1.0.0 || >1.9.0 <2.0.0', 'v1.10.0'],
    ['>=9.0.0', undefined],
  ])('%s is %s', (range, expected) => {
    expect(newestInRange(range, tags)).toBe(expected);
  });

  it('leaves pre-releases out unless a condition of the same alternative names one', () => {
    expect(newestInRange('>=1.0.0-0', tags)).toBe('v2.0.0-beta.1');
    expect(newestInRange('~1.2.1-0', tags)).toBe('v1.2.1-rc.1');
    expect(newestInRange('1.x || >=2.0.0', tags)).toBe('v1.10.0');
    expect(newestInRange('0.x || >=2.0.0-0', tags)).toBe('v2.0.0-beta.1');
  });

  it('is no version that lacks a number, and no range that is not one', () => {
    expect(newestInRange('*', ['v3', '1.4', 'latest'])).toBeUndefined();
    expect(() => newestInRange('not a range', tags)).toThrow(/semver parse error: "not a range"/);
  });

  it('takes the same tag of equal versions, whatever their order', () => {
    expect(newestInRange('1.x', ['1.0.0+a', '1.0.0+b'])).toBe('1.0.0+b');
    expect(newestInRange('1.x', ['1.0.0+b', '1.0.0+a'])).toBe('1.0.0+b');
  });
});

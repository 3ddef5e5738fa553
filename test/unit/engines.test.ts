import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

interface LockFile {
  readonly packages: Readonly<
    Record<
      string,
      { readonly version?: string; readonly engines?: { readonly node?: string } | readonly string[]; readonly resolved?: string }
    >
  >;
}

const lock = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')) as LockFile;
/** The oldest Node that package.json admits. */
const oldest = [20, 19, 0] as const;

/**
 * True when `oldest` is in one of the ranges of an `engines` text. Packages use the forms `>=18`, `^20.19.0 ||
 * >=22.12`, `20 || 22` and `*`.
 */
function admits(range: string): boolean {
  return range.split('||').some((alternative) =>
    alternative
      .trim()
      .replace(/([<>=^~])\s+/g, '$1')
      .split(/\s+/)
      .every((comparator) => {
        const [, operator = '', version = ''] = /^(>=|<=|>|<|\^|~|=)?\s*v?([\d.x*]*)/.exec(comparator.trim()) ?? [];
        const parts = version.split('.').map((part) => (part === '' || part === 'x' || part === '*' ? 0 : Number(part)));
        const order = oldest.map((part, index) => Math.sign(part - (parts[index] ?? 0))).find((sign) => sign !== 0) ?? 0;
        if (version === '' || version === '*') return true;
        if (operator === '>=') return order >= 0;
        if (operator === '>') return order > 0;
        if (operator === '<') return order < 0;
        if (operator === '<=') return order <= 0;
        return parts[0] === oldest[0] && order >= 0;
      }),
  );
}

describe('package-lock.json', () => {
  it('has no package that leaves the oldest supported Node', () => {
    const refused = Object.entries(lock.packages)
      .filter(([path]) => path !== '')
      .map(([path, { version, engines }]) => ({
        path,
        version,
        range: Array.isArray(engines) ? engines.join(' ') : (engines as { node?: string } | undefined)?.node,
      }))
      .filter(({ range }) => range !== undefined && !admits(range));
    expect(refused).toEqual([]);
  });

  it('names no place to fetch from: that is the reader’s choice', () => {
    expect(Object.values(lock.packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
  });
});

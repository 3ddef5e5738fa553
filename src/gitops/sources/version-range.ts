import semver from 'semver';
import { SourceError } from './git-source.ts';

/**
 * The tag with the highest version in a range, by the rules of Flux. A tag is a version when it has all three numbers,
 * with or without `v`. Commas separate conditions as blanks do. Pre-releases count when a condition of their
 * alternative names one (`>=1.0.0-0`).
 *
 * @see https://fluxcd.io/flux/components/source/gitrepositories/#semver-example
 * @throws SourceError when `range` is none
 */
export function newestInRange(range: string, tags: readonly string[]): string | undefined {
  const alternatives = range.split('||').map((text) => alternativeOf(text, range));
  let newest: { readonly tag: string; readonly version: semver.SemVer } | undefined;
  // In the order of their names, so that of equal versions (`1.0.0+1`, `1.0.0+2`) always the same is taken.
  for (const tag of [...tags].sort()) {
    const version = semver.parse(tag);
    if (version === null || !alternatives.some((matches) => matches(version))) continue;
    if (newest === undefined || version.compare(newest.version) >= 0) newest = { tag, version };
  }
  return newest?.tag;
}

function alternativeOf(text: string, whole: string): (version: semver.SemVer) => boolean {
  const excluded: semver.Range[] = [];
  const conditions = text
    .replaceAll(',', ' ')
    .replaceAll('=>', '>=')
    .replaceAll('=<', '<=')
    .replace(/!=\s*(\S+)/g, (_match, version: string) => {
      excluded.push(rangeOf(version, whole));
      return '';
    });
  const includePrerelease = /\d-[0-9A-Za-z]/.test(conditions);
  const included = rangeOf(conditions, whole);
  return (version) => {
    if (version.prerelease.length > 0 && !includePrerelease) return false;
    const options = { includePrerelease };
    return semver.satisfies(version, included, options) && !excluded.some((each) => semver.satisfies(version, each, options));
  };
}

function rangeOf(text: string, whole: string): semver.Range {
  try {
    return new semver.Range(text.trim());
  } catch (cause) {
    throw new SourceError('BranchNotFound', `semver parse error: "${whole}" is not a range of versions`, {
      hint: 'Set spec.ref.semver to a range such as ">=1.0.0 <2.0.0" or "1.x".',
      cause,
    });
  }
}

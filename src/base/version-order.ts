/** Compares the leading numbers of two versions, as in `3.5.16-rc.1`; a suffix does not count. True when the first one is lower. */
export function isOlder(version: string, than: string): boolean {
  const [ours = [], theirs = []] = [version, than].map((text) => text.split('-')[0]?.split('.').map(Number) ?? []);
  for (const [at, part] of theirs.entries()) {
    const own = ours[at] ?? 0;
    if (own !== part) return own < part;
  }
  return false;
}

/** A JSON value as Go's `%v` prints it, which error texts of the API contain: `map[image:x ports:[80 81]]`. */
export function goTextOf(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(goTextOf).join(' ')}]`;
  if (typeof value !== 'object') return String(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${members.map(([key, member]) => `${key}:${goTextOf(member)}`).join(' ')}]`;
}

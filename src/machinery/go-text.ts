/** A JSON value as Go's `%v` prints it, which error texts of the API contain: `map[image:x ports:[80 81]]`. */
export function goTextOf(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(goTextOf).join(' ')}]`;
  if (typeof value !== 'object') return String(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${members.map(([key, member]) => `${key}:${goTextOf(member)}`).join(' ')}]`;
}

/** JSON as Go's encoder writes maps: keys in order, and no `<`, `>` or `&`. */
export function goJsonOf(value: unknown): string {
  const text = JSON.stringify(value, (_key, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
  return escapeHtml(text);
}

/** A string as Go's JSON encoder writes it. */
export const goJsonString = (text: string): string => escapeHtml(JSON.stringify(text));

/** JSON text as Go's encoder writes it: without `<`, `>` and `&`. */
export const escapeHtml = (json: string): string =>
  json.replace(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

const goEscapes: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** A string in quotes as Go's `%q` prints it: what JSON calls `\u0000` is `\x00`, and invisible characters are spelled out. */
export function goQuote(text: string): string {
  const escaped = text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]|["\\]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    const known = goEscapes[character];
    if (known !== undefined) return known;
    if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
    return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
  });
  return `"${escaped}"`;
}

/** Names the type of a JSON value as Go's decoder does in its errors. */
export function jsonTypeOf(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  return value === null ? 'null' : typeof value;
}

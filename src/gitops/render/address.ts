/**
 * An address that things are fetched from, in its one spelling: no user, no dots in the path, no slash at the end. Of characters only those that are the same everywhere, because an
 * address stands in a command that people are told to run. http only counts when the operator allowed just that.
 */
export function tryParseAddress(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!['https:', 'http:', 'oci:'].includes(url.protocol) || url.hostname === '') return undefined;
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return undefined;
  return /^[\w:/.~%+-]+$/.test(url.href) ? url.href.replace(/\/+$/, '') : undefined;
}

/** Whether an address is what was allowed, or lies below it. */
export const isBelow = (url: string, prefix: string): boolean => url === prefix || url.startsWith(`${prefix}/`);

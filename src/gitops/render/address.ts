/**
 * Normalizes an address for fetching: no user, no dots in the path, no slash at the end. It allows only characters with
 * one spelling, because people copy the address into a command. http only counts when the operator allowed just that.
 */
export function tryParseAddress(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!['https:', 'http:', 'oci:'].includes(url.protocol) || url.hostname === '') return undefined;
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return undefined;
  return /^[\w:/.~%+-]+$/.test(url.href) ? url.href.replace(/\/+$/, '') : undefined;
}

/** True when an address equals an allowed one, or is below it. */
export const isBelow = (url: string, prefix: string): boolean => url === prefix || url.startsWith(`${prefix}/`);

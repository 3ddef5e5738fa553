/**
 * The path of a request or a rule as the routing table compares it. It is percent-decoded once to bytes, repeated slashes are one, and
 * dot segments are followed, as nginx does. Undefined for a path that is none.
 *
 * A server behind the proxy may follow `..` itself. A request for `/public/../admin` must then not pass as one below `/public`. The
 * proxy sends on what the client wrote, and only chooses by this.
 *
 * @param path  begins with a slash and has no query; each character is a byte
 */
export function routingPath(path: string): string | undefined {
  // A backslash is a slash for some servers, so its meaning is not certain.
  if (!path.startsWith('/') || /[\\#\s]|\p{Cc}/u.test(path)) return undefined;
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return undefined;
  const decoded = path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  if (decoded.includes('\0')) return undefined;
  const parts: string[] = [];
  const all = decoded.split('/');
  for (const part of all) {
    if (part === '..') {
      if (parts.length === 0) return undefined;
      parts.pop();
    } else if (part !== '' && part !== '.') parts.push(part);
  }
  const last = all.at(-1);
  const isDirectory = last === '' || last === '.' || last === '..';
  return parts.length === 0 ? '/' : `/${parts.join('/')}${isDirectory ? '/' : ''}`;
}

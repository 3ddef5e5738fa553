/** The content of a `resolv.conf`. */
export interface ResolverConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/**
 * Reads the text of a `resolv.conf` as the kubelet does. Servers add up, the last `search` and `options` lines count, and
 * domains lose their final dot.
 *
 * @see resolv.conf(5)
 */
export function parseResolverConfig(text: string): ResolverConfig {
  const servers: string[] = [];
  let searches: readonly string[] = [];
  let options: readonly string[] = [];
  for (const line of text.split('\n')) {
    const [word, ...values] = line.trim().split(/\s+/);
    if (word === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    else if (word === 'search') searches = values.map((domain) => (domain === '.' ? domain : domain.replace(/\.$/, '')));
    else if (word === 'options') options = values;
  }
  return { servers, searches, options };
}

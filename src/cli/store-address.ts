/** The value of `--store` for an etcd. */
export interface EtcdAddress {
  readonly endpoints: readonly Endpoint[];
  /** All keys begin with it; it begins with a slash and does not end with one. */
  readonly prefix: string;
}

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

const defaultPort = 2379;
const defaultPrefix = '/midship';
const maxEndpoints = 16;

/** Reads `etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX]`; undefined when it is not such an address. */
export function tryParseEtcdAddress(text: string): EtcdAddress | undefined {
  const match = /^etcd:\/\/([^/]+)(\/.*)?$/.exec(text);
  if (match === null) return undefined;
  const endpoints = (match[1] as string).split(',').map(tryParseEndpoint);
  if (endpoints.length > maxEndpoints || endpoints.includes(undefined)) return undefined;
  const prefix = (match[2] ?? '').replace(/\/+$/, '');
  if (!/^(\/[\w.-]+)*$/.test(prefix)) return undefined;
  return { endpoints: endpoints as Endpoint[], prefix: prefix === '' ? defaultPrefix : prefix };
}

/** As it is typed after `--store`. */
export const formatEtcdAddress = ({ endpoints, prefix }: EtcdAddress): string =>
  `etcd://${endpoints.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')}${prefix}`;

function tryParseEndpoint(text: string): Endpoint | undefined {
  const url = `http://${text}`;
  if (text.includes('@') || !URL.canParse(url)) return undefined;
  const { hostname, port, pathname } = new URL(url);
  if (pathname !== '/' || hostname === '') return undefined;
  // The URL leaves out the port 80, which nobody means here.
  const isDefault = port === '' && !text.endsWith(':80');
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: isDefault ? defaultPort : Number(port || 80) };
}

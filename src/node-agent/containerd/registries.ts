import { isIP } from 'node:net';
import { parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';

/** Places that images come from, as `registries.yaml` of k3s names them. */
export interface Registries {
  /** By registry; `*` is every one that has no entry. */
  readonly mirrors: ReadonlyMap<string, readonly string[]>;
  /** By host and port of a registry or mirror. */
  readonly configs: ReadonlyMap<string, RegistryConfig>;
}

interface RegistryConfig {
  readonly auth?: RegistryAuth;
  readonly tls?: RegistryTls;
}

interface RegistryAuth {
  readonly username: string;
  readonly password: string;
  /** Base64 of `NAME:PASSWORD`. */
  readonly auth: string;
  readonly identityToken: string;
}

interface RegistryTls {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly skipVerify: boolean;
}

export const noRegistries: Registries = { mirrors: new Map(), configs: new Map() };

/** A file of registries that cannot be used; the message never repeats a value, which may be a password. */
export class RegistriesError extends Error {
  /** Counted from 1. */
  readonly line: number;
  readonly fix: string;
  constructor(line: number, why: string, fix: string, options?: ErrorOptions) {
    super(why, options);
    this.name = 'RegistriesError';
    this.line = line;
    this.fix = fix;
  }
}

const limits = { maxBytes: 1024 * 1024, maxDepth: 16, maxAliases: 64, maxDocuments: 1, filename: '' };
const example = 'The format is that of k3s: mirrors: { docker.io: { endpoint: ["https://mirror.example.com"] } }.';

/**
 * Reads a `registries.yaml`. Nothing of a file with a mistake is used.
 *
 * @throws RegistriesError with the line and the way to repair it
 * @see k3s documentation, "Private Registry Configuration"
 */
export function parseRegistries(text: string): Registries {
  const at = new Reader(text, readYaml(text), []);
  if (at.value === undefined || at.value === null) return noRegistries;
  at.onlyKeys(['mirrors', 'configs']);
  const mirrors = at
    .child('mirrors')
    .children()
    .map((mirror) => [mirror.name, endpointsOf(mirror)] as const);
  const configs = at
    .child('configs')
    .children()
    .map((config) => [config.name, configOf(config)] as const);
  return { mirrors: new Map(mirrors), configs: new Map(configs) };
}

function readYaml(text: string): unknown {
  try {
    return parseYamlDocuments(text, limits)[0]?.value;
  } catch (err) {
    if (err instanceof YamlError) throw new RegistriesError(err.line, err.reason, 'Correct the YAML of this line.', { cause: err });
    throw err;
  }
}

function endpointsOf(mirror: Reader): readonly string[] {
  checkHost(mirror);
  mirror.onlyKeys(['endpoint', 'rewrite']);
  if (mirror.child('rewrite').children().length > 0)
    mirror
      .child('rewrite')
      .refuse('rewrites are not supported: only the containerd of k3s has them', 'Remove it, and name the path in the endpoint.');
  return mirror
    .child('endpoint')
    .texts()
    .map((endpoint) => {
      const url = URL.canParse(endpoint.text()) ? new URL(endpoint.text()) : undefined;
      const isAddress = url !== undefined && ['http:', 'https:'].includes(url.protocol) && url.username === '' && url.password === '';
      if (!isAddress)
        endpoint.refuse(
          'an endpoint is http://HOST[:PORT][/PATH] or https://…, without a password',
          'Correct the address; passwords go to configs.HOST.auth.',
        );
      return endpoint.text().replace(/\/+$/, '');
    });
}

function configOf(config: Reader): RegistryConfig {
  checkHost(config);
  config.onlyKeys(['auth', 'tls']);
  const [auth, tls] = [config.child('auth'), config.child('tls')];
  auth.onlyKeys(['username', 'password', 'auth', 'identity_token']);
  tls.onlyKeys(['ca_file', 'cert_file', 'key_file', 'insecure_skip_verify']);
  const textOf = (reader: Reader, name: string): string => reader.child(name).optionalText() ?? '';
  const [caFile, certFile, keyFile] = [textOf(tls, 'ca_file'), textOf(tls, 'cert_file'), textOf(tls, 'key_file')];
  if ((certFile === '') !== (keyFile === ''))
    tls.refuse('cert_file and key_file need each other', 'Name both files of the client certificate.');
  return {
    ...(auth.isThere
      ? {
          auth: {
            username: textOf(auth, 'username'),
            password: textOf(auth, 'password'),
            auth: textOf(auth, 'auth'),
            identityToken: textOf(auth, 'identity_token'),
          },
        }
      : {}),
    ...(tls.isThere
      ? {
          tls: {
            ...(caFile === '' ? {} : { caFile }),
            ...(certFile === '' ? {} : { certFile, keyFile }),
            skipVerify: tls.child('insecure_skip_verify').flag(),
          },
        }
      : {}),
  };
}

/** Names become those of directories. */
function checkHost(reader: Reader): void {
  const [, address, port] = /^\[?([^[\]]+?)\]?(?::(\d{1,5}))?$/.exec(reader.name) ?? [];
  const isHost = address !== undefined && (/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(address) || isIP(address) > 0);
  const fits = reader.name === '*' || (isHost && Number(port ?? 1) < 65_536);
  if (!fits) reader.refuse('a registry is HOST or HOST:PORT, without scheme and path', 'Name it as images do: registry.example.com:5000.');
}

/** A value of the file, which knows its place there. */
class Reader {
  readonly #text: string;
  readonly #path: readonly string[];
  readonly value: unknown;

  constructor(text: string, value: unknown, path: readonly string[]) {
    this.#text = text;
    this.value = value;
    this.#path = path;
  }

  get name(): string {
    return this.#path.at(-1) ?? '';
  }

  get isThere(): boolean {
    return this.value !== undefined && this.value !== null;
  }

  child(name: string): Reader {
    const value = this.#map()?.[name];
    return new Reader(this.#text, value, [...this.#path, name]);
  }

  children(): readonly Reader[] {
    return Object.keys(this.#map() ?? {}).map((name) => this.child(name));
  }

  texts(): readonly Reader[] {
    if (!this.isThere) return [];
    const items = Array.isArray(this.value) ? this.value : this.refuse(`${this.name} is no list`, example);
    return items.map((item) => new Reader(this.#text, item, this.#path));
  }

  text(): string {
    return this.optionalText() ?? this.refuse(`${this.name} has an empty item`, example);
  }

  optionalText(): string | undefined {
    if (!this.isThere) return undefined;
    // A password of digits is a number to YAML.
    if (typeof this.value === 'string' || typeof this.value === 'number') return String(this.value);
    return this.refuse(`${this.name} is no text`, 'Put the value in quotation marks.');
  }

  flag(): boolean {
    if (!this.isThere) return false;
    return typeof this.value === 'boolean' ? this.value : this.refuse(`${this.name} is neither true nor false`, 'Write true or false.');
  }

  onlyKeys(known: readonly string[]): void {
    for (const name of Object.keys(this.#map() ?? {})) {
      if (!known.includes(name)) this.child(name).refuse(`${name} is not known here`, `Known are ${known.join(', ')}.`);
    }
  }

  refuse(why: string, fix: string): never {
    throw new RegistriesError(this.#line(), `${this.#path.join('.') || 'the file'}: ${why}`, fix);
  }

  #map(): Readonly<Record<string, unknown>> | undefined {
    if (!this.isThere) return undefined;
    if (typeof this.value !== 'object' || Array.isArray(this.value)) this.refuse(`${this.name || 'it'} is no map`, example);
    return this.value as Record<string, unknown>;
  }

  /** The keys of a path follow each other in the file. */
  #line(): number {
    const lines = this.#text.split('\n');
    let line = 0;
    for (const key of this.#path) {
      const found = lines.findIndex((text, index) => index >= line && text.includes(key));
      if (found !== -1) line = found;
    }
    return line + 1;
  }
}

/**
 * The files below containerd's `config_path`, by path: one for each registry that has a mirror or a certificate.
 *
 * @see containerd, docs/hosts.md
 */
export function hostsFiles({ mirrors, configs }: Registries): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const hosts = [...configs].flatMap(([host, { tls }]) => (tls === undefined ? [] : [host]));
  for (const name of new Set([...mirrors.keys(), ...hosts])) {
    const own = configs.get(name)?.tls;
    const lines = name === '*' ? [] : [`server = ${quoted(serverOf(name, own !== undefined))}`, ...tlsLines(own)];
    for (const endpoint of mirrors.get(name) ?? []) {
      const { host, pathname } = new URL(endpoint);
      lines.push('', `[host.${quoted(endpoint)}]`, '  capabilities = ["pull", "resolve"]');
      // A path is used as it is; without one containerd adds that of the protocol.
      if (pathname !== '/') lines.push('  override_path = true');
      lines.push(...tlsLines(configs.get(host)?.tls).map((line) => `  ${line}`));
    }
    files.set(`${name === '*' ? '_default' : name}/hosts.toml`, `${lines.join('\n')}\n`);
  }
  return files;
}

/** The part of containerd's configuration that has the passwords. */
export function authText({ configs }: Registries, plugin: string): string {
  const tables = [...configs].flatMap(([host, { auth }]) => {
    if (auth === undefined) return [];
    const fields = { username: auth.username, password: auth.password, auth: auth.auth, identitytoken: auth.identityToken };
    const lines = Object.entries(fields).flatMap(([name, value]) => (value === '' ? [] : [`      ${name} = ${quoted(value)}`]));
    return [`    [${plugin}.registry.configs.${quoted(host === 'docker.io' ? 'registry-1.docker.io' : host)}.auth]`, ...lines, ''];
  });
  return tables.join('\n');
}

const serverOf = (registry: string, hasTls: boolean): string => {
  if (registry === 'docker.io') return 'https://registry-1.docker.io';
  // As for a registry without a file: this machine's own need no certificate.
  const isLocal = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)(?::\d+)?$/.test(registry);
  return `${isLocal && !hasTls ? 'http' : 'https'}://${registry}`;
};

function tlsLines(tls: RegistryTls | undefined): readonly string[] {
  if (tls === undefined) return [];
  const { caFile, certFile, keyFile, skipVerify } = tls;
  return [
    ...(caFile === undefined ? [] : [`ca = ${quoted(caFile)}`]),
    ...(certFile === undefined || keyFile === undefined ? [] : [`client = [[${quoted(certFile)}, ${quoted(keyFile)}]]`]),
    ...(skipVerify ? ['skip_verify = true'] : []),
  ];
}

/** A string of JSON is one of TOML, but for DEL and code points that JSON writes as pairs, which TOML takes as they are. */
const quoted = (text: string): string => JSON.stringify(text).replaceAll('\u007f', '\\u007F');

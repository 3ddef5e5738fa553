import type { Secret } from '../api/core/v1/secret.ts';

/** A name and password, or a token, for one registry. */
export interface RegistryCredentials {
  readonly username: string;
  readonly password: string;
  readonly identityToken: string;
}

interface ImageName {
  /** `docker.io` for names without one. */
  readonly registry: string;
  /** Path below the registry, without tag and digest; `library/` is written out. */
  readonly repository: string;
}

const defaultRegistry = 'docker.io';
/** The name under which `docker login` keeps credentials of the default registry. */
const oldDefaultRegistry = 'index.docker.io';

/** Splits the name of an image as container tools do: the first part is a registry if it looks like a host. */
export function parseImageName(image: string): ImageName {
  const [named = ''] = image.split('@');
  const tagAt = named.indexOf(':', named.lastIndexOf('/') + 1);
  const name = tagAt === -1 ? named : named.slice(0, tagAt);
  const [first = '', ...rest] = name.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  const registry = isHost ? (first === oldDefaultRegistry ? defaultRegistry : first) : defaultRegistry;
  const path = isHost ? rest.join('/') : name;
  return { registry, repository: registry === defaultRegistry && !path.includes('/') ? `library/${path}` : path };
}

/**
 * The credentials among pull secrets that are for an image, those of the longest path first. Secrets of another type, and
 * such as cannot be read, count as empty.
 *
 * @see Kubernetes documentation, "Images", interpretation of config.json
 */
export function credentialsFor(image: string, secrets: readonly Secret[]): readonly RegistryCredentials[] {
  const { registry, repository } = parseImageName(image);
  const fitting = secrets
    .flatMap((secret) => entriesOf(secret))
    .filter(
      ({ place }) =>
        isFitting(place, registry, repository) || (registry === defaultRegistry && isFitting(place, oldDefaultRegistry, repository)),
    );
  return fitting.toSorted((one, other) => other.place.length - one.place.length).map(({ credentials }) => credentials);
}

interface Entry {
  /** `HOST/PATH`, with `*` in parts of the host. */
  readonly place: string;
  readonly credentials: RegistryCredentials;
}

function entriesOf({ type, data }: Secret): readonly Entry[] {
  const auths =
    type === 'kubernetes.io/dockerconfigjson'
      ? recordOf(recordOf(tryJson(data?.['.dockerconfigjson']))?.auths)
      : type === 'kubernetes.io/dockercfg'
        ? recordOf(tryJson(data?.['.dockercfg']))
        : undefined;
  return Object.entries(auths ?? {}).flatMap(([key, value]) => {
    const credentials = credentialsOf(recordOf(value) ?? {});
    return credentials === undefined ? [] : [{ place: placeOf(key), credentials }];
  });
}

/** `auth` is the base64 of `NAME:PASSWORD`, and wins. */
function credentialsOf(entry: Readonly<Record<string, unknown>>): RegistryCredentials | undefined {
  const textOf = (name: string): string => (typeof entry[name] === 'string' ? (entry[name] as string) : '');
  const decoded = Buffer.from(textOf('auth'), 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const [username, password] =
    colon === -1 ? [textOf('username'), textOf('password')] : [decoded.slice(0, colon), decoded.slice(colon + 1)];
  const identityToken = textOf('identitytoken');
  return username === '' && identityToken === '' ? undefined : { username, password, identityToken };
}

/** Without scheme, version of the protocol and last slash. */
const placeOf = (key: string): string =>
  key
    .replace(/^https?:\/\//, '')
    .replace(/\/v[12](?=\/|$)/, '')
    .replace(/\/+$/, '');

function isFitting(place: string, registry: string, repository: string): boolean {
  const slash = place.indexOf('/');
  const [host, path] = slash === -1 ? [place, ''] : [place.slice(0, slash), place.slice(slash + 1)];
  const [name = '', port] = host.split(':');
  const [ofRegistry = '', portOfRegistry] = registry.split(':');
  const parts = name.split('.');
  const wanted = ofRegistry.split('.');
  return (
    port === portOfRegistry &&
    parts.length === wanted.length &&
    parts.every((part, index) => hasForm(wanted[index] ?? '', part)) &&
    `${repository}/`.startsWith(path === '' ? '' : `${path}/`)
  );
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;

function tryJson(base64: string | undefined): unknown {
  try {
    return JSON.parse(Buffer.from(base64 ?? '', 'base64').toString('utf8'));
  } catch {
    // The API checks these Secrets; one that cannot be read gives no credentials.
    return undefined;
  }
}

/**
 * True when `text` has the form of `pattern`, where `*` is any text. Anybody who makes a Secret writes the pattern, so the time is at most
 * the product of the lengths.
 */
function hasForm(text: string, pattern: string): boolean {
  let [at, wanted, star, resume] = [0, 0, -1, 0];
  while (at < text.length) {
    if (pattern[wanted] === '*') {
      [star, resume] = [wanted, at];
      wanted += 1;
    } else if (pattern[wanted] === text[at]) {
      at += 1;
      wanted += 1;
    } else if (star !== -1) {
      resume += 1;
      [at, wanted] = [resume, star + 1];
    } else return false;
  }
  return pattern.slice(wanted).replaceAll('*', '') === '';
}

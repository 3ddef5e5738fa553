import { readFile } from 'node:fs/promises';
import { writeDurableFile } from '../../base/durable-file.ts';
import { parseYamlDocuments } from '../../machinery/yaml.ts';
import { formatOwnEncryption, newEncryptionKey } from './own-keys.ts';
import { aesCbcProvider, aesGcmProvider, identityProvider, type Provider, type ProviderKey } from './providers.ts';

/** Encrypted resources of the store, and their providers. */
export interface EncryptionConfiguration {
  /**
   * Providers of a resource (`core/secrets`): the first one writes, all of them read. Undefined for a resource that no rule names: it is
   * kept as it is.
   */
  providersOf(resource: string): readonly Provider[] | undefined;
  /** Digests by which servers that share a store compare their keys. */
  readonly keys: KeyDigests;
}

/** Digests of providers, twelve hexadecimal digits each; `identity` for values that are kept as they are. */
export interface KeyDigests {
  /** Digests of the providers that come first in a rule. */
  readonly writes: readonly string[];
  readonly reads: readonly string[];
}

interface Rule {
  /** `secrets`, `widgets.example.com`, `*.apps`, `*.` for the core group, `*.*`. */
  readonly resources: readonly string[];
  readonly providers: readonly Provider[];
}

const limits = { maxBytes: 1024 * 1024, maxDepth: 20, maxAliases: 0, maxDocuments: 2 };

/**
 * An EncryptionConfiguration as kube-apiserver reads it (`apiserver.config.k8s.io/v1`), with the providers `aesgcm`,
 * `aescbc` and `identity`.
 * If several rules name a resource, the first counts.
 *
 * @see Kubernetes, "Encrypting Confidential Data at Rest"
 * @throws Error that says what is wrong with the text, without any key
 */
export function parseEncryptionConfiguration(text: string): EncryptionConfiguration {
  const [document, ...others] = parseYamlDocuments(text, limits);
  if (document === undefined || others.length > 0) throw new Error('it must hold one document');
  const { apiVersion, kind, resources } = mapOf(document.value, 'the configuration', ['apiVersion', 'kind', 'metadata', 'resources']);
  if (apiVersion !== 'apiserver.config.k8s.io/v1' || kind !== 'EncryptionConfiguration') {
    throw new Error('it is no EncryptionConfiguration of apiserver.config.k8s.io/v1');
  }
  const rules = listOf(resources, 'resources').map((rule, index) => ruleOf(rule, `resources[${index}]`));
  return {
    providersOf: (resource) => rules.find(({ resources: names }) => names.some((name) => isNameOf(name, resource)))?.providers,
    keys: {
      writes: digestsOf(rules.flatMap(({ providers }) => providers.slice(0, 1))),
      reads: digestsOf(rules.flatMap(({ providers }) => providers)),
    },
  };
}

const digestsOf = (providers: readonly Provider[]): readonly string[] => [...new Set(providers.map(({ digest }) => digest))].sort();

/** True when a name of a configuration means the resource `group/plural`. */
function isNameOf(name: string, resource: string): boolean {
  const [group = '', plural = ''] = resource.split('/');
  const dot = name.indexOf('.');
  const [wanted, wantedGroup] = dot === -1 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1)];
  if (name === '*.*') return true;
  return (wanted === '*' || wanted === plural) && wantedGroup === (group === 'core' ? '' : group);
}

function ruleOf(value: unknown, where: string): Rule {
  const rule = mapOf(value, where, ['resources', 'providers']);
  const resources = listOf(rule.resources, `${where}.resources`).map((name, index) => {
    if (typeof name !== 'string' || !/^(\*\.|[a-z*])[a-z0-9.*-]*$/.test(name) || name === '*') {
      throw new Error(`${where}.resources[${index}] must be a resource such as secrets, widgets.example.com, *.apps or *.*`);
    }
    return name;
  });
  const providers = listOf(rule.providers, `${where}.providers`).flatMap((provider, index) =>
    providersIn(provider, `${where}.providers[${index}]`),
  );
  const prefixes = new Set<string>();
  for (const { prefix } of providers) {
    if (prefixes.has(prefix))
      throw new Error(`${where}.providers: two keys of one provider have the same name, or identity is listed twice`);
    prefixes.add(prefix);
  }
  return { resources, providers };
}

function providersIn(value: unknown, where: string): readonly Provider[] {
  const provider = mapOf(value, where, ['aesgcm', 'aescbc', 'identity', 'secretbox', 'kms']);
  const [name, ...more] = Object.keys(provider);
  if (name === undefined || more.length > 0) throw new Error(`${where} must have one of aesgcm, aescbc and identity`);
  switch (name) {
    case 'identity':
      return [identityProvider];
    case 'aesgcm':
      return keysOf(provider.aesgcm, `${where}.aesgcm`).map(aesGcmProvider);
    case 'aescbc':
      return keysOf(provider.aescbc, `${where}.aescbc`).map(aesCbcProvider);
    default:
      throw new Error(`${where}.${name} is not supported: use aesgcm`);
  }
}

function keysOf(value: unknown, where: string): readonly ProviderKey[] {
  return listOf(mapOf(value, where, ['keys']).keys, `${where}.keys`).map((entry, index) => {
    const at = `${where}.keys[${index}]`;
    const { name, secret } = mapOf(entry, at, ['name', 'secret']);
    if (typeof name !== 'string' || !/^[^:\s]{1,253}$/.test(name)) throw new Error(`${at}.name must be a text without colons`);
    const bytes = typeof secret === 'string' ? Buffer.from(secret, 'base64') : undefined;
    if (bytes === undefined || bytes.toString('base64').replace(/=+$/, '') !== String(secret).trim().replace(/=+$/, '')) {
      throw new Error(`${at}.secret must be base64`);
    }
    if (![16, 24, 32].includes(bytes.length)) throw new Error(`${at}.secret must have 16, 24 or 32 bytes; it has ${bytes.length}`);
    return { name, secret: bytes };
  });
}

/**
 * The configuration of a data directory: Secrets by AES-256-GCM under a key of its own, which is made at the first start.
 *
 * @returns `isNew` when there was no key: what the store holds is not encrypted yet
 * @throws Error when the file is there and cannot be read as a configuration
 */
export async function ensureEncryptionConfiguration(
  path: string,
): Promise<{ readonly configuration: EncryptionConfiguration; readonly isNew: boolean }> {
  try {
    return { configuration: parseEncryptionConfiguration(await readFile(path, 'utf8')), isNew: false };
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err;
  }
  const text = formatOwnEncryption([newEncryptionKey(0)]);
  await writeDurableFile(path, text);
  return { configuration: parseEncryptionConfiguration(text), isNew: true };
}

function mapOf(value: unknown, where: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${where} must be a map`);
  const unknown = Object.keys(value).find((field) => !known.includes(field));
  if (unknown !== undefined) throw new Error(`${where} has an unknown field ${unknown}`);
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value) || value.length === 0) throw new Error(`${where} must be a list with an entry`);
  return value;
}

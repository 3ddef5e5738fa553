import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { writeDurableFile } from '../durable-file.ts';
import { tryReadText } from './key-pair.ts';

/** Signs the tokens of service accounts. Its fields are those of the newest key once `reload` has read it. */
export interface SigningKey extends VerifyingKey {
  readonly privateKey: KeyObject;
  /** Keys that verify, too: the next one, which every server knows before it signs, and former ones until their time is over. */
  others(now: number): readonly VerifyingKey[];
  /** Reads the file again. @throws Error for a file without a key; the keys of before stay */
  reload(): Promise<void>;
}

export interface VerifyingKey {
  readonly algorithm: 'ES256';
  /** RFC 7638 thumbprint, the same as long as the key is. */
  readonly id: string;
  readonly publicKey: KeyObject;
  readonly publicJwk: Readonly<Record<'kty' | 'crv' | 'x' | 'y', string>>;
}

/**
 * The keys of a file of PEM blocks. The first private key signs. A second one is the next, which verifies already. Public keys are former
 * ones; the line above each says until when they verify.
 */
export interface SigningKeyFile {
  readonly current: string;
  readonly next: string | undefined;
  readonly former: readonly FormerKey[];
}

export interface FormerKey {
  readonly publicKey: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/** Former keys that are kept; with more, those that end first go. */
const maxFormer = 8;
const block = /(?:^# verifies until (\S+)\n)?^-----BEGIN (PRIVATE|PUBLIC) KEY-----\n[^-]+-----END \2 KEY-----$/gm;

/** @throws Error for a text without a private key */
export function parseSigningKeys(text: string): SigningKeyFile {
  const blocks = [...text.matchAll(block)].map(([whole, until, type]) => ({ pem: `${whole.replace(/^#.*\n/, '')}\n`, until, type }));
  const [current, next] = blocks.filter(({ type }) => type === 'PRIVATE').map(({ pem }) => pem);
  if (current === undefined) throw new Error('the file of the signing key has no private key');
  const former = blocks
    .filter(({ type }) => type === 'PUBLIC')
    .map(({ pem, until }) => ({ publicKey: pem, until: Date.parse(until ?? '') || 0 }));
  return { current, next, former };
}

export function formatSigningKeys({ current, next, former }: SigningKeyFile): string {
  const newest = [...former].sort((one, other) => other.until - one.until).slice(0, maxFormer);
  const kept = newest.map(({ publicKey, until }) => `# verifies until ${new Date(until).toISOString()}\n${publicKey}`);
  return [current, ...(next === undefined ? [] : [next]), ...kept].join('');
}

/** PEM of a new private key. */
export async function newSigningKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The next key signs from now on; the present one verifies until then. @param until  milliseconds since the epoch */
export function promoteNext(
  { current, next, former }: SigningKeyFile,
  { until, now }: { readonly until: number; readonly now: number },
): SigningKeyFile {
  if (next === undefined) throw new Error('there is no next key');
  const publicKey = createPublicKey(createPrivateKey(current)).export({ type: 'spki', format: 'pem' }).toString();
  return { current: next, next: undefined, former: [{ publicKey, until }, ...former].filter((key) => key.until > now) };
}

/** The thumbprint of a key of a file. @param pem  of a private or a public key */
export const signingKeyId = (pem: string): string => verifyingKeyOf(publicKeyOf(pem)).id;

const publicKeyOf = (pem: string): KeyObject => createPublicKey(pem);

/** Makes the key at the first call. */
export async function openSigningKey(path: string): Promise<SigningKey> {
  let text = await tryReadText(path);
  if (text === undefined) {
    text = await newSigningKey();
    await writeDurableFile(path, text);
  }
  let keys = keysOf(text);
  return {
    get algorithm() {
      return keys.current.algorithm;
    },
    get id() {
      return keys.current.id;
    },
    get privateKey() {
      return keys.privateKey;
    },
    get publicKey() {
      return keys.current.publicKey;
    },
    get publicJwk() {
      return keys.current.publicJwk;
    },
    others: (now) => keys.others.filter(({ until }) => now < until).map(({ key }) => key),
    async reload() {
      keys = keysOf((await tryReadText(path)) ?? '');
    },
  };
}

interface Keys {
  readonly privateKey: KeyObject;
  readonly current: VerifyingKey;
  readonly others: readonly { readonly key: VerifyingKey; readonly until: number }[];
}

function keysOf(text: string): Keys {
  const { current, next, former } = parseSigningKeys(text);
  const privateKey = createPrivateKey(current);
  return {
    privateKey,
    current: verifyingKeyOf(createPublicKey(privateKey)),
    others: [
      ...(next === undefined ? [] : [{ key: verifyingKeyOf(publicKeyOf(next)), until: Number.POSITIVE_INFINITY }]),
      ...former.map(({ publicKey, until }) => ({ key: verifyingKeyOf(publicKeyOf(publicKey)), until })),
    ],
  };
}

function verifyingKeyOf(publicKey: KeyObject): VerifyingKey {
  const { kty = '', crv = '', x = '', y = '' } = publicKey.export({ format: 'jwk' }) as JsonWebKey;
  // The members in this order and nothing else, as the RFC says.
  const id = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  return { algorithm: 'ES256', id, publicKey, publicJwk: { kty, crv, x, y } };
}

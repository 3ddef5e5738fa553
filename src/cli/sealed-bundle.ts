import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';

/** The keys that the servers of a cluster share, as they lie in their store. */
export interface Bundle {
  /** RFC 3339 */
  readonly createdAt: string;
  readonly network: { readonly clusterCidr: string; readonly serviceCidr: string; readonly networkBackend: string };
  /** Texts of files, by their path in a data directory: authorities, signing key, key of the store's encryption, Git token. */
  readonly files: Readonly<Record<string, string>>;
}

/** Changes when an earlier version could not read what is written. */
const format = 1;
/** 64 MiB and 0.1 s for a try: a secret that a person chose must not be guessed from a copy of the store. */
const cost = { N: 65_536, r: 8, p: 1 } as const;
const maxScryptBytes = 128 * 1024 * 1024;
const cipher = 'aes-256-gcm';

/** The form in the store; byte strings in base64. */
interface Sealed {
  readonly format: number;
  readonly salt: string;
  readonly nonce: string;
  readonly tag: string;
  readonly data: string;
}

/** The bundle cannot be opened: `format` is that of a later version, `secret` is not the one that sealed it, or the text is damaged. */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  readonly reason: 'format' | 'secret' | 'damage';
  constructor(reason: BundleError['reason'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

/** Encrypts with a key made of the secret. @param prefix  place in the store: the text opens at no other */
export async function sealBundle(
  bundle: Bundle,
  { secret, prefix }: { readonly secret: string; readonly prefix: string },
): Promise<string> {
  const [salt, nonce] = [randomBytes(16), randomBytes(12)];
  const encryption = createCipheriv(cipher, await keyOf(secret, salt), nonce).setAAD(Buffer.from(prefix));
  const data = Buffer.concat([encryption.update(JSON.stringify(bundle), 'utf8'), encryption.final()]);
  const [encodedSalt, encodedNonce, tag, text] = [salt, nonce, encryption.getAuthTag(), data].map((bytes) => bytes.toString('base64'));
  return JSON.stringify({ format, salt: encodedSalt, nonce: encodedNonce, tag, data: text });
}

/** @throws BundleError */
export async function openBundle(text: string, { secret, prefix }: { readonly secret: string; readonly prefix: string }): Promise<Bundle> {
  const sealed = parseSealed(text);
  const [salt, nonce, tag, data] = [sealed.salt, sealed.nonce, sealed.tag, sealed.data].map((part) => Buffer.from(part, 'base64'));
  const key = await keyOf(secret, salt as Buffer);
  try {
    const decryption = createDecipheriv(cipher, key, nonce as Buffer, { authTagLength: 16 });
    decryption.setAAD(Buffer.from(prefix)).setAuthTag(tag as Buffer);
    return JSON.parse(Buffer.concat([decryption.update(data as Buffer), decryption.final()]).toString('utf8')) as Bundle;
  } catch (cause) {
    throw new BundleError('secret', 'the secret does not open it', cause);
  }
}

function parseSealed(text: string): Sealed {
  let sealed: Partial<Sealed> | null;
  try {
    sealed = JSON.parse(text) as Partial<Sealed> | null;
  } catch (cause) {
    throw new BundleError('damage', 'it is not JSON', cause);
  }
  if (typeof sealed?.format === 'number' && sealed.format > format) throw new BundleError('format', `it is of format ${sealed.format}`);
  const parts = [sealed?.salt, sealed?.nonce, sealed?.tag, sealed?.data];
  if (sealed?.format !== format || parts.some((part) => typeof part !== 'string')) throw new BundleError('damage', 'it has not its fields');
  return sealed as Sealed;
}

const keyOf = (secret: string, salt: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    scrypt(secret, salt, 32, { ...cost, maxmem: maxScryptBytes }, (err, key) => (err === null ? resolve(key) : reject(err))),
  );

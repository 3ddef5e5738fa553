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
/** 64 MiB and 0.2 s of a processor for a try, against guesses of a chosen secret from a copy of the store. */
const cost = { N: 65_536, r: 8, p: 1 } as const;
const maxScryptBytes = 128 * 1024 * 1024;
const cipher = 'aes-256-gcm';

/** Byte strings in base64. */
interface Sealed {
  readonly salt: string;
  readonly nonce: string;
  readonly tag: string;
  readonly data: string;
}

/** The form in the store. */
interface SealedRecord extends Sealed {
  readonly format: number;
  /** The secret that opens the rest, sealed by the one that it replaced: servers that have the former one go on. Absent after a while. */
  readonly handover?: Sealed;
  /** RFC 3339; absent: the secret was never replaced. */
  readonly rotatedAt?: string;
}

/** The key to a record. @property prefix  place in the store: the text opens at no other */
export interface SealingKey {
  readonly secret: string;
  readonly prefix: string;
  /** Made of the secret before; used where its salt fits. */
  readonly derived?: DerivedKey | undefined;
}

/** The result of `deriveKey`, in base64. */
export interface DerivedKey {
  readonly salt: string;
  readonly key: string;
}

/** @param salt  that of a record; by default a new one, for a record that is to be written */
export async function deriveKey(secret: string, salt = randomBytes(16).toString('base64')): Promise<DerivedKey> {
  return { salt, key: (await keyOf(secret, Buffer.from(salt, 'base64'))).toString('base64') };
}

/** Undefined for a text that `openBundle` refuses. */
export function saltOf(text: string): string | undefined {
  try {
    return parseRecord(text).salt;
  } catch {
    return undefined;
  }
}

/** An opened record. */
export interface OpenedBundle {
  readonly bundle: Bundle;
  /** The present one: another than was given when that one was replaced, and is still good. */
  readonly secret: string;
  /** RFC 3339; undefined: the secret was never replaced. */
  readonly rotatedAt: string | undefined;
}

/** The bundle cannot be opened: `format` is that of a later version, `secret` is not the one that sealed it, or the text is damaged. */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  readonly reason: 'format' | 'secret' | 'damage';
  /** When the secret was replaced last; undefined: never, or not known. */
  readonly rotatedAt: string | undefined;
  constructor(
    reason: BundleError['reason'],
    message: string,
    { cause, rotatedAt }: { cause?: unknown; rotatedAt?: string | undefined } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
    this.rotatedAt = rotatedAt;
  }
}

/** Encrypts with a key made of the secret. */
export async function sealBundle(
  bundle: Bundle,
  { rotation, ...key }: SealingKey & { readonly rotation?: { readonly former: string; readonly at: string } },
): Promise<string> {
  const { secret, prefix } = key;
  const record: SealedRecord = { format, ...(await seal(JSON.stringify(bundle), key)) };
  if (rotation === undefined) return JSON.stringify(record);
  const handover = await seal(secret, { secret: rotation.former, prefix: handoverPlace(prefix) });
  return JSON.stringify({ ...record, handover, rotatedAt: rotation.at } satisfies SealedRecord);
}

/** The same keys in another form: sealed again by their secret. A handover and its time stay. */
export async function resealBundle(text: string, bundle: Bundle, key: SealingKey): Promise<string> {
  const { handover, rotatedAt } = parseRecord(text);
  const record: SealedRecord = { format, ...(await seal(JSON.stringify(bundle), key)) };
  return JSON.stringify({
    ...record,
    ...(handover === undefined ? {} : { handover }),
    ...(rotatedAt === undefined ? {} : { rotatedAt }),
  } satisfies SealedRecord);
}

/** Without the way from the former secret, which opens nothing any more. */
export function withoutHandover(text: string): string {
  const { handover: _, ...record } = parseRecord(text);
  return JSON.stringify(record);
}

/** @throws BundleError */
export async function openBundle(text: string, key: SealingKey): Promise<OpenedBundle> {
  const record = parseRecord(text);
  const { handover, rotatedAt } = record;
  const opened = await tryOpen(record, key);
  if (opened !== undefined) return { bundle: JSON.parse(opened) as Bundle, secret: key.secret, rotatedAt };
  const secret = handover === undefined ? undefined : await tryOpen(handover, { secret: key.secret, prefix: handoverPlace(key.prefix) });
  const after = secret === undefined ? undefined : await tryOpen(record, { secret, prefix: key.prefix });
  if (secret === undefined || after === undefined) throw new BundleError('secret', 'the secret does not open it', { rotatedAt });
  return { bundle: JSON.parse(after) as Bundle, secret, rotatedAt };
}

/** The name keeps a sealed text from taking the place of the other. */
const handoverPlace = (prefix: string): string => `${prefix} handover`;

async function seal(text: string, { secret, prefix, derived }: SealingKey): Promise<Sealed> {
  const { salt, key } = derived ?? (await deriveKey(secret));
  const nonce = randomBytes(12);
  const encryption = createCipheriv(cipher, Buffer.from(key, 'base64'), nonce).setAAD(Buffer.from(prefix));
  const data = Buffer.concat([encryption.update(text, 'utf8'), encryption.final()]);
  const [encodedNonce, tag, encoded] = [nonce, encryption.getAuthTag(), data].map((bytes) => bytes.toString('base64'));
  return { salt, nonce: encodedNonce ?? '', tag: tag ?? '', data: encoded ?? '' };
}

/** Undefined when another secret sealed it, for another place, or when it was changed. */
async function tryOpen(sealed: Sealed, { secret, prefix, derived }: SealingKey): Promise<string | undefined> {
  const opened = derived?.salt === sealed.salt ? decrypt(sealed, derived, prefix) : undefined;
  return opened ?? decrypt(sealed, await deriveKey(secret, sealed.salt), prefix);
}

function decrypt(sealed: Sealed, { key }: DerivedKey, prefix: string): string | undefined {
  const [keyBytes, nonce, tag, data] = [key, sealed.nonce, sealed.tag, sealed.data].map((part) => Buffer.from(part, 'base64'));
  try {
    const decryption = createDecipheriv(cipher, keyBytes as Buffer, nonce as Buffer, { authTagLength: 16 });
    decryption.setAAD(Buffer.from(prefix)).setAuthTag(tag as Buffer);
    return Buffer.concat([decryption.update(data as Buffer), decryption.final()]).toString('utf8');
  } catch {
    // The library says only that the tag does not fit.
    return undefined;
  }
}

function parseRecord(text: string): SealedRecord {
  let record: Partial<SealedRecord> | null;
  try {
    record = JSON.parse(text) as Partial<SealedRecord> | null;
  } catch (cause) {
    throw new BundleError('damage', 'it is not JSON', { cause });
  }
  if (typeof record?.format === 'number' && record.format > format) throw new BundleError('format', `it is of format ${record.format}`);
  const sealed = [record, ...(record?.handover === undefined ? [] : [record.handover])];
  const parts = sealed.flatMap((each) => [each?.salt, each?.nonce, each?.tag, each?.data]);
  if (record?.format !== format || parts.some((part) => typeof part !== 'string')) throw new BundleError('damage', 'it has not its fields');
  return record as SealedRecord;
}

const keyOf = (secret: string, salt: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    scrypt(secret, salt, 32, { ...cost, maxmem: maxScryptBytes }, (err, key) => (err === null ? resolve(key) : reject(err))),
  );

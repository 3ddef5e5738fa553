import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

/** Seals and opens values with one key. `key` is the place of the value in the store. */
export interface Provider {
  /** The beginning of its values; empty for values that are kept as they are. */
  readonly prefix: string;
  /** `aesgcm`, `aescbc` or `identity`, for metrics. */
  readonly type: ProviderType;
  /** The same for the same key under the same name; tells nothing of the key. */
  readonly digest: string;
  seal(key: string, plain: string): string;
  /** @throws Error when the value was changed, moved here from another key, or sealed with another secret */
  open(key: string, sealed: string): string;
}

export type ProviderType = 'aesgcm' | 'aescbc' | 'identity';

export interface ProviderKey {
  readonly name: string;
  /** 16, 24 or 32 bytes. */
  readonly secret: Uint8Array;
}

const ivBytes = 12;
const tagBytes = 16;
const blockBytes = 16;

const digestOf = (prefix: string, secret: Uint8Array): string =>
  createHash('sha256').update(prefix).update(secret).digest('hex').slice(0, 12);

/**
 * AES-GCM with a random nonce of 96 bits for each value: one key may seal 2^32 of them before it should be replaced. The place of the value
 * is authenticated with it, so that whoever can write the store cannot give one Secret the content of another.
 *
 * The form is that of kube-apiserver's `aesgcm` provider (prefix, nonce, text, tag); the bytes are base64 because a store holds text.
 */
export function aesGcmProvider({ name, secret }: ProviderKey): Provider {
  const prefix = `k8s:enc:aesgcm:v1:${name}:`;
  const algorithm = `aes-${(secret.length * 8) as 128 | 192 | 256}-gcm` as const;
  return {
    prefix,
    type: 'aesgcm',
    digest: digestOf(prefix, secret),
    seal(key, plain) {
      const nonce = randomBytes(ivBytes);
      const cipher = createCipheriv(algorithm, secret, nonce);
      cipher.setAAD(Buffer.from(key));
      const text = cipher.update(plain, 'utf8');
      return prefix + Buffer.concat([nonce, text, cipher.final(), cipher.getAuthTag()]).toString('base64');
    },
    open(key, sealed) {
      const bytes = Buffer.from(sealed.slice(prefix.length), 'base64');
      if (bytes.length < ivBytes + tagBytes) throw new Error('the value is too short');
      const decipher = createDecipheriv(algorithm, secret, bytes.subarray(0, ivBytes), { authTagLength: tagBytes });
      decipher.setAAD(Buffer.from(key));
      decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
      const text = decipher.update(bytes.subarray(ivBytes, bytes.length - tagBytes));
      return Buffer.concat([text, decipher.final()]).toString('utf8');
    },
  };
}

/** AES-CBC, as kube-apiserver's `aescbc`: for configurations that have it. It detects neither a changed value nor one that was moved. */
export function aesCbcProvider({ name, secret }: ProviderKey): Provider {
  const prefix = `k8s:enc:aescbc:v1:${name}:`;
  const algorithm = `aes-${secret.length * 8}-cbc`;
  return {
    prefix,
    type: 'aescbc',
    digest: digestOf(prefix, secret),
    seal(_, plain) {
      const iv = randomBytes(blockBytes);
      const cipher = createCipheriv(algorithm, secret, iv);
      return prefix + Buffer.concat([iv, cipher.update(plain, 'utf8'), cipher.final()]).toString('base64');
    },
    open(_, sealed) {
      const bytes = Buffer.from(sealed.slice(prefix.length), 'base64');
      const decipher = createDecipheriv(algorithm, secret, bytes.subarray(0, blockBytes));
      return Buffer.concat([decipher.update(bytes.subarray(blockBytes)), decipher.final()]).toString('utf8');
    },
  };
}

export const identityProvider: Provider = {
  prefix: '',
  type: 'identity',
  digest: 'identity',
  seal: (_, plain) => plain,
  open: (_, plain) => plain,
};

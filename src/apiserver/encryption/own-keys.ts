import { createHash, randomBytes } from 'node:crypto';

/** A key of the cluster's own configuration. */
export interface OwnKey {
  /** `key-DIGEST`, or `key-SECONDS-DIGEST` for one that replaced another; the digest says which key a value lacks. */
  readonly name: string;
  /** 32 bytes in base64. */
  readonly secret: string;
}

/** The steps of replacing the key, by the order of the keys in the file, so that a step that broke off is known. */
export type RotationStage =
  /** There is a single key. */
  | 'finished'
  /** All servers learn a new key, which reads alone. */
  | 'prepare'
  /** The new key writes; values of the former one are sealed again. */
  | 'rotate';

/** @param seconds  since the epoch; 0 for the first key of a cluster */
export function newEncryptionKey(seconds: number): OwnKey {
  const secret = randomBytes(32);
  const digest = createHash('sha256').update(secret).digest('hex').slice(0, 8);
  return { name: seconds === 0 ? `key-${digest}` : `key-${seconds}-${digest}`, secret: secret.toString('base64') };
}

/** The text of an EncryptionConfiguration for Secrets: the first key writes, and all of them read. */
export function formatOwnEncryption(keys: readonly OwnKey[]): string {
  return `# Secrets in the store are encrypted with the first key of this file and read with all of them. Without it they are lost.
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm:
      keys:
${keys.map(({ name, secret }) => `      - name: ${name}\n        secret: ${secret}\n`).join('')}  - identity: {}
`;
}

/** The keys of a text that `formatOwnEncryption` made; undefined for one that a person wrote or changed. */
export function tryParseOwnKeys(text: string): readonly OwnKey[] | undefined {
  const keys = [...text.matchAll(/^ {6}- name: (\S+)\n {8}secret: (\S+)$/gm)].map(([, name = '', secret = '']) => ({ name, secret }));
  return keys.length > 0 && formatOwnEncryption(keys) === text ? keys : undefined;
}

export function stageOf(keys: readonly OwnKey[]): RotationStage {
  if (keys.length === 1) return 'finished';
  return newestOf(keys) === keys[0] ? 'rotate' : 'prepare';
}

/** The key that is to write in the end. */
export const newestOf = (keys: readonly OwnKey[]): OwnKey | undefined =>
  keys.reduce<OwnKey | undefined>((newest, key) => (newest === undefined || madeAt(key) > madeAt(newest) ? key : newest), undefined);

const madeAt = ({ name }: OwnKey): number => Number(/^key-(\d+)-[0-9a-f]{8}$/.exec(name)?.[1] ?? 0);

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LiveEncryption } from '../../apiserver/create-kube-api.ts';
import type { KeyDigests } from '../../apiserver/encryption/configuration.ts';
import {
  formatOwnEncryption,
  newEncryptionKey,
  newestOf,
  type OwnKey,
  stageOf,
  tryParseOwnKeys,
} from '../../apiserver/encryption/own-keys.ts';
import type { KnownServer } from '../../apiserver/identity-lease.ts';
import type { KeyActions } from '../../apiserver/server/keys-path.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { rotateAuthority } from '../../base/pki/rotation.ts';
import {
  formatSigningKeys,
  newSigningKey,
  parseSigningKeys,
  promoteNext,
  type SigningKeyFile,
  signingKeyId,
} from '../../base/pki/signing-key.ts';
import type { Client } from '../../client/client.ts';
import { badRequest, StatusError } from '../../machinery/status-error.ts';
import { statusOfFailure } from '../admin-request.ts';
import { authoritiesOf } from '../configuration.ts';
import { Failure } from '../failure.ts';
import { tryParseServerToken } from '../server-token.ts';
import { encryptionPath, newKeysPrefix, readShared, signingKeyPath } from '../shared-files.ts';
import { type ClusterKeys, type KeyFiles, type KeySeal, writeShared } from './cluster-keys.ts';
import { awaitServers, missingKey, serversOf } from './server-agreement.ts';

export interface KeyRotationOptions {
  readonly keys: ClusterKeys;
  readonly dataDirectory: string;
  readonly client: Client;
  readonly encryption: LiveEncryption | undefined;
  /** The keys of the store's encryption that this server uses now. */
  encryptionKeys(): KeyDigests;
  /** True: they are those of `--encryption-provider-config`, which a person keeps. */
  readonly hasEncryptionFile: boolean;
  /** Replaces the token that machines join with; absent: none join. */
  readonly renewJoinToken: (() => Promise<void>) | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Servers renew their Lease at once when their keys change; one that was killed counts as stopped after 15 s. */
const agreementMs = 20_000;
const maxOverlapSeconds = 10 * 365 * 86_400;

/**
 * Replaces the keys of a cluster while its servers run. A new key is given to every server before one uses it, so each step ends when
 * their Leases say that they have it. A step that broke off is done again by the same action.
 */
export function createKeyRotation(options: KeyRotationOptions): KeyActions {
  let isBusy = false;
  const alone =
    (action: KeyActions[string]): KeyActions[string] =>
    async (request) => {
      if (isBusy) {
        const message = 'keys are being replaced already, please try again later';
        throw new StatusError({ code: 429, reason: 'TooManyRequests', message, details: { retryAfterSeconds: 10 } });
      }
      isBusy = true;
      try {
        return await action(request);
      } finally {
        isBusy = false;
      }
    };
  return {
    status: () => statusOf(options),
    'rotate-token': alone((request) => rotateToken(options, request)),
    'end-token-overlap': alone(() => endTokenOverlap(options)),
    'rotate-signing-key': alone((request) => rotateSigningKey(options, request)),
    'rotate-authorities': alone(() => rotateAuthorities(options)),
    'encryption-prepare': alone(() => prepareEncryption(options)),
    'encryption-rotate': alone(() => rotateEncryption(options)),
    'encryption-reencrypt': alone(() => reencrypt(options)),
    'encryption-finish': alone(() => finishEncryption(options)),
  };
}

const refusal = (what: string, { why, fix }: { readonly why: string; readonly fix: string }): StatusError =>
  statusOfFailure(new Failure(what, { why, fix }), { code: 409, reason: 'Conflict' });

/** Waits until every server works with the keys of this one. @throws StatusError `Conflict` that names one that does not */
async function agree(options: KeyRotationOptions): Promise<void> {
  const [first] = await disagreements(options);
  if (first === undefined) return;
  throw refusal(`server ${first.hostname} has not taken the keys`, {
    why: `It runs version ${first.version || 'unknown'}, and its Lease names revision ${first.keys.revision} of the keys.`,
    fix: 'See its log, or upgrade it; then run this again, which goes on where it ended.',
  });
}

async function disagreements({ keys, client, clock, signal }: KeyRotationOptions): Promise<readonly KnownServer[]> {
  // Nobody else has them.
  if (keys.seal === undefined) return [];
  const { revision } = keys;
  const against = await awaitServers({
    client,
    clock,
    signal,
    timeoutMs: agreementMs,
    refusalOf: (server) => (server.keys.revision >= revision ? undefined : 'its keys are older'),
  });
  return against.map(({ server }) => server);
}

// ------------------------------------------------------------------------------------------------------------------------------- status

async function statusOf({ keys, client, encryption, encryptionKeys, hasEncryptionFile, clock }: KeyRotationOptions): Promise<object> {
  const signing = parseSigningKeys(keys.files[signingKeyPath] ?? '');
  const own = hasEncryptionFile ? undefined : tryParseOwnKeys(keys.files[encryptionPath] ?? '');
  const survey = await encryption?.survey();
  return {
    revision: keys.revision,
    token: keys.seal === undefined ? undefined : { rotatedAt: keys.seal.rotatedAt, hasOverlap: keys.seal.hasOverlap },
    servers: keys.seal === undefined ? [] : await serversOf(client),
    signing: {
      current: signingKeyId(signing.current),
      next: signing.next === undefined ? undefined : signingKeyId(signing.next),
      former: signing.former
        .filter(({ until }) => until > clock.now())
        .map(({ publicKey, until }) => ({ id: signingKeyId(publicKey), until: timestampOf(until) })),
    },
    encryption: {
      isOwn: own !== undefined,
      stage: own === undefined ? undefined : stageOf(own),
      keys: own?.map(({ name }) => name),
      digests: encryptionKeys(),
      ...survey,
    },
  };
}

// -------------------------------------------------------------------------------------------------------------------------------- token

const noSeal = () =>
  refusal('there is no token of servers', {
    why: 'The keys of this cluster lie in its data directory alone, and no other server opens them.',
    fix: 'Machines join with tokens that "midship token create" makes and "midship token delete" ends.',
  });

/** The token by which machines join is replaced, too: as in k3s, whoever had the former one of servers could read it. */
async function rotateToken(options: KeyRotationOptions, { newToken }: Readonly<Record<string, unknown>>): Promise<object> {
  const { keys, clock, renewJoinToken } = options;
  if (keys.seal === undefined && (newToken !== undefined || renewJoinToken === undefined)) throw noSeal();
  await renewJoinToken?.();
  if (keys.seal === undefined) return { isShared: false, waiting: [] };
  const secret = newToken === undefined ? randomBytes(32).toString('base64url') : secretIn(newToken);
  await keys.seal.rotate(secret, timestampOf(clock.now()));
  return { isShared: true, ...(await endOverlapWhenAgreed(options, keys.seal)) };
}

function secretIn(newToken: unknown): string {
  const token = typeof newToken === 'string' ? tryParseServerToken(newToken) : undefined;
  // The text is in no message.
  if (token === undefined) throw badRequest('the new token must have 16 to 512 characters without spaces');
  return token.secret;
}

async function endTokenOverlap(options: KeyRotationOptions): Promise<object> {
  const { seal } = options.keys;
  if (seal === undefined) throw noSeal();
  return { isShared: true, ...(await endOverlapWhenAgreed(options, seal)) };
}

/** The former token stays good as long as a server that runs has not taken the new one. */
async function endOverlapWhenAgreed(options: KeyRotationOptions, seal: KeySeal): Promise<{ readonly waiting: readonly string[] }> {
  const waiting = (await disagreements(options)).map(({ hostname, version }) => `${hostname} (${version})`);
  if (waiting.length === 0) await seal.endOverlap();
  return { waiting };
}

// ------------------------------------------------------------------------------------------------------------------------- signing key

async function rotateSigningKey(options: KeyRotationOptions, { overlapSeconds }: Readonly<Record<string, unknown>>): Promise<object> {
  const { keys, clock } = options;
  if (typeof overlapSeconds !== 'number' || !(overlapSeconds >= 0 && overlapSeconds <= maxOverlapSeconds))
    throw badRequest(`overlapSeconds must be between 0 and ${maxOverlapSeconds}`);
  const replace = (change: (file: SigningKeyFile) => SigningKeyFile): Promise<void> =>
    keys.change((files) => ({ ...files, [signingKeyPath]: formatSigningKeys(change(parseSigningKeys(files[signingKeyPath] ?? ''))) }));
  const made = await newSigningKey();
  // The one of an earlier try is known to some servers already.
  await replace((file) => ({ ...file, next: file.next ?? made }));
  await agree(options);
  const now = clock.now();
  await replace((file) => (file.next === undefined ? file : promoteNext(file, { until: now + overlapSeconds * 1_000, now })));
  await agree(options);
  const { current } = parseSigningKeys(keys.files[signingKeyPath] ?? '');
  return { id: signingKeyId(current), formerUntil: timestampOf(now + overlapSeconds * 1_000) };
}

// ------------------------------------------------------------------------------------------------------------------------- authorities

/** The former authorities stay trusted, and vouch for the new ones. A server uses the new ones from its next start. */
async function rotateAuthorities(options: KeyRotationOptions): Promise<object> {
  const { keys, dataDirectory, clock } = options;
  if (keys.seal === undefined) {
    throw refusal('the authorities of a cluster with one server are replaced while it is stopped', {
      why: 'Every part of the process uses them from its start.',
      fix: 'Run: midship down, midship certs rotate --ca, and start it again.',
    });
  }
  await keys.change((files) => withNewAuthorities(files, { parent: dataDirectory, now: clock.now() }));
  await agree(options);
  return { servers: (await serversOf(options.client)).map(({ hostname }) => hostname) };
}

async function withNewAuthorities(files: KeyFiles, { parent, now }: { readonly parent: string; readonly now: number }): Promise<KeyFiles> {
  const directory = await mkdtemp(join(parent, newKeysPrefix));
  try {
    await writeShared(directory, { present: {}, wanted: files });
    for (const authority of Object.values(authoritiesOf(directory))) await rotateAuthority({ ...authority, now });
    return await readShared(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

// -------------------------------------------------------------------------------------------------------------------------- encryption

async function prepareEncryption(options: KeyRotationOptions): Promise<object> {
  const { keys, clock } = options;
  ownKeysIn(options, keys.files);
  await keys.change((files) => {
    const known = ownKeysIn(options, files);
    if (stageOf(known) !== 'finished') return files;
    const [, seconds = '0'] = /^key-(\d+)-/.exec(known[0]?.name ?? '') ?? [];
    // Names order the keys, also when the clock was set back.
    const made = newEncryptionKey(Math.max(Math.floor(clock.now() / 1_000), Number(seconds) + 1));
    return { ...files, [encryptionPath]: formatOwnEncryption([...known, made]) };
  });
  await agree(options);
  return {};
}

async function rotateEncryption(options: KeyRotationOptions): Promise<object> {
  const { keys } = options;
  await keys.change((files) => {
    const known = ownKeysIn(options, files);
    const newest = newestOf(known) as OwnKey;
    return { ...files, [encryptionPath]: formatOwnEncryption([newest, ...known.filter((key) => key !== newest)]) };
  });
  await agree(options);
  return {};
}

/** Seals all values under the key that writes, some at a time; `status` says how many are left. */
async function reencrypt(options: KeyRotationOptions): Promise<object> {
  const { encryption, keys, client, clock, signal, encryptionKeys } = options;
  if (encryption === undefined) return { values: 0, stale: 0 };
  if (keys.seal !== undefined) {
    const own = encryptionKeys();
    const refusalOf = (server: KnownServer): string | undefined => missingKey(own, server.keys.encryption);
    const [first] = await awaitServers({ client, clock, signal, timeoutMs: agreementMs, refusalOf });
    if (first !== undefined) {
      throw refusal(`server ${first.server.hostname} could not read values that are encrypted again`, {
        why: first.refusal,
        fix: 'Give it the key, restart it, and run this again. Nothing was changed.',
      });
    }
  }
  const survey = await encryption.survey();
  encryption.reseal();
  return survey;
}

/** Removes the keys that no value needs any more. */
async function finishEncryption(options: KeyRotationOptions): Promise<object> {
  const { encryption, keys } = options;
  const { stale = 0 } = (await encryption?.survey()) ?? {};
  if (stale > 0) {
    throw refusal(`${stale} values lie under a former key`, {
      why: 'They would be lost with it.',
      fix: 'Run: midship secrets-encrypt reencrypt, and wait until "midship secrets-encrypt status" says that it is finished.',
    });
  }
  await keys.change((files) => {
    const known = ownKeysIn(options, files);
    return stageOf(known) === 'rotate' ? { ...files, [encryptionPath]: formatOwnEncryption(known.slice(0, 1)) } : files;
  });
  await agree(options);
  return {};
}

function ownKeysIn({ hasEncryptionFile }: KeyRotationOptions, files: KeyFiles): readonly OwnKey[] {
  const known = hasEncryptionFile ? undefined : tryParseOwnKeys(files[encryptionPath] ?? '');
  if (known !== undefined) return known;
  throw refusal('the encryption configuration is one that a person keeps', {
    why: hasEncryptionFile ? 'It is the file of --encryption-provider-config.' : `The file ${encryptionPath} was changed by hand.`,
    fix: 'Add a key there, restart each server, put the key first, restart each again; then run: midship secrets-encrypt reencrypt',
  });
}

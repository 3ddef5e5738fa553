import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { hostname } from 'node:os';
import { type Lease, leases } from '../../api/coordination/v1/lease.ts';
import { annotations, gitPath, gitPeerUser } from '../../api/well-known.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import { withoutHopByHop } from '../../base/hop-by-hop.ts';
import type { KeyPair } from '../../base/pki/key-pair.ts';
import type { Pki } from '../../base/pki.ts';
import type { InformerSet } from '../../client/informer.ts';
import { readRefs } from '../../gitops/sources/bare-repository.ts';
import type { CommitPush, RefUpdate } from '../../gitops/sources/pre-receive.ts';
import type { StoreRecord } from '../../storage/etcd/records.ts';
import type { SharedStore } from './store.ts';

/** The server among several whose data directory has the built-in Git remote, as the store knows it. */
interface HomeRecord {
  readonly serverId: string;
  readonly host: string;
  /** Digest of branches and tags as the last push left them. Absent until the home has said it. */
  readonly refs?: string;
  /** Counts changes, so that no text comes twice. */
  readonly changes?: number;
}

/** The home of the built-in Git remote: it takes pushes, and the other servers copy its repository. */
export interface GitHome {
  /** Name of the machine. */
  readonly host: string;
  /** This server is the home. */
  readonly isOwn: boolean;
  /** Digest of branches and tags that the home has acknowledged; undefined until it has said it. */
  readonly refs: string | undefined;
  /** Its Lease; undefined while it is away. */
  lease(): Lease | undefined;
  /** `https://HOST:PORT` of its API, once that serves the remote; undefined while it is away. */
  address(): string | undefined;
  /** Makes this server the home. @returns false when the record has changed since it was read */
  takeOver(): Promise<boolean>;
  /** Records the digest of what the home has. @returns as `takeOver` */
  record(refs: string): Promise<boolean>;
  /** Calls back when its Lease or the record changes. */
  onChange(listener: () => void): () => void;
}

/** Gives the home of the built-in remote: the first server that asked, until another one takes over. */
export async function findGitHome({ records, serverId }: SharedStore, informers: InformerSet): Promise<GitHome & { stop(): void }> {
  let stored = await records.create('git-home', JSON.stringify({ serverId, host: hostname() } satisfies HomeRecord));
  let home = JSON.parse(stored.text) as HomeRecord;
  let changing: Promise<unknown> = Promise.resolve();
  const listeners = new Set<() => void>();
  const known = informers.get(leases);
  const isItsLease = ({ metadata }: Lease): boolean => metadata.annotations?.[annotations.serverId] === home.serverId;
  const lease = (): Lease | undefined => [...known.list({ namespace: 'kube-system' })].find(isItsLease);

  function take(record: StoreRecord | undefined): void {
    if (record === undefined || record.revision <= stored.revision) return;
    stored = record;
    home = JSON.parse(record.text) as HomeRecord;
    for (const listener of listeners) listener();
  }

  function change(part: Partial<HomeRecord>): Promise<boolean> {
    const changed = changing.then(async () => {
      const next: HomeRecord = { ...home, ...part, changes: (home.changes ?? 0) + 1 };
      const text = JSON.stringify(next);
      const updated = await records.update('git-home', text, stored.revision);
      // A record that a person deleted is made again by the first server that changes it.
      const current = updated ?? (await records.get('git-home')) ?? (await records.create('git-home', text));
      take(current);
      return current.text === text;
    });
    changing = changed.catch(() => undefined);
    return changed;
  }

  const unwatch = records.watch('git-home', take);
  return {
    get host() {
      return home.host;
    },
    get isOwn() {
      return home.serverId === serverId;
    },
    get refs() {
      return home.refs;
    },
    lease,
    address() {
      const notes = lease()?.metadata.annotations;
      const host = notes?.[annotations.serverAddress];
      // The page is announced when the remote is there.
      if (host === undefined || notes?.[annotations.serverPage] === undefined) return undefined;
      return `https://${host.includes(':') ? `[${host}]` : host}:${notes[annotations.serverPort]}`;
    },
    takeOver: () => change({ serverId, host: hostname() }),
    record: (refs) => change({ refs }),
    onChange(listener) {
      listeners.add(listener);
      const forget = known.addHandler(({ before, after }: { readonly before?: Lease; readonly after?: Lease }) => {
        if (isItsLease((after ?? before) as Lease)) listener();
      });
      return () => {
        listeners.delete(listener);
        forget();
      };
    },
    stop: unwatch,
  };
}

/** Gives one text for the same branches and tags, whoever has them. */
export function digestOfRefs(refs: ReadonlyMap<string, string>): string {
  const lines = [...refs].map(([name, oid]) => `${oid} ${name}\n`).sort();
  return createHash('sha256').update(lines.join('')).digest('hex');
}

/** Time for the pushes before to end, and for the store to answer. */
const commitTimeoutMs = 30_000;
const isCopied = (ref: string): boolean => ref.startsWith('refs/heads/') || ref.startsWith('refs/tags/');
const noCommit = '0'.repeat(40);
const movedText = 'The Git remote has moved to another server: push again.';

/**
 * Records in the store what each push makes of the repository, before its refs move: only then the push counts. A server that
 * is the home no more cannot change the record. One whose copy differs from the record does not become the home.
 */
export function createCommitPush(home: Pick<GitHome, 'isOwn' | 'refs' | 'record'>, gitdir: string): CommitPush {
  let queue: Promise<unknown> = Promise.resolve();
  return async (updates, pushSignal) => {
    const signal = AbortSignal.any([pushSignal, AbortSignal.timeout(commitTimeoutMs)]);
    const before = queue;
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    queue = before.then(() => held);
    const end = async (): Promise<void> => {
      // Git may have refused what was recorded. When the store does not answer, the next push or the next minute records it.
      if (home.isOwn) await recordRefs(home, gitdir).catch(() => undefined);
      release();
    };
    try {
      await untilAborted(before, signal);
      const refusal = await recordPush(home, { gitdir, updates, signal });
      return refusal === undefined ? { end } : { refusal, end };
    } catch (err) {
      release();
      throw err;
    }
  };
}

interface RecordedPush {
  readonly gitdir: string;
  readonly updates: readonly RefUpdate[];
  readonly signal: AbortSignal;
}

/** @returns why the push cannot be taken */
async function recordPush(home: Pick<GitHome, 'isOwn' | 'record'>, { gitdir, updates, signal }: RecordedPush): Promise<string | undefined> {
  if (!home.isOwn) return movedText;
  const refs = new Map(await readRefs(gitdir));
  for (const { ref, before, after } of updates) {
    if (!isCopied(ref)) continue;
    if ((refs.get(ref) ?? noCommit) !== before) return `${ref} has moved meanwhile: fetch, then push again.`;
    if (after === noCommit) refs.delete(ref);
    else refs.set(ref, after);
  }
  return (await untilAborted(home.record(digestOfRefs(refs)), signal)) ? undefined : movedText;
}

/** Records what the repository of the home has, unless the record says it. */
export async function recordRefs(home: Pick<GitHome, 'refs' | 'record'>, gitdir: string): Promise<void> {
  const refs = await readRefs(gitdir);
  const digest = digestOfRefs(refs);
  // A home that has lost its repository makes an empty one, and a copy may be all that is left.
  if (digest === home.refs || (refs.size === 0 && home.refs !== undefined)) return;
  await home.record(digest);
}

/** Means of one server to ask another for the built-in remote. */
export interface PeerAccess {
  /** PEM: signed the certificates of servers. */
  readonly caCertificate: string;
  /** Gives the newest one. */
  readonly clientCertificate: KeyPair;
}

export const peerAccess = async (pki: Pki): Promise<PeerAccess> => ({
  caCertificate: pki.caCertificate,
  clientCertificate: await pki.clientCertificate({ name: 'apiserver-git-client', commonName: gitPeerUser }),
});

export interface SharedRemoteOptions {
  readonly home: GitHome;
  readonly access: PeerAccess;
  /** The remote of this server. */
  readonly own: HttpMount;
}

/** Without a byte for so long the home has failed; a push is tried before it is answered. */
const idleTimeoutMs = 120_000;

/** The built-in remote at any of several servers: the home answers, and the others pass requests on to it. */
export function createSharedRemote({ home, access, own }: SharedRemoteOptions): HttpMount {
  return {
    prefix: gitPath,
    acceptsAnyHost: true,
    handle(request, response) {
      if (home.isOwn) return own.handle(request, response);
      const address = home.address();
      if (address === undefined) refuse(response, `the server on ${home.host}, which has the Git remote, is away; try again in a minute`);
      else pass(request, response, { address, access, host: home.host });
      return undefined;
    },
  };
}

/** The remote for other servers. A server that is the home no more does not pass their requests on: they may be for itself. */
export const createPeerRemote = (home: Pick<GitHome, 'isOwn'>, own: HttpMount): HttpMount => ({
  prefix: gitPath,
  handle(request, response) {
    if (home.isOwn) return own.handle(request, response);
    refuse(response, 'the Git remote is on another server');
    return undefined;
  },
});

interface Passing {
  readonly address: string;
  readonly access: PeerAccess;
  readonly host: string;
}

/** Passes a request on as it is: the home asks for the password. */
function pass(request: IncomingMessage, response: ServerResponse, { address, access, host }: Passing): void {
  const target = new URL(address);
  const { caCertificate: ca, clientCertificate } = access;
  const passed = httpsRequest({
    host: target.hostname.replace(/^\[|\]$/g, ''),
    port: target.port,
    method: request.method,
    path: request.url,
    headers: { ...withoutHopByHop(request.headers), host: target.host },
    ca,
    cert: clientCertificate.certificate,
    key: clientCertificate.key,
  });
  passed.setTimeout(idleTimeoutMs, () => passed.destroy(new Error('no answer')));
  passed.once('error', (err) => {
    if (response.headersSent) response.destroy();
    else refuse(response, `the server on ${host}, which has the Git remote, cannot be reached at ${address}: ${err.message}`);
  });
  passed.once('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, withoutHopByHop(answer.headers));
    answer.once('error', () => response.destroy());
    answer.pipe(response);
  });
  response.once('close', () => passed.destroy());
  request.pipe(passed);
}

function refuse(response: ServerResponse, text: string): void {
  response.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '2' });
  response.end(`${text}\n`);
}

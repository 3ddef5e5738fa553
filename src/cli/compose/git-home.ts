import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { hostname } from 'node:os';
import { type Lease, leases } from '../../api/coordination/v1/lease.ts';
import { annotations } from '../../api/well-known.ts';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import { withoutHopByHop } from '../../base/hop-by-hop.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { SharedStore } from './store.ts';

/** The server among several whose data directory has the built-in Git remote. */
export interface GitHome {
  readonly serverId: string;
  readonly host: string;
}

/** Gives the home of the built-in remote: the first server that asked, until somebody deletes the record. */
export async function findGitHome({ records, serverId }: SharedStore): Promise<GitHome> {
  const own: GitHome = { serverId, host: hostname() };
  return JSON.parse((await records.create('git-home', JSON.stringify(own))).text) as GitHome;
}

/** The home of the built-in remote, for the other servers. */
export interface HomeLookup extends GitHome {
  /** Its Lease; undefined while it is away. */
  lease(): Lease | undefined;
  /** The address of its page; undefined while it is away. */
  page(): string | undefined;
  /** Calls back when its Lease changes. */
  onChange(listener: () => void): () => void;
}

export function createHomeLookup(home: GitHome, informers: InformerSet): HomeLookup {
  const known = informers.get(leases);
  const isItsLease = ({ metadata }: Lease): boolean => metadata.annotations?.[annotations.serverId] === home.serverId;
  const lease = (): Lease | undefined => [...known.list({ namespace: 'kube-system' })].find(isItsLease);
  return {
    ...home,
    lease,
    page: () => lease()?.metadata.annotations?.[annotations.serverPage],
    onChange: (listener) =>
      known.addHandler(({ before, after }: { readonly before?: Lease; readonly after?: Lease }) => {
        if (isItsLease((after ?? before) as Lease)) listener();
      }),
  };
}

export interface PassedRemoteOptions {
  readonly home: HomeLookup;
  /** PEM: signed the certificate of a page that speaks HTTPS. */
  readonly caCertificate: string;
}

/** Without a byte for so long the home has failed; a push is tried before it is answered. */
const idleTimeoutMs = 120_000;

/** Passes requests for the built-in remote to its home, as they are: the home asks for the password. */
export function createPassedRemote({ home, caCertificate }: PassedRemoteOptions): HttpMount {
  return {
    prefix: '/git/',
    acceptsAnyHost: true,
    handle: (request, response) => {
      const page = home.page();
      if (page === undefined) refuse(response, `the server on ${home.host}, which has the Git remote, is away`);
      else pass(request, response, { page, caCertificate, home });
    },
  };
}

interface Passing extends Pick<PassedRemoteOptions, 'caCertificate' | 'home'> {
  readonly page: string;
}

function pass(request: IncomingMessage, response: ServerResponse, { page, caCertificate, home }: Passing): void {
  const target = new URL(page);
  const send = target.protocol === 'https:' ? httpsRequest : httpRequest;
  const passed = send({
    protocol: target.protocol,
    host: target.hostname.replace(/^\[|\]$/g, ''),
    port: target.port,
    method: request.method,
    path: request.url,
    headers: { ...withoutHopByHop(request.headers), host: target.host },
    ...(target.protocol === 'https:' ? { ca: caCertificate } : {}),
  });
  passed.setTimeout(idleTimeoutMs, () => passed.destroy(new Error('no answer')));
  passed.once('error', () => {
    if (response.headersSent) response.destroy();
    else
      refuse(
        response,
        `the server on ${home.host}, which has the Git remote, cannot be reached at ${page} (start it with --http-bind-address)`,
      );
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

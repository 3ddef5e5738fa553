import type { IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Node } from '../../api/core/v1/node.ts';
import type { KeyPair } from '../../base/pki.ts';
import { StatusError } from '../../machinery/status-error.ts';

/** Reaches the agents of nodes on their kubelet port, with a client certificate that they know. */
export interface KubeletClient {
  /**
   * GETs `path` from the agent of `node`; resolves with the head of the answer, whose body the caller reads or destroys.
   *
   * @throws StatusError 500 when the node has no address, does not answer or is not who it should be
   */
  get(node: Node, path: string, signal: AbortSignal): Promise<IncomingMessage>;
  close(): void;
}

export interface KubeletClientOptions {
  /** Signed the agents' serving certificates. */
  readonly caCertificate: string;
  readonly clientCertificate: KeyPair;
}

const defaultPort = 10_250;
const connectTimeoutMs = 10_000;

export function createKubeletClient({ caCertificate, clientCertificate }: KubeletClientOptions): KubeletClient {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 256,
    maxFreeSockets: 4,
    ca: caCertificate,
    cert: clientCertificate.certificate,
    key: clientCertificate.key,
  });
  return {
    get(node, path, signal) {
      const host = node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
      if (host === undefined) return Promise.reject(unreachable(`no preferred addresses found; known addresses: []`));
      const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? defaultPort;
      return new Promise((resolve, reject) => {
        const request = httpsRequest({ host, port, path, agent, signal });
        // Only until the head is there: a followed log may be silent for hours.
        request.setTimeout(connectTimeoutMs, () => request.destroy(new Error('i/o timeout')));
        request.once('response', (response) => {
          request.setTimeout(0);
          resolve(response);
        });
        request.once('error', (err) => reject(unreachable(`Get "https://${host}:${port}${path}": ${err.message}`, err)));
        request.end();
      });
    },
    close: () => agent.destroy(),
  };
}

const unreachable = (message: string, cause?: unknown): StatusError =>
  new StatusError({ code: 500, reason: 'InternalError', message, cause });

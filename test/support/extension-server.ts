import { rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type APIService, apiServices } from '../../src/api/apiregistration/v1/api-service.ts';
import { services } from '../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../src/api/discovery/v1/endpoint-slice.ts';
import { systemClock } from '../../src/base/clock.ts';
import { openPki } from '../../src/base/pki.ts';
import type { Client } from '../../src/client/client.ts';
import { temporaryDirectory } from './git.ts';

/** An extension API server: TLS, and the requests it got, with the user of each. */
export interface ExtensionServer {
  /** Base64 of the authority of its certificate. */
  readonly caBundle: string;
  readonly port: number;
  readonly received: readonly ReceivedRequest[];
  stop(): Promise<void>;
}

export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** Common name of a certificate that the front proxy's authority has signed. */
  readonly certifiedAs: string | undefined;
}

export interface ExtensionServerOptions {
  /** An address that endpoints may have. */
  readonly address: string;
  /** Names in its certificate. */
  readonly hosts: readonly string[];
  readonly frontProxyCa: string;
  /** True when it has answered; the rest gets 404. */
  answer(request: ReceivedRequest, response: ServerResponse): boolean;
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export async function startExtensionServer(options: ExtensionServerOptions): Promise<ExtensionServer> {
  const { address, hosts, frontProxyCa, answer, upgrade } = options;
  const directory = await temporaryDirectory('extension');
  const pki = await openPki({ directory, authorityName: 'extension-ca', clock: systemClock });
  const { certificate: cert, key } = await pki.serverCertificate({ name: 'server', commonName: 'extension', hosts });
  const received: ReceivedRequest[] = [];
  const server = createServer({ cert, key, ca: frontProxyCa, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    const { method = '', url = '', headers } = request;
    const socket = request.socket as TLSSocket;
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      const certifiedAs = socket.authorized ? String(socket.getPeerCertificate().subject.CN) : undefined;
      const known = { method, url, headers, body, certifiedAs };
      received.push(known);
      if (!answer(known, response)) response.writeHead(404).end();
    });
  });
  if (upgrade !== undefined) server.on('upgrade', upgrade);
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    caBundle: Buffer.from(pki.caCertificate).toString('base64'),
    port,
    received,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** A Service without selector, and where it leads. */
export async function publish(
  client: Client,
  name: string,
  { address, port }: { readonly address: string; readonly port: number },
  namespace = 'default',
): Promise<void> {
  await client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { ports: [{ name: 'https', port: 443, protocol: 'TCP' }] },
  });
  await client.create(endpointSlices, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  });
}

export const register = (
  client: Client,
  group: string,
  version: string,
  spec: Partial<NonNullable<APIService['spec']>>,
): Promise<APIService> =>
  client.create(apiServices, {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: `${version}.${group}` },
    spec: { group, version, groupPriorityMinimum: 100, versionPriority: 100, ...spec },
  });

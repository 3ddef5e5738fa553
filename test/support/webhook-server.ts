import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Pki } from '../../src/base/pki.ts';

/** The `request` of a review, as a webhook gets it. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into requests of every shape
export type ReviewRequest = any;

export interface SeenReview {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly request: ReviewRequest;
}

/** The response of a review, or a raw answer. */
export type HookAnswer = object | ((response: ServerResponse, request: ReviewRequest) => void);

/** A real webhook on a free port, with a certificate of the test's authority. */
export interface WebhookServer {
  readonly port: number;
  readonly url: string;
  /** The authority, as a configuration holds it. */
  readonly caBundle: string;
  readonly seen: SeenReview[];
  /** Sets the answer of a path from now on; without an answer a path allows. */
  answer(path: string, answer: HookAnswer | ((request: ReviewRequest) => HookAnswer)): void;
  stop(): Promise<void>;
}

export async function startWebhookServer(pki: Pki): Promise<WebhookServer> {
  const { certificate, key } = await pki.serverCertificate({
    name: 'webhook',
    commonName: 'webhook',
    hosts: ['127.0.0.1', 'hook.shop.svc'],
  });
  const answers = new Map<string, (request: ReviewRequest) => HookAnswer>();
  const seen: SeenReview[] = [];
  const sockets = new Set<Duplex>();

  const server: Server = createServer({ cert: certificate, key }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { request: review } = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      const path = request.url ?? '';
      seen.push({ path, headers: request.headers, request: review });
      const answer = answers.get(path.split('?')[0] ?? '')?.(review) ?? {};
      if (typeof answer === 'function') {
        (answer as (response: ServerResponse, request: ReviewRequest) => void)(response, review);
        return;
      }
      const body = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: review.uid, allowed: true, ...answer } };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(body));
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `https://127.0.0.1:${port}`,
    caBundle: Buffer.from(pki.caCertificate).toString('base64'),
    seen,
    answer(path, answer) {
      // A function of one parameter makes the answer from the request; one of two writes it itself.
      const make = typeof answer === 'function' && answer.length < 2 ? (answer as (request: ReviewRequest) => HookAnswer) : () => answer;
      answers.set(path, make);
    },
    async stop() {
      if (!server.listening) return;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** A patch as a response holds it. */
export const jsonPatch = (...operations: readonly object[]): object => ({
  patchType: 'JSONPatch',
  patch: Buffer.from(JSON.stringify(operations)).toString('base64'),
});

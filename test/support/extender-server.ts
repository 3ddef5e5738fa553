import { createServer as createHttpServer, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

/** The body of a question, in the field names of the contract. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
export type ExtenderQuestion = any;

type Answer = (question: ExtenderQuestion, response: ServerResponse) => unknown;

/** A real extender on a free port. It answers by verb; an answer of `undefined` leaves the response to the function. */
export interface ExtenderServer {
  readonly url: string;
  readonly asked: { readonly verb: string; readonly question: ExtenderQuestion }[];
  answers: Readonly<Record<string, Answer>>;
  stop(): Promise<void>;
}

export async function startExtenderServer(tls?: { readonly cert: string; readonly key: string }): Promise<ExtenderServer> {
  const sockets = new Set<Duplex>();
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const verb = request.url?.slice('/scheduler/'.length) ?? '';
      const question = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      running.asked.push({ verb, question });
      const answer = running.answers[verb];
      if (answer === undefined) response.writeHead(404).end();
      else {
        const body = answer(question, response);
        if (body !== undefined) response.end(JSON.stringify(body));
      }
    });
  };
  const server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
  server.on('connection', (socket: Duplex) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const running: ExtenderServer = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/scheduler/`,
    asked: [],
    answers: {},
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return running;
}

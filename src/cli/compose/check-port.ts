import { once } from 'node:events';
import { createServer } from 'node:net';

/** @throws Error `EADDRINUSE`, as a server that listens there gets it; 0 is any free port */
export async function checkPort(host: string, port: number): Promise<void> {
  if (port === 0) return;
  const server = createServer();
  server.listen({ host, port, exclusive: true });
  await once(server, 'listening');
  server.close();
  await once(server, 'close');
}

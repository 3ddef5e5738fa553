import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Keeps other clusters from taking the network `127.n.0.0/16` while its own cluster is stopped: a start avoids networks on which something
 * listens. Tests stop and start clusters beside each other, and one start in 190 would take the network of a stopped one.
 *
 * @returns a function that gives the network up; the end of the process does that, too
 */
export async function keepNetwork(n: number): Promise<() => void> {
  const server = createServer((socket) => socket.destroy()).listen(0, `127.${n}.7.7`);
  await once(server, 'listening');
  server.unref();
  return () => server.close();
}

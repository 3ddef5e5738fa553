import type { AddressInfo, Server } from 'node:net';

/** The part of an HTTP server that ends its connections. */
interface Closing {
  close(done: () => void): unknown;
  closeAllConnections(): void;
}

/**
 * Opens the port of a server.
 *
 * @param port  0: any that is free
 * @returns the port
 * @throws Error of the system when it cannot be had: `EADDRINUSE`, `EACCES`
 */
export function listen(server: Server, port: number, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => {
      server.off('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Closes the port, and breaks every connection in the middle of what it carries. */
export function closeAtOnce(server: Closing): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

import { isIP } from 'node:net';

/** True when only this machine reaches a server that listens on `address`. */
export const isLoopback = (address: string): boolean =>
  address === 'localhost' || address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));

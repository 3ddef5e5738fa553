import type * as x509Library from '@peculiar/x509';

/** Loaded when a certificate is made or a request read: the import takes 80 ms, and needs `reflect-metadata` to be there first. */
export async function loadX509(): Promise<typeof x509Library> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

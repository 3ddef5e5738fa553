import { pageAddress } from './addresses.ts';
import { type Endpoints, readEndpoints } from './data-directory.ts';
import type { ExitCode } from './failure.ts';
import { requestPage } from './page-request.ts';

export interface PageUrlOptions {
  readonly dataDirectory: string;
  /** A link that logs in, also where the page is open to everybody on this machine. */
  readonly login: boolean;
  readonly output: NodeJS.WritableStream;
}

/** Prints the address of the page; with a login one that logs in its owner once, within the next hour. */
export async function pageUrl({ dataDirectory, login, output }: PageUrlOptions): Promise<ExitCode> {
  const endpoints = await readEndpoints(dataDirectory);
  output.write(`${pageAddress(endpoints, login ? await newLink(endpoints) : await pagePathOf(endpoints))}\n`);
  return 0;
}

/** Path behind the address of the page; where it asks for a login, a new one that logs in once. */
export const pagePathOf = async (endpoints: Endpoints): Promise<string> =>
  endpoints.pageTokenFile === undefined ? '' : newLink(endpoints);

/** The cluster of an earlier version has no token of the owner: its links log in a reader. */
async function newLink(endpoints: Endpoints): Promise<string> {
  const tokenFile = endpoints.pageOwnerTokenFile ?? endpoints.pageTokenFile;
  return (await requestPage<{ readonly path: string }>(endpoints, '/login/links', { method: 'POST', tokenFile })).path;
}

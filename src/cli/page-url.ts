import { pageAddress } from './addresses.ts';
import { type Endpoints, readEndpoints } from './data-directory.ts';
import type { ExitCode } from './failure.ts';
import { requestPage } from './page-request.ts';

/** Prints the address of the page; where it asks for a login, one that logs in once, within the next hour. */
export async function pageUrl({
  dataDirectory,
  output,
}: {
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream;
}): Promise<ExitCode> {
  const endpoints = await readEndpoints(dataDirectory);
  output.write(`${pageAddress(endpoints, await pagePathOf(endpoints))}\n`);
  return 0;
}

/** Path behind the address of the page; where it asks for a login, a new one that logs in once. */
export async function pagePathOf(endpoints: Endpoints): Promise<string> {
  if (endpoints.pageTokenFile === undefined) return '';
  return (await requestPage<{ readonly path: string }>(endpoints, '/login/links', { method: 'POST' })).path;
}

import { readEndpoints } from './data-directory.ts';
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
  const page = endpoints.page ?? endpoints.http;
  const path =
    endpoints.pageTokenFile === undefined
      ? ''
      : (await requestPage<{ readonly path: string }>(endpoints, '/login/links', { method: 'POST' })).path;
  output.write(`${page}${path}\n`);
  return 0;
}

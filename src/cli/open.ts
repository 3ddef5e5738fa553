import { pageAddress } from './addresses.ts';
import { readEndpoints } from './data-directory.ts';
import type { ExitCode } from './failure.ts';
import { openBrowser } from './open-browser.ts';
import { pagePathOf } from './page-url.ts';

export interface OpenOptions {
  readonly dataDirectory: string;
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/**
 * Prints the address of the status page and, at a terminal, opens it in the browser. With a login the address is a link that logs in once:
 * it is printed to a terminal alone and never handed to another program.
 */
export async function openPage({ dataDirectory, output }: OpenOptions): Promise<ExitCode> {
  const endpoints = await readEndpoints(dataDirectory);
  const isTerminal = output.isTTY === true;
  output.write(`${pageAddress(endpoints, isTerminal ? await pagePathOf(endpoints) : undefined)}\n`);
  if (!isTerminal || endpoints.pageTokenFile !== undefined) return 0;
  // The address is printed already: where nothing opens it, a person can.
  await new Promise<void>((resolve) => {
    openBrowser(endpoints.page ?? endpoints.http, resolve);
    setTimeout(resolve, browserMs).unref();
  });
  return 0;
}

/** Time that a desktop has to refuse the address. */
const browserMs = 1_000;

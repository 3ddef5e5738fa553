import { readFile } from 'node:fs/promises';
import type { Endpoints } from './data-directory.ts';
import { Failure } from './failure.ts';

const maxAnswerBytes = 16 * 1024 * 1024;
const timeoutMs = 10_000;

/** Asks the running cluster on the port of its page, with the token of the page where it asks for one. */
export async function requestPage<T>(
  { http, pageTokenFile }: Pick<Endpoints, 'http' | 'pageTokenFile'>,
  path: string,
  { method = 'GET' }: { readonly method?: 'GET' | 'POST' } = {},
): Promise<T> {
  try {
    const token = pageTokenFile === undefined ? undefined : (await readFile(pageTokenFile, 'utf8')).trim();
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const response = await fetch(`${http}${path}`, { method, headers, redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const text = await response.text();
    if (text.length > maxAnswerBytes) throw new Error(`an answer of ${text.length} characters`);
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new Failure(`${http} does not answer`, {
      why: cause instanceof Error ? cause.message : String(cause),
      fix: 'Is the cluster still starting? Try again, or look at its terminal.',
      cause,
    });
  }
}

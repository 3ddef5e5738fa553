import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../client/client.ts';
import { type HistoryEntry, readHistory } from '../apply/history.ts';

export type { HistoryEntry } from '../apply/history.ts';

/** Revisions of an app, newest first. */
export async function historyOf(client: Client, app: Kustomization): Promise<readonly HistoryEntry[]> {
  return [...(await readHistory(client, app))].reverse();
}

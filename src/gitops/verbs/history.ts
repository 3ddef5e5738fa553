import { attemptsOf } from '../../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../client/client.ts';
import { judgeApp } from '../../lifecycle/verdict.ts';
import { type HistoryEntry, readHistory } from '../apply/records/history.ts';

/** A revision with its result as text. */
export interface JudgedEntry extends HistoryEntry {
  readonly outcome: 'works' | 'does not work' | 'on the way' | 'worked' | 'did not work' | 'not applied' | 'applied';
}

/** Revisions of an app, newest first. */
export async function historyOf(client: Client, app: Kustomization): Promise<readonly JudgedEntry[]> {
  return judgeHistory(app, await readHistory(client, app)).reverse();
}

/** Pure: what came of each entry, by what was written down of it and by what the app's status still knows. */
export function judgeHistory(app: Kustomization, history: readonly HistoryEntry[]): JudgedEntry[] {
  const healthy = new Map(attemptsOf(app).map(({ revision, healthyAt }) => [revision, healthyAt !== undefined]));
  const inForce = history.findLastIndex(({ result }) => result === 'applied');
  const isBroken = judgeApp(app, undefined).state === 'Broken';
  return history.map((entry, index): JudgedEntry => {
    const worked = entry.worked ?? healthy.get(entry.revision);
    if (entry.result === 'failed') return { ...entry, outcome: 'not applied' };
    if (index === inForce && isBroken) return { ...entry, outcome: 'does not work' };
    if (worked === undefined) return { ...entry, outcome: 'applied' };
    if (index === inForce) return { ...entry, outcome: worked ? 'works' : 'on the way' };
    return { ...entry, outcome: worked ? 'worked' : 'did not work' };
  });
}

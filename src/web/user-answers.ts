import type { Clock } from '../base/clock.ts';
import type { AppInspection } from '../base/contracts/app-inspection.ts';
import type { DynamicObject } from '../machinery/object.ts';
import { isStatusError } from '../machinery/status-error.ts';
import type { Identity } from './access.ts';
import { plainLog } from './log-text.ts';
import { Busy } from './pace.ts';
import type { PageModel } from './page-model.ts';
import type { Answer, ConditionRow } from './pages/parts.tsx';
import { type Place, placeOf } from './pages/router.ts';
import type { UserApi } from './user-api.ts';

export interface UserAnswersOptions {
  readonly model: PageModel;
  readonly userApi: UserApi;
  readonly inspection: () => AppInspection | undefined;
  readonly clock: Clock;
}

/** At once, for all users. */
const maxReads = 16;
const maxTextLength = 512 * 1024;
const maxDiffObjects = 50;
const maxDiffLength = 64 * 1024;
const timeoutMs = 15_000;

/**
 * Reads what a page shows to one user alone, with the user's own rights; undefined for pages that have nothing like that.
 *
 * @throws Busy when too many read
 */
export function createUserAnswers({ model, userApi, inspection, clock }: UserAnswersOptions) {
  let reading = 0;

  async function answer(place: Place, identity: Identity): Promise<Answer | undefined> {
    if (place.page === 'log') return logAnswer(place, identity);
    if (place.page !== 'app') return undefined;
    if (place.tab === 'history' && place.commit !== '') return diffAnswer(place, identity);
    return place.tab === 'objects' && place.object !== '' ? objectAnswer(place, identity) : undefined;
  }

  async function objectAnswer(place: Extract<Place, { page: 'app' }>, identity: Identity): Promise<Answer | undefined> {
    const app = model.app(place.namespace, place.name);
    const chosen = app === undefined ? undefined : model.object(app, place.object);
    if (app === undefined || chosen === undefined) return undefined;
    const engine = inspection();
    if (engine === undefined) return refused('The engine does not run yet, and it knows the values to mask. Load the page again.');
    const object = await userApi.read(identity, chosen.name);
    if (object === undefined) return refused('The object is not there any more.');
    const text = cut(engine.textOf(object, `${place.namespace}/${place.name}`), maxTextLength);
    const differences = model.differencesWithValues(app, chosen.name);
    return { type: 'object', at: clock.now(), text, differences, conditions: conditionsOf(object) };
  }

  async function diffAnswer(place: Extract<Place, { page: 'app' }>, identity: Identity): Promise<Answer> {
    const engine = inspection();
    if (engine === undefined) return refused('The engine does not run yet. Load the page again.');
    let changes: Awaited<ReturnType<AppInspection['commitDiff']>>;
    // The engine does not build an app for users who may not read it.
    const app = { group: 'kustomize.toolkit.fluxcd.io', kind: 'Kustomization', namespace: place.namespace, name: place.name };
    if ((await userApi.read(identity, app)) === undefined) return refused('The app is not there any more.');
    try {
      changes = await engine.commitDiff(`${place.namespace}/${place.name}`, place.commit, AbortSignal.timeout(timeoutMs));
    } catch (err) {
      return refused(err instanceof Error ? err.message : String(err));
    }
    const shown = changes.slice(0, maxDiffObjects);
    const allowed = await userApi.mayRead(identity, shown);
    return {
      type: 'diff',
      objects: shown.map((change, index) =>
        allowed[index] === true
          ? { ...change, diff: cut(change.diff, maxDiffLength), isHidden: false }
          : { ...change, diff: '', isHidden: true },
      ),
      more: changes.length - shown.length,
    };
  }

  async function logAnswer(place: Extract<Place, { page: 'log' }>, identity: Identity): Promise<Answer | undefined> {
    const pod = model.pod(place.namespace, place.pod);
    if (pod === undefined) return undefined;
    const text = await userApi.readLog(identity, {
      pod: { namespace: place.namespace, name: place.pod },
      container: place.container === '' ? (pod.containers[0]?.name ?? '') : place.container,
      previous: place.previous,
      tailLines: place.tailLines,
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { type: 'log', at: clock.now(), text: plainLog(text) };
  }

  return async (target: string, identity: Identity): Promise<Answer | undefined> => {
    const place = placeOf(target);
    if (place === undefined) return undefined;
    if (reading >= maxReads) throw new Busy();
    reading += 1;
    try {
      return await answer(place, identity);
    } catch (err) {
      if (!isStatusError(err)) throw err;
      return refused(err.code === 401 ? 'The API does not take your token any more: log in again.' : `The API refuses: ${err.message}`);
    } finally {
      reading -= 1;
    }
  };
}

const refused = (text: string): Answer => ({ type: 'refused', text });

const cut = (text: string, max: number): string => (text.length <= max ? text : `${text.slice(0, max)}\n… and more\n`);

function conditionsOf({ status }: DynamicObject): readonly ConditionRow[] {
  const conditions = (status as { readonly conditions?: unknown } | undefined)?.conditions;
  if (!Array.isArray(conditions)) return [];
  return conditions.slice(0, 50).map((condition: Readonly<Record<string, unknown>>) => ({
    type: String(condition?.type ?? ''),
    status: String(condition?.status ?? ''),
    reason: String(condition?.reason ?? ''),
    message: String(condition?.message ?? ''),
  }));
}

import { type Kustomization, type KustomizationStatus, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import { finalizers } from '../../../api/well-known.ts';
import type { Client } from '../../../client/client.ts';
import { keyOf, refOf } from '../../../machinery/object.ts';
import { isConflict, isNotFound } from '../../../machinery/status-error.ts';
import { newerOf } from '../../../reconcile/newer.ts';
import { fieldManager } from '../objects/fields.ts';

export interface AppPatch {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string | null>>; readonly finalizers?: readonly string[] };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** Writes the Kustomization itself. The answers are what is known of it until the cache has them. */
export interface AppObject {
  /** The app as the cache has it, or as our last write left it when the cache does not have that yet. */
  newest(cached: Kustomization): Kustomization;
  /** A status write was not answered: what the status says is not known until the next one, whatever the cache holds. */
  isStatusInDoubt(key: string): boolean;
  forget(key: string): void;
  /**
   * Changes an app as it is now: a cache that is behind must not undo what someone else wrote since. `patchFor` says what is merged into
   * it; undefined when there is nothing to do any more, which gives false. An app that is gone need not be changed.
   */
  change(app: Kustomization, patchFor: (now: Kustomization) => AppPatch | undefined): Promise<boolean>;
  writeStatus(key: string, status: KustomizationStatus): Promise<void>;
  /**
   * Before the first object is applied.
   *
   * @throws StatusError also when the app is gone: nothing may be applied for it any more
   */
  addFinalizer(app: Kustomization): Promise<void>;
  /** After the last object is gone. */
  letGo(app: Kustomization): Promise<void>;
}

/** Someone else writes the app at the same time now and then, not again and again. */
const maxChangeTries = 5;

export function createAppObject({ client }: { readonly client: Client }): AppObject {
  const written = new Map<string, Kustomization>();
  const inDoubt = new Set<string>();

  return {
    newest(cached) {
      const key = keyOf(cached);
      const app = newerOf(cached, written.get(key));
      if (app === cached) written.delete(key);
      return app;
    },
    isStatusInDoubt: (key) => inDoubt.has(key),
    forget(key) {
      written.delete(key);
      inDoubt.delete(key);
    },
    change: (app, patchFor) => unlessGone(changeApp(app, patchFor)),
    writeStatus,
    addFinalizer,
    letGo,
  };

  async function changeApp(app: Kustomization, patchFor: (now: Kustomization) => AppPatch | undefined): Promise<boolean> {
    const key = keyOf(app);
    const { uid } = app.metadata;
    const learn = (answer: Kustomization): Kustomization => {
      written.set(key, answer);
      return answer;
    };
    let now = app;
    for (let tries = 1; ; tries += 1) {
      const patch = patchFor(now);
      if (patch === undefined) return false;
      const { resourceVersion } = now.metadata;
      const body = { ...patch, metadata: { ...patch.metadata, uid, resourceVersion } };
      try {
        learn(await client.patch(kustomizations, refOf(key), { type: 'merge', body }, { fieldManager }));
        return true;
      } catch (err) {
        if (!isConflict(err) || tries === maxChangeTries) throw err;
      }
      now = learn(await client.get(kustomizations, refOf(key)));
    }
  }

  async function writeStatus(key: string, status: KustomizationStatus): Promise<void> {
    inDoubt.add(key);
    try {
      const body = { status };
      written.set(key, await client.patch(kustomizations, refOf(key), { type: 'merge', body }, { subresource: 'status', fieldManager }));
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    inDoubt.delete(key);
  }

  async function addFinalizer(app: Kustomization): Promise<void> {
    if (app.metadata.finalizers?.includes(finalizers.flux) === true) return;
    await changeApp(app, ({ metadata }) => ({ metadata: { finalizers: [...othersOf(metadata.finalizers), finalizers.flux] } }));
  }

  async function letGo(app: Kustomization): Promise<void> {
    await unlessGone(changeApp(app, ({ metadata }) => ({ metadata: { finalizers: othersOf(metadata.finalizers) } })));
  }
}

/** A change of an app that is gone is not needed any more. */
const unlessGone = (change: Promise<boolean>): Promise<boolean> =>
  change.catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
    return true;
  });

const othersOf = (present: readonly string[] = []): readonly string[] => present.filter((name) => name !== finalizers.flux);

import type { NodeRecord } from './cache.ts';
import type { PodRecord } from './pod-record.ts';
import type { Profile } from './profile.ts';

/** Things that the Reserve and PreBind plugins hold for a pod between the choice of its node and the binding. */
export interface Reservations {
  /** Reserves with every plugin, or with none. Gives the plugin that could not, and why. */
  reserve(pod: PodRecord, node: NodeRecord): { readonly plugin: string; readonly message: string } | undefined;
  /** Runs the PreBind plugins one after the other; undefined when none has anything to do, as for nearly every pod. */
  preBind(pod: PodRecord, node: NodeRecord): Promise<void> | undefined;
  /** Gives back what was reserved, in reverse order, and aborts a PreBind that is under way. */
  unreserve(pod: PodRecord, node: NodeRecord): void;
  /** No node fits, and these plugins rejected some: gives back what earlier attempts wrote for the pod. Undefined when that is nothing. */
  giveBack(pod: PodRecord, rejectedBy: ReadonlySet<string>): Promise<void> | undefined;
  /** The pod is bound or gone: a PreBind that still waits for it ends. */
  release(key: string): void;
  /** Aborts every PreBind. */
  stop(): void;
}

export function createReservations(profileOf: (pod: PodRecord) => Profile | undefined): Reservations {
  const waiting = new Map<string, AbortController>();
  const concerned = (pod: PodRecord) => (profileOf(pod)?.reserves ?? []).filter((plugin) => plugin.concerns(pod));

  function unreserve(pod: PodRecord, node: NodeRecord): void {
    release(pod.key);
    for (const plugin of concerned(pod).reverse()) plugin.unreserve?.(pod, node);
  }

  function release(key: string): void {
    waiting.get(key)?.abort(new Error('the pod needs no node any more'));
    waiting.delete(key);
  }

  return {
    reserve(pod, node) {
      for (const plugin of concerned(pod)) {
        const message = plugin.reserve?.(pod, node);
        if (message === undefined) continue;
        unreserve(pod, node);
        return { plugin: plugin.name, message };
      }
      return undefined;
    },
    preBind(pod, node) {
      const plugins = concerned(pod).filter(({ preBind }) => preBind !== undefined);
      if (plugins.length === 0) return undefined;
      const abort = new AbortController();
      waiting.set(pod.key, abort);
      return (async () => {
        for (const plugin of plugins) {
          try {
            await plugin.preBind?.(pod, node, abort.signal);
          } catch (err) {
            throw new Error(`running PreBind plugin "${plugin.name}": ${err instanceof Error ? err.message : String(err)}`, { cause: err });
          }
        }
      })().finally(() => {
        if (waiting.get(pod.key) === abort) waiting.delete(pod.key);
      });
    },
    giveBack(pod, rejectedBy) {
      const given = concerned(pod).flatMap(({ name, giveBack }) => (rejectedBy.has(name) ? (giveBack?.(pod) ?? []) : []));
      return given.length === 0 ? undefined : Promise.all(given).then(() => undefined);
    },
    unreserve,
    release,
    stop() {
      for (const key of [...waiting.keys()]) release(key);
    },
  };
}

import { controllerRevisions } from '../../src/api/apps/v1/controller-revision.ts';
import { events } from '../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { timestampOf } from '../../src/base/clock.ts';
import type { Client } from '../../src/client/client.ts';
import type { KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import { isConflict } from '../../src/machinery/status-error.ts';
import { type ControlPlane, type ControlPlaneOptions, type PodPlayerOptions, playPods, startControlPlane } from './control-plane.ts';
import { createManualClock, type ManualClock } from './manual-clock.ts';

/** Controllers on the in-process API under a clock that only the test moves. */
export interface Stage extends Pick<ControlPlane, 'client' | 'informers' | 'restart' | 'stop'> {
  readonly clock: ManualClock;
  /** Waits until nothing is written any more; time moves by a few milliseconds for each look. */
  settle(): Promise<void>;
  /** Moves time, then settles. */
  pass(ms: number): Promise<void>;
  /** Changes an object as a person would: again when someone else was faster. */
  change<T extends KubeObject>(resource: Resource<T>, name: string, edit: (current: T) => T): Promise<T>;
  get<T extends KubeObject>(resource: Resource<T>, name: string): Promise<T>;
  list<T extends KubeObject>(resource: Resource<T>): Promise<readonly T[]>;
  /** Names of the pods that exist, in order. */
  podNames(): Promise<readonly string[]>;
  /** `REASON: MESSAGE` of each Event, in order of their names. */
  events(): Promise<readonly string[]>;
  /** Revision numbers and names, oldest first. */
  revisions(): Promise<readonly { readonly name: string; readonly revision: number }[]>;
  /** Lets the agent of a node say what a pod does. */
  setStatus(name: string, status: NonNullable<Pod['status']>): Promise<void>;
  ready(name: string): Promise<void>;
  delete<T extends KubeObject>(resource: Resource<T>, name: string): Promise<void>;
}

export interface StageOptions {
  readonly controllers: ControlPlaneOptions['controllers'];
  /** The status that a new pod gets at once; by default that of a Ready one. False: pods stay Pending. */
  readonly play?: PodPlayerOptions['statusOf'] | false;
}

const namespace = 'default';

/** So long nothing may be written before the stage counts as quiet. */
const quietLooks = 8;
const maxLooks = 20_000;

export async function startStage({ controllers, play }: StageOptions): Promise<Stage> {
  const clock = createManualClock(Math.floor(Date.now() / 1000) * 1000);
  const plane = await startControlPlane({ controllers, clock });
  const { client } = plane;
  const readyNow = (): NonNullable<Pod['status']> => ({
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: timestampOf(clock.now()) }],
  });
  const watch = (): void => {
    if (play !== false) playPods(plane, { statusOf: play ?? readyNow });
  };
  watch();

  async function settle(): Promise<void> {
    let last = '';
    let quiet = 0;
    for (let look = 0; quiet < quietLooks; look += 1) {
      if (look > maxLooks) throw new Error('the controllers never come to rest');
      clock.advance(25);
      await new Promise((resolve) => setTimeout(resolve, 1));
      const { metadata } = await client.list(pods, { namespace, limit: 1 });
      const now = metadata.resourceVersion ?? '';
      quiet = now === last ? quiet + 1 : 0;
      last = now;
    }
  }

  const setStatus = (name: string, status: NonNullable<Pod['status']>): Promise<void> => writeStatus(client, name, status);
  return {
    client,
    clock,
    get informers() {
      return plane.informers;
    },
    async restart() {
      await plane.restart();
      watch();
    },
    stop: () => plane.stop(),
    settle,
    async pass(ms) {
      await settle();
      clock.advance(ms);
      await settle();
    },
    async change(resource, name, edit) {
      for (;;) {
        try {
          const after = await client.update(resource, edit(await client.get(resource, { namespace, name })));
          await settle();
          return after;
        } catch (err) {
          if (!isConflict(err)) throw err;
        }
      }
    },
    get: (resource, name) => client.get(resource, { namespace, name }),
    list: async (resource) => (await client.list(resource, { namespace })).items,
    podNames: async () => (await client.list(pods, { namespace })).items.map(({ metadata }) => metadata.name).sort(),
    events: async () => (await client.list(events, { namespace })).items.map(({ reason, message }) => `${reason}: ${message}`),
    revisions: async () =>
      (await client.list(controllerRevisions, { namespace })).items
        .map(({ metadata, revision }) => ({ name: metadata.name, revision }))
        .sort((a, b) => a.revision - b.revision),
    async setStatus(name, status) {
      await setStatus(name, status);
      await settle();
    },
    async ready(name) {
      await setStatus(name, readyNow());
      await settle();
    },
    async delete(resource, name) {
      await client.delete(resource, { namespace, name });
      await settle();
    },
  };
}

async function writeStatus(client: Client, name: string, status: NonNullable<Pod['status']>): Promise<void> {
  await client.patch(pods, { namespace, name }, { type: 'merge', body: { status } }, { subresource: 'status' });
}

import type { StatefulSet } from '../../api/apps/v1/stateful-set.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import type { Client, New } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import type { Expectations } from '../../reconcile/expectations.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { inBatches, slowStart } from '../slow-start.ts';
import { claimNames, claimsOf, wantedOwners } from './claims.ts';
import { hasIdentity, identityLabels, isWanted, type PodRevision, podOfOrdinal } from './identity.ts';
import type { NumberedPod } from './plan.ts';

export interface PodWritesOptions {
  readonly client: Client;
  readonly recorder: EventRecorder;
  readonly expectations: Expectations;
  readonly claims: Informer<PersistentVolumeClaim>;
}

/** Writes the pods and claims of one StatefulSet, and tells of them in upstream's words. The first failure is thrown. */
export interface PodWrites {
  /** Claims come before their pod, so that it never waits for one that nobody makes. */
  create(set: StatefulSet, ordinals: readonly number[], options: CreateOptions): Promise<void>;
  repair(set: StatefulSet, damaged: readonly NumberedPod[], options: WriteOptions): Promise<void>;
  delete(set: StatefulSet, victims: readonly Pod[], options: WriteOptions): Promise<void>;
}

interface WriteOptions {
  readonly signal: AbortSignal;
}

interface CreateOptions extends WriteOptions {
  revisionOf(ordinal: number): PodRevision;
}

export function createPodWrites({ client, recorder, expectations, claims }: PodWritesOptions): PodWrites {
  type Verb = 'create' | 'update' | 'delete';

  /** Records how a write ended, and passes a failure on. */
  async function recorded(set: StatefulSet, verb: Verb, name: string, write: () => Promise<unknown>): Promise<void> {
    const title = `${verb.charAt(0).toUpperCase()}${verb.slice(1)}`;
    const what = `${verb} Pod ${name} in StatefulSet ${set.metadata.name}`;
    try {
      await write();
      recorder.record(set, { type: 'Normal', reason: `Successful${title}`, message: `${what} successful` });
    } catch (err) {
      if (!isNamespaceTerminating(err))
        recorder.record(set, { type: 'Warning', reason: `Failed${title}`, message: `${what} failed error: ${messageOf(err)}` });
      throw err;
    }
  }

  async function createClaims(set: StatefulSet, ordinal: number, { signal }: WriteOptions): Promise<void> {
    const user = `Pod ${set.metadata.name}-${ordinal} in StatefulSet ${set.metadata.name}`;
    for (const claim of claimsOf(set, ordinal)) {
      const name = claim.metadata.name ?? '';
      const there = claims.get({ namespace: set.metadata.namespace, name });
      if (there?.metadata.deletionTimestamp !== undefined) throw new Error(`pvc ${name} is being deleted`);
      if (there !== undefined) continue;
      await createClaim(set, claim, { user, signal });
    }
  }

  async function createClaim(
    set: StatefulSet,
    claim: New<PersistentVolumeClaim>,
    { user, signal }: WriteOptions & { readonly user: string },
  ): Promise<void> {
    const what = `create Claim ${claim.metadata.name}`;
    try {
      await client.create(persistentVolumeClaims, claim, { signal });
      recorder.record(set, { type: 'Normal', reason: 'SuccessfulCreate', message: `${what} ${user} success` });
    } catch (err) {
      // The cache does not show it yet, or a pod of before has left it.
      if (isAlreadyExists(err)) return;
      if (!isNamespaceTerminating(err))
        recorder.record(set, { type: 'Warning', reason: 'FailedCreate', message: `${what} for ${user} failed error: ${messageOf(err)}` });
      throw new Error(`failed to create PVC ${claim.metadata.name}: ${messageOf(err)}`, { cause: err });
    }
  }

  async function updateOwners(set: StatefulSet, { ordinal, pod }: NumberedPod, { signal }: WriteOptions): Promise<void> {
    for (const name of claimNames(set, ordinal)) {
      const claim = claims.get({ namespace: set.metadata.namespace, name });
      const owners = claim === undefined ? undefined : wantedOwners(claim, set, { pod, isCondemned: !isWanted(set, ordinal) });
      if (claim === undefined || owners === undefined) continue;
      const { ownerReferences: _, ...metadata } = claim.metadata;
      const after = { ...claim, metadata: owners.length === 0 ? metadata : { ...metadata, ownerReferences: owners } };
      await client.update(persistentVolumeClaims, after, { signal });
    }
  }

  return {
    async create(set, ordinals, { revisionOf, signal }) {
      const uid = set.metadata.uid ?? '';
      expectations.expectCreations(uid, ordinals.length);
      const { succeeded, failure } = await slowStart(ordinals.length, async (index) => {
        const ordinal = ordinals[index] ?? 0;
        const pod = podOfOrdinal(set, ordinal, revisionOf(ordinal));
        await recorded(set, 'create', pod.metadata.name ?? '', async () => {
          await createClaims(set, ordinal, { signal });
          await client.create(pods, pod, { signal });
        });
      });
      expectations.creationsFailed(uid, ordinals.length - succeeded);
      if (failure !== undefined) throw failure;
    },

    async repair(set, damaged, { signal }) {
      for (const one of damaged) {
        const { ordinal, pod } = one;
        if (isWanted(set, ordinal)) await createClaims(set, ordinal, { signal });
        await updateOwners(set, one, { signal });
        if (hasIdentity(set, ordinal, pod) || !isWanted(set, ordinal)) continue;
        const { namespace, name, uid, resourceVersion } = pod.metadata;
        const body = { metadata: { uid, resourceVersion, labels: identityLabels(set, ordinal) } };
        await recorded(set, 'update', name, () => client.patch(pods, { namespace, name }, { type: 'merge', body }, { signal }));
      }
    },

    async delete(set, victims, { signal }) {
      const owner = set.metadata.uid ?? '';
      expectations.expectDeletions(
        owner,
        victims.map(({ metadata }) => metadata.uid ?? ''),
      );
      let failure: unknown;
      await inBatches(victims, async ({ metadata: { namespace, name, uid = '' } }) => {
        try {
          await recorded(set, 'delete', name, async () => {
            await client.delete(pods, { namespace, name }, { preconditions: { uid }, signal });
          });
        } catch (err) {
          expectations.deletionObserved(owner, uid);
          if (!isNotFound(err)) failure ??= err;
        }
      });
      if (failure !== undefined) throw failure;
    },
  };
}

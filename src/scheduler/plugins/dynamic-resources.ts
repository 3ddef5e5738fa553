import { resourceClaimKeysOf, resourceClaimsOf } from '../../api/core/v1/pod-resource-claims.ts';
import { deviceClasses } from '../../api/resource/v1/device-class.ts';
import {
  type Allocation,
  type ClaimUser,
  claimFinalizer,
  type ResourceClaim,
  resourceClaims,
} from '../../api/resource/v1/resource-claim.ts';
import { resourceSlices } from '../../api/resource/v1/resource-slice.ts';
import { compileNodeTerm } from '../../lifecycle/node-selector.ts';
import { controllerOf, keyOf } from '../../machinery/object.ts';
import { isConflict, isRefusal } from '../../machinery/status-error.ts';
import type { NodeRecord } from '../cache.ts';
import { allocate, unsupportedOf } from '../devices/allocate.ts';
import { createDevicePools } from '../devices/device-pools.ts';
import { SelectorError } from '../devices/device-selectors.ts';
import { settleAllocation } from '../devices/settle-allocation.ts';
import type { Changed, ChangeListener, PluginFactory, Rejection } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';
import { sharedState } from '../shared-state.ts';
import { reporterOf } from './volume-changes.ts';

const notThere: Rejection = { reasons: ['resourceclaim not available on the node'], resolvable: false };
const cannotAllocate: Rejection = { reasons: ['cannot allocate all claims'], resolvable: false };

/** Most users of a claim, as upstream has it. */
const maxUsers = 256;
/** Others write a claim, too: its driver, the controller that takes pods out. */
const maxAttempts = 5;

const hasResourceClaims = ({ shape }: PodRecord): boolean => (shape.source.resourceClaims?.length ?? 0) > 0;
const isAllocated = ({ status }: ResourceClaim): boolean => (status?.allocation ?? undefined) !== undefined;

/**
 * Gives devices to the claims of a pod, and lets the pod only to nodes that reach them. A device is taken whole, by one claim.
 *
 * @see Kubernetes concepts, "Dynamic Resource Allocation"
 */
export const dynamicResources: PluginFactory = ({ client, informers, clock, log }) => {
  const claims = informers.get(resourceClaims);
  const classes = informers.get(deviceClasses);
  const pools = createDevicePools(informers);
  claims.addIndex(byDevice, devicesOf);
  const { promised, writing } = sharedOver(claims);
  let report: ChangeListener = () => undefined;
  let ended = new AbortController().signal;

  const classOf = (name: string) => classes.getByKey(name);
  /** Each once: two entries of a pod may name the same claim. */
  const claimsOf = ({ pod }: PodRecord): readonly ResourceClaim[] =>
    [...new Set(resourceClaimKeysOf(pod))].flatMap((key) => claims.getByKey(key) ?? []);

  function refusalOf({ pod, key }: PodRecord): string | undefined {
    for (const { name, claimName } of resourceClaimsOf(pod)) {
      if (claimName === null) continue;
      if (claimName === undefined) return `waiting for dynamic resource controller to create the resourceclaim for pod claim "${name}"`;
      const claim = claims.get({ namespace: pod.metadata.namespace, name: claimName });
      if (claim === undefined) return `resourceclaim "${claimName}" not found`;
      if (claim.metadata.deletionTimestamp !== undefined) return `resourceclaim "${claimName}" is being deleted`;
      const owner = controllerOf(claim);
      if (owner?.kind === 'Pod' && owner.uid !== pod.metadata.uid)
        return `resourceclaim "${claimName}" was not created for this pod (pod is not owner)`;
      if (isAllocated(claim)) {
        if (isFull(claim, pod.metadata.uid ?? '')) return 'resourceclaim in use';
        continue;
      }
      // Its devices may go back, when that pod cannot be bound after all.
      if ((promised.get(keyOf(claim))?.pod ?? key) !== key) return `resource claim ${keyOf(claim)} is in the process of being allocated`;
      const unsupported = unsupportedOf(claim);
      if (unsupported !== undefined) return `resourceclaim "${claimName}": ${unsupported} is not supported`;
      for (const { name: request, exactly } of claim.spec?.devices?.requests ?? []) {
        const className = exactly?.deviceClassName ?? '';
        if (classOf(className) === undefined) return `request ${request}: device class ${className} does not exist`;
      }
    }
    return undefined;
  }

  function devicesInUse(): ReadonlySet<string> {
    const inUse = new Set<string>();
    for (const { id } of pools.all()) if (claims.byIndex(byDevice, id).length > 0) inUse.add(id);
    for (const { allocation } of promised.values()) for (const id of idsOf(allocation)) inUse.add(id);
    return inUse;
  }

  /** Allocations for claims of the pod that have none, or why there are none on this node. */
  function find(pod: PodRecord, node: NodeRecord, inUse: ReadonlySet<string>): ReadonlyMap<ResourceClaim, Allocation> | Rejection {
    const found = new Map<ResourceClaim, Allocation>();
    const taken = new Set(inUse);
    for (const claim of claimsOf(pod)) {
      const known = claim.status?.allocation ?? promised.get(keyOf(claim))?.allocation;
      if (known !== undefined) {
        if (!isFor(known, node)) return notThere;
        continue;
      }
      try {
        const allocation = allocate(claim, { reachable: pools.reachableFrom(node), classOf, taken });
        if (allocation === undefined) return cannotAllocate;
        for (const id of idsOf(allocation)) taken.add(id);
        found.set(claim, allocation);
      } catch (err) {
        if (err instanceof SelectorError) return { reasons: [`resourceclaim "${claim.metadata.name}": ${err.message}`], resolvable: false };
        throw err;
      }
    }
    return found;
  }

  const usesClaim = ({ pod }: PodRecord, { after }: Changed): boolean =>
    after === undefined || resourceClaimKeysOf(pod).includes(keyOf(after));

  return {
    name: 'DynamicResources',
    filter: {
      helpedBy: {
        NodeAdded: 'always',
        NodeLabelsChanged: 'always',
        PodChanged: 'always',
        ResourceClaimAdded: usesClaim,
        // A claim that was freed gives its devices to others.
        ResourceClaimChanged: 'always',
        ResourceClaimDeleted: 'always',
        ResourceSliceAdded: 'always',
        ResourceSliceChanged: 'always',
        ResourceSliceDeleted: 'always',
        DeviceClassAdded: 'always',
        DeviceClassChanged: 'always',
      },
      refuse: (pod) => (hasResourceClaims(pod) ? refusalOf(pod) : undefined),
      prepare(pod) {
        if (!hasResourceClaims(pod)) return undefined;
        const inUse = devicesInUse();
        return {
          forThisPod: true,
          filter(node) {
            const found = find(pod, node, inUse);
            return 'reasons' in found ? found : undefined;
          },
        };
      },
    },
    reserve: {
      concerns: hasResourceClaims,
      reserve(pod, node) {
        const found = find(pod, node, devicesInUse());
        if ('reasons' in found) return found.reasons.join(', ');
        // This attempt takes over the promises of an earlier one.
        for (const promise of promised.values()) if (promise.pod === pod.key) promise.unanswered = undefined;
        for (const [claim, allocation] of found) {
          promised.set(keyOf(claim), { pod: pod.key, allocation, isWritten: false, unanswered: undefined });
        }
        return undefined;
      },
      async preBind(pod, _, signal) {
        for (const claim of claimsOf(pod)) await write(claim, pod, signal);
      },
      unreserve(pod) {
        for (const [key, promise] of promised) {
          // The API has the allocation already, and nobody else may get the devices before the cache shows it.
          if (promise.pod !== pod.key || promise.isWritten) continue;
          if (promise.unanswered === undefined) takeBack(key);
          else void settle(key, promise, promise.unanswered);
        }
      },
      giveBack(pod) {
        const held = claimsOf(pod).find((claim) => isAllocated(claim) && mayLeave(claim, pod.uid));
        if (held === undefined) return undefined;
        const { allocation: _, reservedFor: __, devices: ___, ...status } = held.status ?? {};
        return client.update(resourceClaims, { ...held, status }, { subresource: 'status' }).then(() => undefined);
      },
    },
    watch(onChange) {
      report = onChange;
      const removeHandlers = [
        claims.addHandler((changed) => {
          // From then on the cache of claims says it.
          if (changed.after === undefined || isAllocated(changed.after)) {
            const claim = changed.after ?? changed.before;
            if (claim !== undefined) promised.delete(keyOf(claim));
          }
          reporterOf('ResourceClaim', onChange)(changed);
        }),
        informers.get(resourceSlices).addHandler(reporterOf('ResourceSlice', onChange)),
        classes.addHandler(reporterOf('DeviceClass', onChange)),
      ];
      const stopSettling = new AbortController();
      ended = stopSettling.signal;
      return () => {
        for (const remove of removeHandlers) remove();
        stopSettling.abort(new Error('the scheduler stops'));
      };
    },
  };

  function takeBack(key: string): void {
    promised.delete(key);
    // No object changes with it.
    report('ResourceClaimChanged', {});
  }

  /** The allocation may be stored, or may yet be: nobody else gets the devices before that is known. */
  async function settle(key: string, promise: Promised, claim: ResourceClaim): Promise<void> {
    const isWanted = (): boolean => promised.get(key) === promise && promise.unanswered === claim;
    const outcome = await settleAllocation({ client, clock, claim, isWanted, signal: ended });
    if (!isWanted() || ended.aborted) return;
    if (outcome === 'allocated') {
      promise.isWritten = true;
      return;
    }
    if (outcome === 'unknown') log.warn({ resourceClaim: key }, 'Could not find out if devices of claim are allocated');
    takeBack(key);
  }

  /** Pods that share a claim take turns, each after what the one before has written. */
  async function write(claim: ResourceClaim, pod: PodRecord, signal: AbortSignal): Promise<void> {
    const key = keyOf(claim);
    const turn = (writing.get(key) ?? Promise.resolve(undefined)).then((last) => writeNewest(last ?? claim, pod, signal));
    const settled = turn.catch(() => undefined);
    writing.set(key, settled);
    try {
      await turn;
    } finally {
      if (writing.get(key) === settled) writing.delete(key);
    }
  }

  async function writeNewest(claim: ResourceClaim, pod: PodRecord, signal: AbortSignal): Promise<ResourceClaim> {
    const { namespace, name } = claim.metadata;
    let newest = claim;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await writeOnce(newest, pod, signal);
      } catch (err) {
        if (!isConflict(err) || attempt === maxAttempts) throw err;
        newest = await client.get(resourceClaims, { namespace, name }, { signal });
        if (newest.metadata.uid !== claim.metadata.uid) throw new Error(`claim ${keyOf(claim)} was replaced`, { cause: err });
      }
    }
  }

  /** The finalizer comes first: an allocation without it would be lost with the claim while the pod runs. */
  async function writeOnce(claim: ResourceClaim, { key, uid, pod }: PodRecord, signal: AbortSignal): Promise<ResourceClaim> {
    const users = claim.status?.reservedFor ?? [];
    const promise = promised.get(keyOf(claim));
    if (isAllocated(claim) && users.some((user) => user.uid === uid)) return claim;
    if (claim.metadata.deletionTimestamp !== undefined) throw new Error(`claim ${keyOf(claim)} got deleted in the meantime`);
    if (isAllocated(claim) && promise?.pod === key) throw new Error(`claim ${keyOf(claim)} got allocated elsewhere in the meantime`);
    if (isFull(claim, uid)) throw new Error(`claim ${keyOf(claim)} is in use by ${maxUsers} pods`);
    const allocation = claim.status?.allocation ?? (promise?.pod === key ? promise.allocation : undefined);
    if (allocation === undefined) throw new Error(`devices of claim ${keyOf(claim)} were given back before pod ${key} was bound`);
    const { finalizers = [] } = claim.metadata;
    const held = finalizers.includes(claimFinalizer)
      ? claim
      : await client.update(
          resourceClaims,
          { ...claim, metadata: { ...claim.metadata, finalizers: [...finalizers, claimFinalizer] } },
          { signal },
        );
    const user: ClaimUser = { resource: 'pods', name: pod.metadata.name, uid };
    const status = { ...held.status, allocation, reservedFor: [...users, user] };
    const own = promise?.pod === key ? promise : undefined;
    try {
      const written = await client.update(resourceClaims, { ...held, status }, { subresource: 'status', signal });
      if (own !== undefined) own.isWritten = true;
      return written;
    } catch (err) {
      if (own !== undefined && !isRefusal(err)) own.unanswered = claim;
      throw err;
    }
  }
};

/** An allocation that the cache of claims does not show yet. */
interface Promised {
  readonly pod: string;
  readonly allocation: Allocation;
  isWritten: boolean;
  /** The claim whose write got no answer. */
  unanswered: ResourceClaim | undefined;
}

interface Shared {
  /** By key of the claim. */
  readonly promised: Map<string, Promised>;
  /** The last write of each claim that is under way, and the claim as it left it; undefined when it failed. */
  readonly writing: Map<string, Promise<ResourceClaim | undefined>>;
}

const sharedOver = sharedState<Shared>(() => ({ promised: new Map(), writing: new Map() }));

const byDevice = 'scheduler-allocated-devices';

const idsOf = ({ devices }: Allocation): readonly string[] =>
  (devices?.results ?? []).map(({ driver, pool, device }) => `${driver}/${pool}/${device}`);

const isFull = ({ status }: ResourceClaim, uid: string): boolean => {
  const users = status?.reservedFor ?? [];
  return users.length >= maxUsers && !users.some((user) => user.uid === uid);
};

/** No pod but this one, which has no node yet, counts on the devices, and they are not everywhere. */
const mayLeave = ({ status }: ResourceClaim, uid: string): boolean =>
  status?.allocation?.nodeSelector !== undefined && (status.reservedFor ?? []).every((user) => user.uid === uid);

/** Access of an administrator takes nothing away from others. */
function devicesOf({ status }: ResourceClaim): readonly string[] {
  const { allocation } = status ?? {};
  if (allocation === undefined || allocation === null) return [];
  return (allocation.devices?.results ?? [])
    .filter(({ adminAccess }) => adminAccess !== true)
    .map(({ driver, pool, device }) => `${driver}/${pool}/${device}`);
}

function isFor({ nodeSelector }: Allocation, { name, labels }: NodeRecord): boolean {
  return nodeSelector === undefined || nodeSelector.nodeSelectorTerms.some((term) => compileNodeTerm(term)(labels, name));
}

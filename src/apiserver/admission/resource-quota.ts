import { persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type ResourceAmounts, readAmounts } from '../../api/core/v1/pod-resources.ts';
import {
  addAmounts,
  isInScope,
  largerAmounts,
  mayCount,
  missingAmounts,
  positiveAmounts,
  restrictTo,
  subtractAmounts,
  usageOf,
  writeAmounts,
} from '../../api/core/v1/quota-usage.ts';
import { type ResourceQuota, resourceQuotas } from '../../api/core/v1/resource-quota.ts';
import { services } from '../../api/core/v1/service.ts';
import type { Clock } from '../../base/clock.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { formatQuantity } from '../../machinery/quantity.ts';
import { forbidden, isNotFound } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { inNamespace } from './in-namespace.ts';
import { QuotaLedger } from './quota-ledger.ts';

export interface ResourceQuotaOptions {
  readonly registry: Pick<Registry, 'get' | 'stateOf' | 'revision'>;
  /** Kinds that are served now. */
  kinds(): readonly KindDefinition[];
  /** Writes the status of a quota as the server itself; `change` may be called again when another write came first. */
  writeStatus(quota: ResourceQuota, change: (stored: ResourceQuota) => ResourceQuota): Promise<unknown>;
  readonly clock: Clock;
}

/** Kinds whose updates can use more than before. */
const growing: readonly Pick<KindDefinition, 'group' | 'resource'>[] = [services, persistentVolumeClaims];

/**
 * Keeps each namespace within its ResourceQuotas. A ledger of stored objects and writes under way decides at once, so
 * that concurrent writers together never exceed the limit. Then `status.used` is written before the object, with one
 * write for all waiting requests. If the object is not created, the quota's controller corrects the charge.
 *
 * @throws StatusError `Forbidden`
 */
export function resourceQuota({ registry, kinds, writeStatus, clock }: ResourceQuotaOptions): AdmissionStep {
  const accounts = new Map<string, Account>();
  let follows = false;

  /** Quotas that are gone need no account; those whose limits changed get a new one when it is asked for. */
  function follow(): void {
    follows = true;
    registry.stateOf(resourceQuotas as KindDefinition).hub.add({
      filter: { namespace: undefined, name: undefined, indexed: undefined, predicate: undefined, selective: false },
      after: registry.revision,
      bookmarks: false,
      isInternal: true,
      pending: [],
      consumer: {
        onEvents(records) {
          for (const { type, object } of records) if (type === 'DELETED') forget(keyOf(object));
        },
        onEnd: () => undefined,
      },
    });
  }

  function forget(key: string): void {
    accounts.get(key)?.ledger.close();
    accounts.delete(key);
  }

  function accountOf(quota: ResourceQuota): Account {
    if (!follows) follow();
    const key = keyOf(quota);
    const known = accounts.get(key);
    if (known !== undefined && known.quota.metadata.uid === quota.metadata.uid && known.quota.spec === quota.spec) return known;
    forget(key);
    const account = new Account(quota, new QuotaLedger({ registry, quota, kinds: kinds().filter(isStored) }));
    accounts.set(key, account);
    return account;
  }

  function admit(request: AdmissionRequest): KubeObject | Promise<KubeObject> {
    const { kind, object, namespace, name, dryRun, onSettled } = request;
    const quotas = inNamespace<ResourceQuota>(registry, resourceQuotas, namespace);
    if (quotas.length === 0) return object;
    const delta = deltaOf(request);
    if (delta.size === 0) return object;
    const claims: { readonly account: Account; readonly usage: ResourceAmounts }[] = [];
    for (const quota of quotas) {
      if (!isInScope(quota, kind, object) || !mayCount(readAmounts(quota.spec?.hard), kind)) continue;
      const account = accountOf(quota);
      account.ledger.follow(kind);
      const { hard } = account.ledger;
      if (isPods(kind)) {
        const missing = missingAmounts(hard.keys(), object as Pod);
        if (missing !== undefined) throw forbidden(kind, name, `failed quota: ${quota.metadata.name}: ${missing}`);
      }
      const usage = restrictTo(hard, delta);
      if (usage.size === 0) continue;
      const used = account.used(quota, clock.now());
      const why = excessOf(quota, { usage, used, hard });
      if (why !== undefined) throw forbidden(kind, name, why);
      claims.push({ account, usage });
    }
    if (dryRun || claims.length === 0) return object;
    for (const { account, usage } of claims) onSettled(account.ledger.reserve(kind, object, usage));
    return Promise.all(claims.map(({ account, usage }) => account.charge({ kind, name, usage }, writeStatus, clock))).then(() => object);
  }

  return {
    name: 'ResourceQuota',
    phase: 'validating',
    isIdle: () => registry.stateOf(resourceQuotas as KindDefinition).all.objects.size === 0,
    subresources: ['resize'],
    appliesTo: (kind, operation, subresource) => {
      if (subresource === 'resize') return isPods(kind) && operation === 'update';
      return kind.namespaced && (operation === 'create' || (operation === 'update' && growing.some((other) => isSame(kind, other))));
    },
    admit,
  };
}

/** The ledger of a quota and the writing of its status. */
class Account {
  readonly quota: ResourceQuota;
  readonly ledger: QuotaLedger;
  readonly #waiting: WaitingCharge[] = [];
  #isWriting = false;

  constructor(quota: ResourceQuota, ledger: QuotaLedger) {
    this.quota = quota;
    this.ledger = ledger;
  }

  /** Usage for the check: the larger of the status and the ledger. */
  used({ status }: ResourceQuota, nowMs: number): ResourceAmounts {
    return largerAmounts(addAmounts(readAmounts(status?.used), this.ledger.uncharged), this.ledger.used(nowMs));
  }

  /**
   * Resolves when the status shows the charge: who comes while it is written shares the next write. The limit is checked once more within
   * that write. Other servers charge the same status, and their writes are not in memory yet.
   *
   * @throws StatusError `Forbidden` for a charge that the status has no room for
   */
  charge(charge: Charge, writeStatus: ResourceQuotaOptions['writeStatus'], clock: Clock): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...charge, resolve, reject });
      if (!this.#isWriting) void this.#writeAll(writeStatus, clock);
    });
  }

  async #writeAll(writeStatus: ResourceQuotaOptions['writeStatus'], clock: Clock): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      let refused: ReadonlyMap<WaitingCharge, string> = new Map();
      try {
        await writeStatus(this.quota, (stored) => {
          const decided = this.#decide(stored, batch, clock.now());
          refused = decided.refused;
          return decided.quota;
        });
        for (const charge of batch) settleCharge(charge, refused.get(charge));
      } catch (err) {
        // A quota that is gone limits nothing.
        for (const { resolve, reject } of batch)
          if (isNotFound(err)) resolve();
          else reject(err);
      } finally {
        for (const { usage } of batch) this.ledger.charged(usage);
      }
    }
    this.#isWriting = false;
  }

  /** The status with every charge that it has room for, one after the other. */
  #decide(stored: ResourceQuota, batch: readonly WaitingCharge[], nowMs: number): Decided {
    const { ledger } = this;
    const refused = new Map<WaitingCharge, string>();
    const known = subtractAmounts(ledger.used(nowMs), ledger.uncharged);
    let used = largerAmounts(readAmounts(stored.status?.used), known);
    for (const charge of batch) {
      const why = excessOf(stored, { usage: charge.usage, used, hard: ledger.hard });
      if (why === undefined) used = addAmounts(used, charge.usage);
      else refused.set(charge, why);
    }
    return { quota: refused.size === batch.length ? stored : withUsed(stored, used), refused };
  }
}

interface Charge {
  readonly kind: KindDefinition;
  readonly name: string;
  readonly usage: ResourceAmounts;
}

interface WaitingCharge extends Charge {
  resolve(): void;
  reject(err: unknown): void;
}

interface Decided {
  readonly quota: ResourceQuota;
  readonly refused: ReadonlyMap<WaitingCharge, string>;
}

function settleCharge({ kind, name, resolve, reject }: WaitingCharge, refusal: string | undefined): void {
  if (refusal === undefined) resolve();
  else reject(forbidden(kind, name, refusal));
}

interface Amounts {
  readonly usage: ResourceAmounts;
  readonly used: ResourceAmounts;
  readonly hard: ResourceAmounts;
}

/** Upstream's words for what `usage` beside `used` exceeds; undefined when there is room for it. */
function excessOf({ metadata }: ResourceQuota, { usage, used, hard }: Amounts): string | undefined {
  const exceeded = [...usage.keys()].filter((item) => nanosOf(used, item) + nanosOf(usage, item) > nanosOf(hard, item)).sort();
  if (exceeded.length === 0) return undefined;
  const [requested, before, limited] = [usage, used, hard].map((amounts) => textOf(amounts, exceeded));
  return `exceeded quota: ${metadata.name}, requested: ${requested}, used: ${before}, limited: ${limited}`;
}

function withUsed(quota: ResourceQuota, used: ResourceAmounts): ResourceQuota {
  const { hard = {} } = quota.spec ?? {};
  return { ...quota, status: { ...quota.status, hard, used: writeAmounts(used, Object.keys(hard)) } };
}

/** The part of a write's usage that is new. */
function deltaOf({ kind, object, before }: AdmissionRequest): ResourceAmounts {
  const usage = usageOf(kind, object);
  return before === undefined ? usage : positiveAmounts(subtractAmounts(usage, usageOf(kind, before)));
}

const isSame = (kind: KindDefinition, { group, resource }: Pick<KindDefinition, 'group' | 'resource'>): boolean =>
  kind.group === group && kind.resource === resource;
const isPods = (kind: KindDefinition): boolean => isSame(kind, pods);
const isStored = ({ transient, storedAs }: KindDefinition): boolean => transient !== true && storedAs === undefined;
const nanosOf = (amounts: ResourceAmounts, name: string): bigint => amounts.get(name)?.nanos ?? 0n;

const textOf = (amounts: ResourceAmounts, names: readonly string[]): string =>
  names.map((name) => `${name}=${formatQuantity(amounts.get(name) ?? nothing)}`).join(',');

const nothing = { nanos: 0n, format: 'DecimalSI' } as const;

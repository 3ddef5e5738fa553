import { randomUUID } from 'node:crypto';
import { validatingAdmissionPolicies } from '../api/admissionregistration/v1/admission-policy.ts';
import { customResourceDefinitions } from '../api/apiextensions/v1/custom-resource-definition.ts';
import { resourceQuotas } from '../api/core/v1/resource-quota.ts';
import { type Clock, systemClock, within } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import { type MemoryBudget, shareMemory } from '../base/memory-budget.ts';
import type { Metrics } from '../base/metrics.ts';
import type { SigningKey } from '../base/pki/signing-key.ts';
import { createTurnGate, type TurnGate } from '../base/turn-gate.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { keyOf } from '../machinery/object.ts';
import type { SchemaSet } from '../machinery/schema.ts';
import type { Storage } from '../storage/storage.ts';
import { createAdmissionMetrics } from './admission/admission-metrics.ts';
import { admissionOrder, type OptionalAdmission } from './admission/order.ts';
import type { Level } from './admission/pod-security/policy.ts';
import { startPolicyStatus } from './admission/policy-status.ts';
import { createWebhookClient } from './admission/webhook-client.ts';
import { CustomResources } from './apiextensions/custom-resources.ts';
import { createBootstrapTokens } from './authentication/bootstrap-tokens.ts';
import { anyOf, type TokenAuthenticator } from './authentication/token-authenticator.ts';
import { createAuthorizer } from './authorizer.ts';
import { createCertificateChecks } from './certificate-checks.ts';
import { createComponentStatuses } from './component-statuses.ts';
import { createEncryptedStorage, type EncryptedStorage, type EncryptedStorageOptions } from './encryption/encrypted-storage.ts';
import type { Unreadable } from './encryption/value-seals.ts';
import { addFeatureGates } from './feature-gates.ts';
import { createFlowControl, type FlowControl } from './flow-control/flow-control.ts';
import { createHousekeeping } from './housekeeping.ts';
import { createKindTable } from './kind-table.ts';
import type { KubeApi, WriteRequest } from './kube-api.ts';
import { createVerbs } from './kube-verbs.ts';
import { createRuleIndex } from './rbac/rule-index.ts';
import { startCompaction } from './registry/compaction.ts';
import { BodyDecoder } from './registry/decoding.ts';
import { FieldOwners } from './registry/field-owners.ts';
import { startRegistry } from './registry/registry.ts';
import { createWriter } from './registry/writes.ts';
import { createReviews } from './reviews/reviews.ts';
import { createServiceAccountTokens, type ServiceAccountTokens } from './service-account-tokens.ts';
import { overSharedStore } from './shared-store.ts';
import { measureStorage } from './storage-metrics.ts';
import { apiServerUser } from './user.ts';
import { withVersions } from './versions.ts';

export interface KubeApiOptions {
  readonly storage: Storage;
  /** Resources that are encrypted in the store; absent: none. */
  readonly encryption?: Pick<EncryptedStorageOptions, 'configuration' | 'purge' | 'sealsLater'> | undefined;
  readonly kinds: readonly KindDefinition[];
  /** Types of all kinds: `loadSchemas(kinds.map(({ schemas }) => schemas))`. */
  readonly schemas: SchemaSet;
  /** Addresses of Services, for example `127.64.0.0/20`. */
  readonly serviceCidr: string;
  /** The cluster's own part of 127/8, where pods of the process runtime live; absent: no endpoint may be on a loopback address. */
  readonly loopbackCidr?: string;
  /** Signs the tokens of service accounts; absent: there are none. */
  readonly signingKey?: SigningKey;
  /** Tokens beside those of service accounts and of joining machines, which are objects of the API. */
  readonly tokenAuthenticators?: readonly TokenAuthenticator[];
  /** Pod Security level of namespaces without a label for it; absent: privileged, as upstream. */
  readonly podSecurityDefault?: Level;
  /** Absent: none, as upstream. */
  readonly optionalAdmission?: readonly OptionalAdmission[];
  readonly log: Log;
  readonly clock?: Clock;
  readonly metrics?: Metrics;
  /** Absent: shares of what Node takes. */
  readonly memory?: MemoryBudget | undefined;
  /** The gate of this event loop; absent: nothing else runs long in it. */
  readonly gate?: TurnGate;
  /** [0, 1); for generated names and addresses. */
  readonly random?: () => number;
  readonly newUid?: () => string;
  /** True: the scheduler and the controllers run in this process; false: they are asked on this machine, as upstream's. */
  readonly runsComponents?: boolean;
  /**
   * Called once when the store fails permanently. The state in memory is then no longer true, so the process should
   * end.
   */
  readonly onFailure?: (err: Error) => void;
}

export interface RunningKubeApi extends KubeApi {
  /** Revision that reads are answered at. */
  readonly revision: number;
  /** Tokens of service accounts; absent without a signing key. */
  readonly tokens: ServiceAccountTokens | undefined;
  /** Turns of the requests that come over HTTP. */
  readonly flowControl: FlowControl;
  /** All that bearer tokens can be, for whoever authenticates requests. */
  readonly tokenAuthenticator: TokenAuthenticator;
  /**
   * Work that one of several servers does. It runs already where no other server has the store; else the caller starts it while this
   * server leads.
   */
  readonly housekeeping: Component;
  /** Objects of the store that cannot be decrypted, by store key. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** The keys of the store while it is in use; absent: nothing in it is encrypted. */
  readonly encryption: LiveEncryption | undefined;
  /** @throws Error when the state in memory is older than a client may be shown for long */
  checkFreshness(): void;
  /** Ends all watches. The store is the caller's to close, afterwards. */
  stop(): void;
}

export interface LiveEncryption extends Pick<EncryptedStorage, 'use' | 'survey'> {
  /** Seals what the last survey found. */
  reseal(): void;
}

/** The work on a definition may last as long as its objects take to go. A request does not wait for that. */
const maxSettleMs = 3_000;

/** Reads the store into memory and serves it. */
export async function createKubeApi(options: KubeApiOptions): Promise<RunningKubeApi> {
  const { kinds, schemas, serviceCidr, loopbackCidr, log, clock = systemClock, metrics, random = Math.random } = options;
  const encrypted =
    options.encryption === undefined
      ? undefined
      : createEncryptedStorage({
          ...options.encryption,
          storage: options.storage,
          clock,
          log: log.child({ component: 'encryption' }),
          metrics,
        });
  const inner: Storage = encrypted ?? options.storage;
  const storage = metrics === undefined ? inner : measureStorage(inner, { metrics, clock });
  if (metrics !== undefined) addFeatureGates(metrics);
  const memory = options.memory ?? shareMemory();
  const registry = await startRegistry({
    storage,
    unreadable: encrypted?.unreadable,
    kinds: kinds.filter(({ transient, storedAs }) => transient !== true && storedAs === undefined),
    clock,
    log,
    memory,
    metrics,
    onSkipped: (object, err) => log.error({ kind: object.kind, key: keyOf(object), err }, 'Skipped object'),
    onFailure(err) {
      log.error({ err }, 'Lost the store');
      options.onFailure?.(err);
    },
  });
  const compaction = startCompaction({ registry, clock, log });
  const sealing = encrypted?.startSealing();
  const ruleIndex = createRuleIndex(registry, kinds);
  const authorizer = createAuthorizer(registry, ruleIndex);
  const { signingKey } = options;
  const tokens = signingKey === undefined ? undefined : createServiceAccountTokens({ key: signingKey, registry, clock });
  const tokenAuthenticator = anyOf([
    ...(options.tokenAuthenticators ?? []),
    createBootstrapTokens({ registry, clock }),
    ...(tokens === undefined ? [] : [tokens]),
  ]);
  const decoder = new BodyDecoder(schemas);
  const webhookClient = createWebhookClient(registry);
  const kindTable = createKindTable(kinds);
  const writer = createWriter({
    registry,
    admission: admissionOrder({
      registry,
      authorizer,
      ruleIndex,
      kinds: kindTable,
      podSecurityDefault: options.podSecurityDefault ?? 'privileged',
      clock,
      schemas,
      decoder,
      webhookClient,
      newUid: options.newUid ?? randomUUID,
      metrics: metrics === undefined ? undefined : createAdmissionMetrics(metrics, clock),
      log: log.child({ component: 'admission' }),
      writeQuotaStatus: (quota, change) => writer.modify(ownStatusWrite, quota.metadata, { part: 'status', change }),
      serviceCidr,
      loopbackCidr,
      random,
      issuesTokens: tokens !== undefined,
      enabled: options.optionalAdmission ?? [],
    }),
    decoder,
    owners: new FieldOwners(schemas, kindTable),
    clock,
    random,
    ...(options.newUid === undefined ? {} : { newUid: options.newUid }),
  });

  const customResources = kinds.some(isDefinition) ? new CustomResources({ registry, kinds: kindTable, writer, clock, log }) : undefined;

  const verbs = createVerbs({
    registry,
    writer,
    decoder,
    schemas,
    kinds: kindTable,
    authorizer,
    reviews: createReviews({ authorizer, ruleIndex, tokens: tokenAuthenticator, clock }),
    certificates: createCertificateChecks(authorizer),
    components: createComponentStatuses({
      runsComponents: options.runsComponents === true,
      checkStore: () => storage.range({ prefix: 'core/namespaces/', limit: 1 }),
      clock,
    }),
    tokens,
    clock,
  });
  await customResources?.start();
  const housekeeping = createHousekeeping({
    registry,
    writer,
    clock,
    log,
    customResources,
    startPolicyStatus: kinds.some(isPolicy)
      ? () => startPolicyStatus({ registry, kinds: kindTable, schemas, writer, clock, log })
      : undefined,
  });
  if (!storage.isShared) await housekeeping.start({ signal: new AbortController().signal });
  const settleKinds = async (): Promise<void> => {
    if (customResources !== undefined) await within(clock, maxSettleMs, customResources.settled());
  };
  const shared = storage.isShared ? overSharedStore(verbs, { registry, settleKinds }) : verbs;
  return {
    ...withVersions(shared, { decoder, schemas }),
    checkFreshness: () => registry.freshness.check(),
    get revision() {
      return registry.revision;
    },
    unreadable: registry.unreadable,
    encryption: encrypted === undefined ? undefined : { use: encrypted.use, survey: encrypted.survey, reseal: () => sealing?.wake() },
    tokens,
    tokenAuthenticator,
    housekeeping,
    flowControl: createFlowControl({
      registry,
      served: kinds,
      clock,
      gate: options.gate ?? createTurnGate({ clock }),
      answerBytes: memory.answerBytes,
      metrics,
    }),
    stop() {
      customResources?.stop();
      void housekeeping.stop();
      compaction.stop();
      sealing?.stop();
      webhookClient.close();
      registry.stop();
    },
  };
}

const isDefinition = ({ group, resource }: KindDefinition): boolean =>
  group === customResourceDefinitions.group && resource === customResourceDefinitions.resource;

const isPolicy = ({ group, resource }: KindDefinition): boolean =>
  group === validatingAdmissionPolicies.group && resource === validatingAdmissionPolicies.resource;

/** The request of the server itself, which counts what a quota limits. */
const ownStatusWrite: WriteRequest = { kind: resourceQuotas, user: apiServerUser, userAgent: 'kube-apiserver', subresource: 'status' };

import { randomUUID } from 'node:crypto';
import { validatingAdmissionPolicies } from '../api/admissionregistration/v1/admission-policy.ts';
import { customResourceDefinitions } from '../api/apiextensions/v1/custom-resource-definition.ts';
import { type TokenRequest, tokenRequests } from '../api/authentication/v1/token-request.ts';
import type { Scale } from '../api/autoscaling/v1/scale.ts';
import { type Binding, bindings } from '../api/core/v1/binding.ts';
import { componentStatuses } from '../api/core/v1/component-status.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { resourceQuotas } from '../api/core/v1/resource-quota.ts';
import { serviceAccounts } from '../api/core/v1/service-account.ts';
import type { Eviction } from '../api/policy/v1/eviction.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type MemoryBudget, shareMemory } from '../base/memory-budget.ts';
import type { Metrics } from '../base/metrics.ts';
import type { SigningKey } from '../base/pki.ts';
import { createTurnGate, type TurnGate } from '../base/turn-gate.ts';
import type { DeleteOptions, Patch } from '../client/client.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { type KubeObject, keyOf, type ObjectRef } from '../machinery/object.ts';
import type { SchemaSet } from '../machinery/schema.ts';
import { invalid, isNotFound, methodNotAllowed, notFound, notImplemented, StatusError } from '../machinery/status-error.ts';
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
import { createCertificateChecks, isCertificateRequest } from './certificate-checks.ts';
import { createComponentStatuses } from './component-statuses.ts';
import { createEncryptedStorage, type EncryptedStorageOptions, type Unreadable } from './encryption/encrypted-storage.ts';
import { createEvictor } from './eviction.ts';
import { addFeatureGates } from './feature-gates.ts';
import { createFlowControl, type FlowControl } from './flow-control/flow-control.ts';
import { createKindTable } from './kind-table.ts';
import type { KubeApi, RequestInfo, WriteRequest } from './kube-api.ts';
import { createRuleIndex } from './rbac/rule-index.ts';
import { startCompaction } from './registry/compaction.ts';
import { BodyDecoder } from './registry/decoding.ts';
import { startEventExpiry } from './registry/event-expiry.ts';
import { FieldOwners } from './registry/field-owners.ts';
import { filterOf, matches } from './registry/filter.ts';
import { uidConflict } from './registry/metadata.ts';
import { invalidPatch, patched } from './registry/patching.ts';
import { listObjects, reachVersion, watchObjects } from './registry/reads.ts';
import { startRegistry } from './registry/registry.ts';
import { appliedScale, bound, isPods, scaleOf, scalePathsOf, scaleView, withScale } from './registry/subresources.ts';
import { type Application, checkNewName, createWriter, type Modification } from './registry/writes.ts';
import { createReviews } from './reviews/reviews.ts';
import { checkNodeTokenRequest, createServiceAccountTokens, type ServiceAccountTokens } from './service-account-tokens.ts';
import { measureStorage } from './storage-metrics.ts';
import { apiServerUser } from './user.ts';
import { withVersions } from './versions.ts';

export interface KubeApiOptions {
  readonly storage: Storage;
  /** Resources that are encrypted in the store; absent: none. */
  readonly encryption?: Pick<EncryptedStorageOptions, 'configuration' | 'purge'> | undefined;
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
  /** Objects of the store that cannot be decrypted, by store key. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** Ends all watches. The store is the caller's to close, afterwards. */
  stop(): void;
}

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
  const { authorize } = authorizer;
  const { signingKey } = options;
  const tokens = signingKey === undefined ? undefined : createServiceAccountTokens({ key: signingKey, registry, clock });
  const tokenAuthenticator = anyOf([
    ...(options.tokenAuthenticators ?? []),
    createBootstrapTokens({ registry, clock }),
    ...(tokens === undefined ? [] : [tokens]),
  ]);
  const reviews = createReviews({ authorizer, ruleIndex, tokens: tokenAuthenticator, clock });
  const certificates = createCertificateChecks(authorizer);
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
      writeQuotaStatus: (quota, change) => writer.modify(ownStatusWrite, resourceQuotas, quota.metadata, { part: 'status', change }),
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

  const components = createComponentStatuses({
    runsComponents: options.runsComponents === true,
    checkStore: () => storage.range({ prefix: 'core/namespaces/', limit: 1 }),
    clock,
  });
  const evict = createEvictor({ registry, writer, clock });
  const expiry = startEventExpiry({ registry, writer, clock, log });
  const customResources = kinds.some(isDefinition) ? new CustomResources({ registry, kinds: kindTable, writer, clock, log }) : undefined;
  let policyStatus: { stop(): void } | undefined;

  const keyOfRef = (kind: KindDefinition, { namespace, name }: ObjectRef): string =>
    kind.namespaced && namespace !== undefined ? keyOf({ metadata: { namespace, name } }) : name;

  function check(
    request: RequestInfo,
    verb: string,
    kind: KindDefinition,
    scope: { namespace?: string | undefined; name?: string; fieldSelector?: string | undefined },
  ): void {
    const { group, version, resource } = request.servedAs?.kind ?? kind;
    authorize(request.user, { verb, group, version, resource, subresource: request.subresource, ...scope });
  }

  function find(kind: KindDefinition, ref: ObjectRef): KubeObject {
    const object = registry.get(kind, keyOfRef(kind, ref));
    if (object === undefined) throw notFound(kind, ref.name);
    return object;
  }

  /** Applies the body of a PUT or PATCH of a subresource to the object. */
  function modificationOf(request: RequestInfo, kind: KindDefinition, change: (current: KubeObject) => KubeObject): Modification {
    const { subresource } = request;
    if (subresource !== undefined && !kind.subresources.some(({ name }) => name === subresource)) throw noSuchSubresource();
    switch (subresource) {
      case undefined:
        return { part: 'main', change };
      case 'status':
      case 'finalize':
        return { part: subresource, change: permitted(request, kind, change) };
      case 'approval':
        return { part: 'status', subresource, change: permitted(request, kind, change) };
      case 'scale': {
        const paths = scalePathsOf(kind);
        if (paths === undefined) throw noSuchSubresource();
        return {
          part: 'main',
          subresource,
          view: scaleView(paths),
          change: (stored) => withScale(stored, change(scaleOf(stored, paths)) as Scale, paths),
        };
      }
      default: {
        const { part } = kind.subresources.find(({ name }) => name === subresource) ?? {};
        if (part === undefined) throw notImplemented(`updates of ${kind.resource}/${subresource}`);
        return { part: 'main', subresource, change: (stored) => part.take(stored, change(stored)) };
      }
    }
  }

  /** The change, with what its kind asks of who makes it. */
  function permitted(
    { user, subresource }: RequestInfo,
    kind: KindDefinition,
    change: (current: KubeObject) => KubeObject,
  ): (current: KubeObject) => KubeObject {
    if (!isCertificateRequest(kind)) return change;
    return (before) => {
      const after = change(before);
      certificates.checkChange(kind, { user, subresource, before, after });
      return after;
    };
  }

  function applicationOf({ subresource, servedAs }: RequestInfo, kind: KindDefinition, { body }: Patch): Application {
    if (subresource !== undefined && !kind.subresources.some(({ name }) => name === subresource)) throw noSuchSubresource();
    switch (subresource) {
      case undefined:
        return { part: 'main', patch: body };
      case 'status':
        return { part: 'status', patch: body };
      case 'scale': {
        const paths = scalePathsOf(kind);
        if (paths === undefined) throw noSuchSubresource();
        return { part: 'main', subresource, view: scaleView(paths), patch: appliedScale(servedAs?.kind ?? kind, body, paths) };
      }
      default:
        throw notImplemented(`apply to ${kind.resource}/${subresource}`);
    }
  }

  /** An apply may make the object, or write its status. */
  async function checkApplied({ user, subresource }: RequestInfo, kind: KindDefinition, ref: ObjectRef, body: KubeObject): Promise<void> {
    if (!isCertificateRequest(kind)) return;
    // Also where the object is there: it may be gone when it is written.
    if (subresource === undefined) await certificates.checkNew(kind, body);
    const before = registry.get(kind, keyOfRef(kind, ref));
    if (before !== undefined) certificates.checkChange(kind, { user, subresource, before, after: { ...before, ...body } });
  }

  /** The part of a written object that the client gets. */
  function answerOf(request: RequestInfo, kind: KindDefinition, object: KubeObject): KubeObject {
    const paths = request.subresource === 'scale' ? scalePathsOf(kind) : undefined;
    return paths === undefined ? object : scaleOf(object, paths);
  }

  async function bind(request: WriteRequest, kind: KindDefinition, ref: ObjectRef, body: KubeObject): Promise<KubeObject> {
    await writer.modify(request, kind, ref, { part: 'whole', change: (pod) => bound(pod as Pod, body as Binding, clock.now()) });
    return success;
  }

  async function issueToken(request: WriteRequest, ref: ObjectRef, body: KubeObject): Promise<KubeObject> {
    if (tokens === undefined) throw notImplemented('tokens of service accounts without a signing key');
    const wanted = decoder.decode(request, tokenRequests, body) as TokenRequest;
    checkNodeTokenRequest(registry, request.user, ref, wanted);
    return tokens.issue(ref, wanted, { dryRun: request.dryRun === true });
  }

  const verbs: KubeApi = {
    kinds: kindTable,
    authorize,
    decide: authorizer.decide,
    async get(request, kind, ref, resourceVersion = '') {
      check(request, 'get', kind, ref);
      if (resourceVersion !== '') await reachVersion(registry, resourceVersion);
      if (isComponentStatuses(kind)) return (await components.get(ref.name)) ?? find(kind, ref);
      return answerOf(request, kind, find(kind, ref));
    },
    async list(request, kind, list) {
      check(request, 'list', kind, { namespace: list.namespace, fieldSelector: list.fieldSelector });
      if (isComponentStatuses(kind)) {
        const filter = filterOf(kind, list);
        return { items: (await components.list()).filter((status) => matches(kind, filter, status)), resourceVersion: '' };
      }
      return listObjects(registry, request.servedAs?.kind ?? kind, list);
    },
    async watch(request, kind, watch) {
      check(request, 'watch', kind, { namespace: watch.namespace, fieldSelector: watch.fieldSelector });
      return watchObjects(registry, request.servedAs?.kind ?? kind, watch);
    },
    async create(request, kind, namespace, object) {
      check(request, 'create', kind, { namespace, name: object.metadata?.name ?? '' });
      if (kind.custom?.isTerminating() === true) throw whileTerminating();
      checkFieldManager(request, 'CreateOptions');
      if (isBindings(kind)) return bind(request, pods, { namespace: namespace ?? '', name: object.metadata?.name ?? '' }, object);
      if (kind.transient === true) {
        return reviews.answer(kind, { user: request.user, namespace, object: decoder.decode(request, kind, object) });
      }
      await certificates.checkNew(kind, object);
      return writer.create(request, kind, namespace, object);
    },
    async update(request, kind, ref, object) {
      check(request, 'update', kind, ref);
      checkFieldManager(request, 'UpdateOptions');
      if (request.subresource === undefined && kind.createdByUpdate === true && registry.get(kind, keyOfRef(kind, ref)) === undefined) {
        const { uid = '', resourceVersion = '' } = object.metadata;
        if (uid !== '') throw uidConflict(kind, ref, uid);
        if (resourceVersion !== '') throw notFound(kind, ref.name);
        checkNewName(object, ref.name);
        request.onCreated?.();
        return verbs.create(request, kind, ref.namespace, object);
      }
      const stored = await writer.modify(
        request,
        kind,
        ref,
        modificationOf(request, kind, () => {
          if (request.subresource !== 'scale') checkVersionGiven(kind, object);
          return object;
        }),
      );
      return answerOf(request, kind, stored);
    },
    async patch(request, kind, ref, patch) {
      check(request, 'patch', kind, ref);
      checkFieldManager(request, 'PatchOptions');
      checkApplyOptions(request, patch);
      if (patch.type === 'apply') {
        await checkApplied(request, kind, ref, patch.body as KubeObject);
        const applied = await writer.apply(request, kind, ref, applicationOf(request, kind, patch));
        return { object: answerOf(request, kind, applied.object), created: applied.created };
      }
      const schemaName = request.subresource === 'scale' ? 'io.k8s.api.autoscaling.v1.Scale' : kind.schemaName;
      const change = request.servedAs?.change ?? ((current: KubeObject): KubeObject => patched(current, patch, schemas, schemaName));
      const modification = { ...modificationOf(request, kind, change), refuse: (why: string) => invalidPatch(patch, why) };
      const object = await writer.modify(request, kind, ref, modification);
      return { object: answerOf(request, kind, object), created: false };
    },
    async delete(request, kind, ref, deletion) {
      check(request, 'delete', kind, ref);
      return writer.delete(request, kind, ref, deletion);
    },
    async deleteCollection(request, kind, deletion, list) {
      check(request, 'deletecollection', kind, { namespace: list.namespace, fieldSelector: list.fieldSelector });
      const { items } = await listObjects(registry, request.servedAs?.kind ?? kind, list);
      const deleted: KubeObject[] = [];
      for (let from = 0; from < items.length; from += collectionChunk) {
        const outcomes = items.slice(from, from + collectionChunk).map((item) => deleteItem(request, kind, item, deletion));
        for (const object of await Promise.all(outcomes)) if (object !== undefined) deleted.push(object);
      }
      return { items: deleted, resourceVersion: String(registry.revision) };
    },
    async createSubresource(request, kind, ref, given) {
      const { subresource = '' } = request;
      check(request, 'create', kind, ref);
      const verbs = kind.subresources.find(({ name }) => name === subresource)?.verbs;
      if (verbs === undefined) throw noSuchSubresource();
      if (!verbs.includes('create')) throw methodNotAllowed();
      const body = await writer.admit(request, kind, ref, 'create', given);
      if (isPods(kind) && subresource === 'binding') return bind(request, kind, ref, body);
      if (isPods(kind) && subresource === 'eviction') {
        await evict(request, ref, body as Eviction);
        return success;
      }
      if (kind.resource === serviceAccounts.resource && kind.group === '' && subresource === 'token') return issueToken(request, ref, body);
      throw notImplemented(`${kind.resource}/${subresource}`);
    },
    async connect(request, kind, ref, options) {
      await writer.admit(request, kind, ref, 'connect', options);
    },
  };
  await customResources?.start();
  if (kinds.some(isPolicy)) policyStatus = startPolicyStatus({ registry, kinds: kindTable, schemas, writer, clock, log });
  return {
    ...withVersions(verbs, { decoder, schemas }),
    get revision() {
      return registry.revision;
    },
    unreadable: registry.unreadable,
    tokens,
    tokenAuthenticator,
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
      policyStatus?.stop();
      compaction.stop();
      sealing?.stop();
      expiry.stop();
      webhookClient.close();
      registry.stop();
    },
  };

  async function deleteItem(
    request: WriteRequest,
    kind: KindDefinition,
    item: KubeObject,
    options: DeleteOptions,
  ): Promise<KubeObject | undefined> {
    try {
      const outcome = await writer.delete(request, kind, item.metadata, options);
      return outcome.type === 'object' ? outcome.object : item;
    } catch (err) {
      // Gone already is what was asked for.
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }
}

const isDefinition = ({ group, resource }: KindDefinition): boolean =>
  group === customResourceDefinitions.group && resource === customResourceDefinitions.resource;

const isPolicy = ({ group, resource }: KindDefinition): boolean =>
  group === validatingAdmissionPolicies.group && resource === validatingAdmissionPolicies.resource;

/** Deletions of a collection under way at once; they share commits. */
const collectionChunk = 128;
const maxFieldManagerBytes = 128;

/** Writes that the server makes to a status by itself. */
const ownStatusWrite: WriteRequest = { user: apiServerUser, userAgent: 'kube-apiserver', subresource: 'status' };

const success = Object.freeze({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: Object.freeze({}),
  status: 'Success',
  code: 201,
}) as unknown as KubeObject;

/** Custom resources and a few kinds are not replaced blindly. */
function checkVersionGiven(kind: KindDefinition, { metadata }: KubeObject): void {
  if ((kind.custom === undefined && kind.isReplacedByVersion !== true) || (metadata.resourceVersion ?? '') !== '') return;
  throw invalid(kind, metadata.name, [
    { type: 'FieldValueInvalid', field: 'metadata.resourceVersion', message: 'Invalid value: 0: must be specified for an update' },
  ]);
}

const whileTerminating = (): StatusError =>
  new StatusError({
    code: 405,
    reason: 'MethodNotAllowed',
    message: 'create not allowed while custom resource definition is terminating',
    details: {},
  });

const isBindings = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === bindings.resource;
const isComponentStatuses = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === componentStatuses.resource;

const noSuchSubresource = (): StatusError =>
  new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource', details: {} });

function checkApplyOptions({ fieldManager = '', force }: WriteRequest & { readonly force?: boolean }, { type }: Patch): void {
  const options = { group: 'meta.k8s.io', kind: 'PatchOptions' };
  if (type === 'apply' && fieldManager === '') {
    throw invalid(options, '', [
      { type: 'FieldValueRequired', field: 'fieldManager', message: 'Required value: is required for apply patch' },
    ]);
  }
  if (type !== 'apply' && force === true) {
    throw invalid(options, '', [
      { type: 'FieldValueForbidden', field: 'force', message: 'Forbidden: may not be specified for non-apply patch' },
    ]);
  }
}

function checkFieldManager({ fieldManager = '' }: WriteRequest, options: string): void {
  if (fieldManager.length <= maxFieldManagerBytes) return;
  throw invalid({ group: 'meta.k8s.io', kind: options }, '', [
    { type: 'FieldValueTooLong', field: 'fieldManager', message: `Too long: may not be more than ${maxFieldManagerBytes} bytes` },
  ]);
}

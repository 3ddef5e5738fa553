import { type TokenRequest, tokenRequests } from '../api/authentication/v1/token-request.ts';
import { type Binding, bindings } from '../api/core/v1/binding.ts';
import { componentStatuses } from '../api/core/v1/component-status.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { serviceAccounts } from '../api/core/v1/service-account.ts';
import type { Eviction } from '../api/policy/v1/eviction.ts';
import type { Clock } from '../base/clock.ts';
import type { DeleteOptions, Patch } from '../client/client.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import type { SchemaSet } from '../machinery/schema.ts';
import { invalid, isNotFound, methodNotAllowed, notFound, notImplemented, StatusError } from '../machinery/status-error.ts';
import type { Authorizer } from './authorizer.ts';
import { type CertificateChecks, isCertificateRequest } from './certificate-checks.ts';
import type { ComponentStatuses } from './component-statuses.ts';
import { createEvictor } from './eviction.ts';
import type {
  DeleteOutcome,
  KindTable,
  KubeApi,
  ListPage,
  ListRequest,
  RequestAttributes,
  RequestInfo,
  Watching,
  WatchRequest,
  WriteRequest,
} from './kube-api.ts';
import type { BodyDecoder, BodyKind } from './registry/decoding.ts';
import { filterOf, matches } from './registry/filter.ts';
import { checkNewName } from './registry/identity.ts';
import { uidConflict } from './registry/metadata.ts';
import { invalidPatch, patchObject } from './registry/patching.ts';
import { listObjects, reachVersion, watchObjects } from './registry/reads.ts';
import type { Registry } from './registry/registry.ts';
import { bindPod, isPods } from './registry/subresources.ts';
import { keyOfName } from './registry/write.ts';
import type { Applied, ApplyRequest, Modification, Writer } from './registry/writes.ts';
import type { Reviews } from './reviews/reviews.ts';
import { checkNodeTokenRequest, type ServiceAccountTokens } from './service-account-tokens.ts';
import { applicationOf, modificationOf, noSuchSubresource, showBySubresource } from './subresource-writes.ts';
import type { UserInfo } from './user.ts';

export interface VerbParts {
  readonly registry: Registry;
  readonly writer: Writer;
  readonly decoder: BodyDecoder;
  readonly schemas: SchemaSet;
  readonly kinds: KindTable;
  readonly authorizer: Pick<Authorizer, 'authorize' | 'decide'>;
  readonly reviews: Reviews;
  readonly certificates: CertificateChecks;
  readonly components: ComponentStatuses;
  /** Absent: there are no tokens of service accounts. */
  readonly tokens: ServiceAccountTokens | undefined;
  readonly clock: Clock;
}

/** The verbs on stored kinds: each asks the authorizer, then reads from the registry or hands a write to the writer. */
type CheckedScope = Pick<RequestAttributes, 'namespace' | 'name' | 'fieldSelector' | 'labelSelector'>;

export function createVerbs(parts: VerbParts): KubeApi {
  return new KubeVerbs(parts);
}

class KubeVerbs implements KubeApi {
  readonly kinds: KindTable;
  readonly #parts: VerbParts;
  readonly #evict: ReturnType<typeof createEvictor>;

  constructor(parts: VerbParts) {
    this.kinds = parts.kinds;
    this.#parts = parts;
    this.#evict = createEvictor(parts);
  }

  authorize(user: UserInfo, attributes: RequestAttributes): void {
    this.#parts.authorizer.authorize(user, attributes);
  }

  decide(user: UserInfo, attributes: RequestAttributes): ReturnType<KubeApi['decide']> {
    return this.#parts.authorizer.decide(user, attributes);
  }

  async get(request: RequestInfo, ref: ObjectRef, resourceVersion = ''): Promise<KubeObject> {
    const { registry, components } = this.#parts;
    this.#check(request, 'get', ref);
    if (resourceVersion !== '') await reachVersion(registry, resourceVersion);
    if (isComponentStatuses(request.kind)) return (await components.get(ref.name)) ?? this.#find(request.kind, ref);
    return showBySubresource(request, this.#find(request.kind, ref));
  }

  async list(request: RequestInfo, list: ListRequest): Promise<ListPage> {
    const { kind } = request;
    const { registry, components } = this.#parts;
    this.#check(request, 'list', list);
    if (isComponentStatuses(kind)) {
      const filter = filterOf(kind, list);
      return { items: (await components.list()).filter((status) => matches(kind, filter, status)), resourceVersion: '' };
    }
    return listObjects(registry, spokenKindOf(request), list);
  }

  async watch(request: RequestInfo, watch: WatchRequest): Promise<Watching> {
    this.#check(request, 'watch', watch);
    return watchObjects(this.#parts.registry, spokenKindOf(request), watch);
  }

  async create(request: WriteRequest, namespace: string | undefined, object: KubeObject): Promise<KubeObject> {
    const { kind, user } = request;
    const { writer, reviews, decoder, certificates } = this.#parts;
    const name = object.metadata?.name ?? '';
    this.#check(request, 'create', { namespace, name });
    if (kind.custom?.isTerminating() === true) throw whileTerminating();
    checkFieldManager(request, 'CreateOptions');
    if (isBindings(kind)) return this.#bind(request, { namespace: namespace ?? '', name }, object);
    if (kind.transient === true) return reviews.answer(kind, { user, namespace, object: decoder.decode({ request, kind, object }) });
    await certificates.checkNew(kind, object);
    return writer.create(request, namespace, object);
  }

  async update(request: WriteRequest, ref: ObjectRef, object: KubeObject): Promise<KubeObject> {
    const { kind, subresource } = request;
    this.#check(request, 'update', ref);
    checkFieldManager(request, 'UpdateOptions');
    if (subresource === undefined && kind.createdByUpdate === true && this.#stored(kind, ref) === undefined) {
      const { uid = '', resourceVersion = '' } = object.metadata;
      if (uid !== '') throw uidConflict(kind, ref, uid);
      if (resourceVersion !== '') throw notFound(kind, ref.name);
      checkNewName(object, ref.name);
      request.onCreated?.();
      return this.create(request, ref.namespace, object);
    }
    const change = (): KubeObject => {
      if (subresource === 'scale') return this.#readScale(request, object);
      checkVersionGiven(kind, object);
      return object;
    };
    return showBySubresource(request, await this.#parts.writer.modify(request, ref, this.#permitted(request, change)));
  }

  async patch(request: ApplyRequest, ref: ObjectRef, patch: Patch): Promise<Applied> {
    const { kind } = request;
    const { writer, schemas } = this.#parts;
    this.#check(request, 'patch', ref);
    checkFieldManager(request, 'PatchOptions');
    checkApplyOptions(request, patch);
    if (patch.type === 'apply') {
      await this.#checkApplied(request, ref, patch.body as KubeObject);
      const { object, created } = await writer.apply(request, ref, applicationOf(request, patch));
      return { object: showBySubresource(request, object), created };
    }
    const isScale = request.subresource === 'scale';
    const { schemaName } = isScale ? scales : kind;
    const refuse = (why: string): StatusError => invalidPatch(patch, why);
    const patched = (current: KubeObject): KubeObject => patchObject(current, patch, { schemas, schemaName });
    const scaled = (current: KubeObject): KubeObject => this.#readScale(request, patched(current), refuse);
    // A Scale is the same in every version of its object.
    const change = isScale ? scaled : (request.servedAs?.change ?? patched);
    const modification = { ...this.#permitted(request, change), refuse };
    return { object: showBySubresource(request, await writer.modify(request, ref, modification)), created: false };
  }

  async delete(request: WriteRequest, ref: ObjectRef, deletion: DeleteOptions): Promise<DeleteOutcome> {
    this.#check(request, 'delete', ref);
    return this.#parts.writer.delete(request, ref, deletion);
  }

  async deleteCollection(request: WriteRequest, deletion: DeleteOptions, list: ListRequest): ReturnType<KubeApi['deleteCollection']> {
    const { registry } = this.#parts;
    this.#check(request, 'deletecollection', list);
    const { items } = await listObjects(registry, spokenKindOf(request), list);
    const deleted: KubeObject[] = [];
    for (let from = 0; from < items.length; from += collectionChunk) {
      const outcomes = items.slice(from, from + collectionChunk).map((item) => this.#deleteItem(request, item, deletion));
      for (const object of await Promise.all(outcomes)) if (object !== undefined) deleted.push(object);
    }
    return { items: deleted, resourceVersion: String(registry.revision) };
  }

  async #deleteItem(request: WriteRequest, item: KubeObject, options: DeleteOptions): Promise<KubeObject | undefined> {
    try {
      const outcome = await this.#parts.writer.delete(request, item.metadata, options);
      return outcome.type === 'object' ? outcome.object : item;
    } catch (err) {
      // The client wants the object gone, and it is.
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async createSubresource(request: WriteRequest, ref: ObjectRef, given: KubeObject): Promise<KubeObject> {
    const { kind, subresource = '' } = request;
    this.#check(request, 'create', ref);
    const verbs = kind.subresources.find(({ name }) => name === subresource)?.verbs;
    if (verbs === undefined) throw noSuchSubresource();
    if (!verbs.includes('create')) throw methodNotAllowed();
    const body = await this.#parts.writer.admit(request, ref, { operation: 'create', body: given });
    if (isPods(kind) && subresource === 'binding') return this.#bind(request, ref, body);
    if (isPods(kind) && subresource === 'eviction') {
      await this.#evict(request, ref, body as Eviction);
      return success;
    }
    if (kind.resource === serviceAccounts.resource && kind.group === '' && subresource === 'token')
      return this.#issueToken(request, ref, body);
    throw notImplemented(`${kind.resource}/${subresource}`);
  }

  async connect(request: RequestInfo, ref: ObjectRef, options: KubeObject): Promise<void> {
    await this.#parts.writer.admit(request, ref, { operation: 'connect', body: options });
  }

  // ------------------------------------------------------------------------------------------------------------------------------ parts

  #check(request: RequestInfo, verb: string, scope: CheckedScope): void {
    const { group, version, resource } = spokenKindOf(request);
    const { namespace, name, fieldSelector, labelSelector } = scope;
    this.#parts.authorizer.authorize(request.user, {
      verb,
      group,
      version,
      resource,
      subresource: request.subresource,
      namespace,
      name,
      fieldSelector,
      labelSelector,
    });
  }

  #stored(kind: KindDefinition, { namespace, name }: ObjectRef): KubeObject | undefined {
    return this.#parts.registry.get(kind, keyOfName(kind.namespaced ? namespace : undefined, name));
  }

  #find(kind: KindDefinition, ref: ObjectRef): KubeObject {
    const object = this.#stored(kind, ref);
    if (object === undefined) throw notFound(kind, ref.name);
    return object;
  }

  /** A Scale is read here, since the object that it changes is another kind. */
  #readScale(request: WriteRequest, object: KubeObject, refuse?: (why: string) => StatusError): KubeObject {
    return this.#parts.decoder.decode({ request, kind: scales, object, refuse });
  }

  /** The modification that a PUT or PATCH asks for, with the checks that its kind makes on the client. */
  #permitted(request: RequestInfo, change: (current: KubeObject) => KubeObject): Modification {
    const { kind, user, subresource } = request;
    const isChecked = isCertificateRequest(kind) && (subresource === 'status' || subresource === 'finalize' || subresource === 'approval');
    if (!isChecked) return modificationOf(request, change);
    return modificationOf(request, (before) => {
      const after = change(before);
      this.#parts.certificates.checkChange(kind, { user, subresource, before, after });
      return after;
    });
  }

  /** An apply may make the object, or write its status. */
  async #checkApplied({ kind, user, subresource }: RequestInfo, ref: ObjectRef, body: KubeObject): Promise<void> {
    const { certificates } = this.#parts;
    if (!isCertificateRequest(kind)) return;
    // Also where the object is there: it may be gone when it is written.
    if (subresource === undefined) await certificates.checkNew(kind, body);
    const before = this.#stored(kind, ref);
    if (before !== undefined) certificates.checkChange(kind, { user, subresource, before, after: { ...before, ...body } });
  }

  async #bind(request: WriteRequest, ref: ObjectRef, body: KubeObject): Promise<KubeObject> {
    const { writer, clock } = this.#parts;
    const change = (pod: KubeObject): KubeObject => bindPod(pod as Pod, body as Binding, clock.now());
    await writer.modify({ ...request, kind: pods }, ref, { part: 'whole', change });
    return success;
  }

  async #issueToken(request: WriteRequest, ref: ObjectRef, object: KubeObject): Promise<KubeObject> {
    const { tokens, decoder, registry } = this.#parts;
    if (tokens === undefined) throw notImplemented('tokens of service accounts without a signing key');
    const wanted = decoder.decode({ request, kind: tokenRequests, object }) as TokenRequest;
    checkNodeTokenRequest(registry, { user: request.user, account: ref, wanted });
    return tokens.issue(ref, wanted, { dryRun: request.dryRun === true });
  }
}

/** The version of the kind that the client speaks. */
const spokenKindOf = ({ kind, servedAs }: RequestInfo): KindDefinition => servedAs?.kind ?? kind;

/** Deletions of a collection under way at once; they share commits. */
const collectionChunk = 128;
const maxFieldManagerBytes = 128;

const success = Object.freeze({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: Object.freeze({}),
  status: 'Success',
  code: 201,
}) as unknown as KubeObject;

/** The body of `scale`. */
const scales: BodyKind = { group: 'autoscaling', version: 'v1', kind: 'Scale', schemaName: 'io.k8s.api.autoscaling.v1.Scale' };

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

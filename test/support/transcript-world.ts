import { builtInKinds } from '../../src/api/kinds.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import { isCustomGroup } from '../../src/apiserver/http/api-request.ts';
import { parseTarget, type ResourceTarget } from '../../src/apiserver/http/request-target.ts';
import { storeKeyOf } from '../../src/apiserver/registry/keys.ts';
import { decoderFor } from '../../src/machinery/field-validation.ts';
import type { KindDefinition } from '../../src/machinery/kind.ts';
import type { KubeObject } from '../../src/machinery/object.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { type Exchange, isObject, type Json, type JsonObject, objectInProtobuf } from './transcript.ts';
import type { HiddenAct } from './transcript-hidden.ts';
import { metadataOf, type ObjectIndex, objectsIn, type RecordedObject, revisionOf, textOf } from './transcript-objects.ts';
import { RecordedOwners } from './transcript-owners.ts';
import type { Translation } from './transcript-translation.ts';
import { until } from './until.ts';

/** The kinds of Kubernetes alone: those that this program adds would be seen in discovery. */
export const transcriptKinds = builtInKinds.filter(({ group }) => !isCustomGroup(group));

const owners = new RecordedOwners(transcriptKinds);

interface WorldOptions {
  readonly storage: Storage;
  readonly index: ObjectIndex;
  readonly translation: Translation;
  /** Waits until the server has seen a write of another one. */
  settle(revision: number): Promise<void>;
}

/**
 * Everyone else of the recorded cluster: who made what an exchange finds, and who changed it between two exchanges. It writes to the
 * store as another API server would, and only what the recordings show. Effects of the replayed requests themselves are left alone.
 */
export class World {
  readonly #storage: Storage;
  readonly #index: ObjectIndex;
  readonly #translation: Translation;
  readonly #settle: (revision: number) => Promise<void>;
  readonly #unknown = new Set<string>();
  #fieldSelector = '';
  /** Newest revision of the recording that was met; later ones have not happened yet. */
  #recordedRevision = 0;

  constructor({ storage, index, translation, settle }: WorldOptions) {
    this.#storage = storage;
    this.#index = index;
    this.#translation = translation;
    this.#settle = settle;
  }

  /** Before a request: the store is as it was when the recorded server got it. */
  async prepare(exchange: Exchange, following: readonly Exchange[] = []): Promise<void> {
    const before = this.#storage.currentRevision;
    this.#fieldSelector = new URLSearchParams(exchange.path.split('?')[1] ?? '').get('fieldSelector') ?? '';
    this.#note(objectsIn(exchange.recorded.body));
    // Objects of later pages existed when the first one was requested.
    const pages = pagesAfter(exchange, following);
    if (pages.length > 0) await this.#prepare({ ...exchange, recorded: { ...exchange.recorded, body: joined([exchange, ...pages]) } });
    else if (!/[?&]continue=/.test(exchange.path)) await this.#prepare(exchange);
    if (this.#storage.currentRevision !== before) await this.#settle(this.#storage.currentRevision);
  }

  async #prepare(exchange: Exchange): Promise<void> {
    const { method, recorded, path } = exchange;
    const target = targetOf(path);
    await this.#playRefusal(target, recorded);
    if (target === undefined || recorded.status === 401 || recorded.status === 403) return;
    if (target.namespace !== undefined) await this.#needNamespace(target, recorded.status);
    const kind = kindOf(target);
    // Replayed requests create the objects of definitions.
    if (kind === undefined) return;
    const found = objectsIn(recorded.body);
    const own = found.length === 1 && isOfKind(found[0]?.object, kind) ? found[0] : undefined;
    if (target.name !== undefined) {
      await this.#prepareNamed(kind, target, exchange, own);
      await this.#playGrant(target, recorded);
    } else if (method === 'POST') await this.#prepareCreation(kind, target, exchange);
    else if (recorded.status < 300 && isCollection(recorded.body)) await this.#prepareCollection(kind, target, exchange, found);
    this.#note(found);
  }

  /** True when only the metadata of the object of this name is known. */
  isUnknown = (name: string): boolean => this.#unknown.has(name);

  /** Acts between two recorded requests that were not recorded, as their titles tell. */
  async act({ put, remove }: HiddenAct): Promise<void> {
    const before = this.#storage.currentRevision;
    const object = put ?? remove;
    const kind = transcriptKinds.find((candidate) => candidate.kind === object?.kind && apiVersionOf(candidate) === object.apiVersion);
    if (kind === undefined || object === undefined) return;
    const { namespace, name } = metadataOf(object);
    if (put === undefined) await this.#remove(kind, metadataOf(object));
    else {
      const made = minimal(kind, textOf(namespace), textOf(name), undefined);
      await this.#write(kind, keyIn(kind, textOf(namespace), textOf(name)), {
        ...made,
        ...put,
        metadata: { ...metadataOf(made), ...metadataOf(put) },
      });
    }
    await this.#settle(Math.max(before, this.#storage.currentRevision));
  }

  /** Controllers count quotas and budgets; the refusal shows their counts. */
  async #playRefusal(target: ResourceTarget | undefined, { status, body }: Exchange['recorded']): Promise<void> {
    if (target?.namespace === undefined || !isObject(body)) return;
    const exceeded =
      status === 403 ? /exceeded quota: (\S+), requested: \S+, used: (\S+), limited: (\S+)$/.exec(textOf(body.message)) : null;
    if (exceeded !== null) {
      const [, name = '', used = '', limited = ''] = exceeded;
      await this.#playStatus('ResourceQuota', target.namespace, name, ({ spec, status: before }) => {
        const hard = { ...(isObject(spec) && isObject(spec.hard) ? spec.hard : {}), ...amountsIn(limited) };
        const counted = isObject(before) && isObject(before.used) ? before.used : {};
        return { spec: { ...(isObject(spec) ? spec : {}), hard }, status: { hard, used: { ...counted, ...amountsIn(used) } } };
      });
    }
    const causes = isObject(body.details) && Array.isArray(body.details.causes) ? (body.details.causes as readonly Json[]) : [];
    const [cause] = status === 429 ? causes.filter(isObject) : [];
    const guarded = /^The disruption budget (\S+) needs (\d+) healthy pods and has (\d+) currently$/.exec(textOf(cause?.message));
    if (guarded === null) return;
    const [, name = '', needed = '', present = ''] = guarded;
    let labels: Json = {};
    await this.#playStatus('PodDisruptionBudget', target.namespace, name, ({ spec, status: before }, generation) => {
      labels = isObject(spec) && isObject(spec.selector) ? (spec.selector.matchLabels ?? {}) : { guarded: 'yes' };
      return {
        spec: isObject(spec) ? spec : { selector: { matchLabels: labels } },
        status: {
          ...(isObject(before) ? before : {}),
          observedGeneration: generation,
          disruptionsAllowed: 0,
          currentHealthy: Number(present),
          desiredHealthy: Number(needed),
        },
      };
    });
    // Only pods that run are guarded, by the budget that selects them.
    if (target.resource !== 'pods' || target.name === undefined) return;
    await this.#playStatus('Pod', target.namespace, this.#translation.text(target.name), ({ metadata, spec, status: before }) => ({
      metadata: { ...(isObject(metadata) ? metadata : {}), labels: { ...labelsOf(metadata), ...(isObject(labels) ? labels : {}) } },
      spec: spec ?? {},
      status: { ...(isObject(before) ? before : {}), phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
    }));
  }

  /** A pod that may go though its budget is used up is not healthy. */
  async #playGrant({ namespace = '', name = '', subresource }: ResourceTarget, { status }: Exchange['recorded']): Promise<void> {
    if (subresource !== 'eviction' || status !== 201 || !(await this.#has(podKind, namespace, name))) return;
    await this.#playStatus('Pod', namespace, this.#translation.text(name), ({ spec, status: before }) => ({
      spec: spec ?? {},
      status: { ...(isObject(before) ? before : {}), conditions: [] },
    }));
  }

  /** Stores what a controller made of an object that is there, or that another recording knows. */
  async #playStatus(
    kindName: string,
    namespace: string,
    name: string,
    change: (object: JsonObject, generation: number) => JsonObject,
  ): Promise<void> {
    const kind = transcriptKinds.find((candidate) => candidate.kind === kindName);
    if (kind === undefined) return;
    const key = keyIn(kind, namespace, name);
    const entry = await this.#storage.get(storeKeyOf(kind, key));
    const revision = this.#recordedRevision || Number.MAX_SAFE_INTEGER;
    const known = this.#index.find({ uid: undefined, apiVersion: apiVersionOf(kind), kind: kind.kind, namespace, name, revision });
    const object = entry === undefined ? (known ?? minimal(kind, namespace, name, undefined)) : (JSON.parse(entry.text) as JsonObject);
    const { generation } = metadataOf(object);
    await this.#write(kind, key, { ...object, ...change(object, typeof generation === 'number' ? generation : 1) });
  }

  /** Something that others did while the client watched. */
  async play(type: string, { object, whole }: RecordedObject, kind: KindDefinition): Promise<void> {
    this.#note([{ object, whole }]);
    if (type === 'DELETED') {
      const revision = await this.#remove(kind, metadataOf(object));
      if (revision !== undefined) this.#translation.learnRevision(textOf(metadataOf(object).resourceVersion), revision);
    } else await this.put(kind, { object, whole });
  }

  /** Stores a recorded object as it is, unless it is known to be there in this version. */
  async put(kind: KindDefinition, { object, whole, cells = [] }: RecordedObject, inNamespace?: string): Promise<void> {
    const { uid, name, namespace = inNamespace ?? '' } = metadataOf(object);
    if (textOf(name) === '' || this.#translation.knows(object)) return;
    // A name alone says no more than that there is one.
    if (!whole && metadataOf(object).uid === undefined && (await this.#has(kind, textOf(namespace), textOf(name)))) return;
    const completed = whole ? object : this.#completed(kind, object, kind.namespaced ? textOf(namespace) : undefined);
    const full = this.#withOwners(statesOfRows[kind.kind]?.(completed, cells.map(textOf)) ?? completed);
    const ours = this.#translation.object(owners.owned(kind, full, this.#index.writesOf(full)));
    const key = keyIn(kind, textOf(namespace), this.#translation.text(textOf(name)));
    const revision = await this.#write(kind, key, ours);
    if (kind.kind === 'CustomResourceDefinition') await this.#establish(storeKeyOf(kind, key));
    this.#translation.learnVersion(object, revision);
    this.#translation.learnUid(textOf(uid), textOf(metadataOf(ours).uid));
  }

  #withOwners(object: JsonObject): JsonObject {
    const managedFields = metadataOf(object).managedFields ?? this.#index.ownersOf(object);
    return managedFields === undefined ? object : { ...object, metadata: { ...metadataOf(object), managedFields } };
  }

  /** A row says who an object is; what it is, another recording may tell. */
  #completed(kind: KindDefinition, object: JsonObject, namespace: string | undefined): JsonObject {
    const { uid, name, resourceVersion } = metadataOf(object);
    const revision = resourceVersion === undefined ? this.#recordedRevision || Number.MAX_SAFE_INTEGER : Number(resourceVersion);
    const id = uid === undefined ? undefined : textOf(uid);
    const known = this.#index.find({ uid: id, apiVersion: apiVersionOf(kind), kind: kind.kind, namespace, name: textOf(name), revision });
    const isExact = known !== undefined && (resourceVersion === undefined || revisionOf(known) === revision);
    if (!isExact) this.#unknown.add(textOf(name));
    const whole = selectedBy(this.#fieldSelector, known ?? minimal(kind, namespace, textOf(name), id));
    return { ...withoutDeletion(whole), metadata: { ...metadataOf(withoutDeletion(whole)), ...metadataOf(object) } };
  }

  async #prepareNamed(
    kind: KindDefinition,
    target: ResourceTarget,
    { method, recorded, body: sent }: Exchange,
    own: RecordedObject | undefined,
  ): Promise<void> {
    const { status, body } = recorded;
    const name = target.name ?? '';
    const namespace = kind.namespaced ? target.namespace : undefined;
    const saysMissing = status === 404 && isObject(body) && isObject(body.details) && body.details.name === name;
    if (saysMissing && method !== 'POST') {
      await this.#remove(kind, { name, namespace: namespace ?? '' });
      return;
    }
    if (status === 404) return;
    if (method === 'GET' && own !== undefined && (target.subresource === undefined || target.subresource === 'status')) {
      await this.put(kind, own, namespace);
      return;
    }
    // The answer to a change shows its result. Other recordings show the state before, or it is assumed to be the same.
    if (status === 201 && method === 'PATCH') {
      await this.#remove(kind, { name, namespace: namespace ?? '' });
      return;
    }
    if (await this.#has(kind, namespace, name)) {
      if (isLostRace(recorded) && method !== 'DELETE') await this.#touch(kind, namespace, name);
      const shown = own?.whole === true ? own.object : shownIn(body, name, namespace);
      if (target.subresource === 'status' && own?.whole === true && method !== 'GET') await this.#playOwners(kind, own.object);
      const isMain = target.subresource === undefined || method === 'DELETE' || method === 'GET' || shown?.kind === 'Scale';
      if (shown !== undefined && isMain) await this.#playControllers(kind, shown, method);
      return;
    }
    const details = isObject(body) && isObject(body.details) ? body.details : {};
    const uid = textOf(metadataOf(body).uid) || textOf(details.uid) || undefined;
    const revision =
      own === undefined || revisionOf(own.object) === 0 ? this.#recordedRevision || Number.MAX_SAFE_INTEGER : revisionOf(own.object) - 1;
    const known = this.#index.find({ uid, apiVersion: apiVersionOf(kind), kind: kind.kind, namespace, name, revision });
    // A decision about a request sends all of it and changes its status alone.
    const decided = target.subresource === 'approval' ? objectInProtobuf(sent) : undefined;
    if (decided !== undefined) {
      await this.put(kind, { object: { ...decided, status: {} }, whole: true }, namespace);
      return;
    }
    const object = known ?? (own?.whole === true ? own.object : withTheirFinalizers(minimal(kind, namespace, name, uid), body));
    const before = target.subresource === 'binding' && status === 201 ? unbound(object) : beforeDeletion(object, body);
    await this.put(kind, { object: before, whole: true }, namespace);
    const shown = own?.whole === true ? own.object : shownIn(body, name, namespace);
    if (shown !== undefined && method !== 'DELETE' && (target.subresource === undefined || shown.kind === 'Scale')) {
      await this.#playControllers(kind, shown, method);
    }
  }

  /** The recorded server had known the definition for a while. */
  async #establish(key: string): Promise<void> {
    const isEstablished = async () => (await this.#storage.get(key))?.text.includes('"Established"');
    await until(isEstablished, { what: `${key} is established`, intervalMs: 5 });
  }

  /** Someone else was faster. */
  async #touch(kind: KindDefinition, namespace: string | undefined, name: string): Promise<void> {
    const key = keyIn(kind, namespace ?? '', this.#translation.text(name));
    const entry = await this.#storage.get(storeKeyOf(stored(kind), key));
    if (entry !== undefined) await this.#storage.update(entry.key, { text: entry.text }, entry.revision);
  }

  /** Writes of controllers, the scheduler and agents since: the parts of an object that a request cannot change. */
  async #playControllers(kind: KindDefinition, after: JsonObject, method: string): Promise<void> {
    const { name, namespace, annotations } = metadataOf(after);
    const key = keyIn(kind, textOf(namespace), this.#translation.text(textOf(name)));
    const entry = await this.#storage.get(storeKeyOf(stored(kind), key));
    if (entry === undefined || kind.storedAs !== undefined) return;
    // The server follows these itself.
    if (kind.kind === 'CustomResourceDefinition') return;
    const before = JSON.parse(entry.text) as JsonObject;
    const theirs = this.#translation.object(after);
    const { status: _, ...rest } = before;
    const { nodeName } = isObject(theirs.spec) ? theirs.spec : {};
    const { deletionTimestamp, deletionGracePeriodSeconds, generation } = metadataOf(theirs);
    const deletion: Record<string, Json> =
      method !== 'DELETE' && deletionTimestamp !== undefined && deletionGracePeriodSeconds !== undefined
        ? { deletionTimestamp, deletionGracePeriodSeconds, ...(generation === undefined ? {} : { generation }) }
        : {};
    const revision = isObject(annotations) ? annotations['deployment.kubernetes.io/revision'] : undefined;
    const metadata = { ...this.#withTheirFields(metadataOf(before), metadataOf(theirs)), ...deletion };
    const now = {
      ...rest,
      metadata:
        revision === undefined
          ? metadata
          : {
              ...metadata,
              annotations: {
                ...(isObject(metadata.annotations) ? metadata.annotations : {}),
                'deployment.kubernetes.io/revision': revision,
              },
            },
      ...(isObject(before.spec) && nodeName !== undefined ? { spec: { ...before.spec, nodeName } } : {}),
      ...(kind.subresources.some((subresource) => subresource.name === 'status') && theirs.status !== undefined
        ? {
            status:
              theirs.kind === 'Scale' && isObject(before.status) && isObject(theirs.status)
                ? { ...before.status, ...theirs.status }
                : theirs.status,
          }
        : {}),
    };
    // Nobody writes the zero that a Scale shows where the kind leaves it out.
    const encoded =
      theirs.kind === 'Scale'
        ? (decoderFor(schemas, kind.schemaName).decode(now as unknown as KubeObject).object as unknown as JsonObject)
        : now;
    if (JSON.stringify(encoded) !== JSON.stringify(before)) await this.#write(kind, key, encoded);
  }

  /**
   * The entries of controllers in `managedFields` show their writes to an object that another client changed
   * afterwards.
   */
  async #playOwners(kind: KindDefinition, after: JsonObject): Promise<void> {
    const { name, namespace } = metadataOf(after);
    const key = keyIn(kind, textOf(namespace), this.#translation.text(textOf(name)));
    const entry = await this.#storage.get(storeKeyOf(stored(kind), key));
    if (entry === undefined || kind.storedAs !== undefined) return;
    const before = JSON.parse(entry.text) as JsonObject;
    const theirs = this.#translation.object(after);
    let now = before;
    for (const { fieldsV1 } of ownersIn(theirs).filter(isController)) now = withFieldsOf(now, theirs, fieldsV1) as JsonObject;
    now = { ...now, metadata: this.#withTheirFields(metadataOf(now), metadataOf(theirs)) };
    if (JSON.stringify(now) !== JSON.stringify(before)) await this.#write(kind, key, now);
  }

  #withTheirFields(before: JsonObject, after: JsonObject): JsonObject {
    const entriesOf = (metadata: JsonObject) => ownersIn({ metadata });
    const theirs = entriesOf(after).filter(isController);
    return theirs.length === 0
      ? before
      : { ...before, managedFields: [...entriesOf(before).filter((entry) => !isController(entry)), ...theirs] };
  }

  async #prepareCreation(kind: KindDefinition, target: ResourceTarget, { recorded, body }: Exchange): Promise<void> {
    const { status, body: answer } = recorded;
    const details = isObject(answer) && isObject(answer.details) ? answer.details : {};
    const namespace = kind.namespaced ? target.namespace : undefined;
    if (status === 409 && typeof details.name === 'string') {
      const { name } = details;
      if (await this.#has(kind, namespace, name)) return;
      const revision = this.#recordedRevision || Number.MAX_SAFE_INTEGER;
      const known = this.#index.find({ uid: undefined, apiVersion: apiVersionOf(kind), kind: kind.kind, namespace, name, revision });
      await this.put(kind, { object: known ?? minimal(kind, namespace, name, undefined), whole: true });
    }
    if (status === 201) await this.#remove(kind, { name: textOf(metadataOf(answer).name), namespace: namespace ?? '' });
    if (typeof body === 'string' && kind.kind === 'Pod' && namespace !== undefined) await this.#needServiceAccount(namespace);
  }

  async #prepareCollection(
    kind: KindDefinition,
    target: ResourceTarget,
    { method, path, recorded: { body } }: Exchange,
    found: readonly RecordedObject[],
  ): Promise<void> {
    const names = new Set<string>();
    for (const recorded of found) {
      const { object } = recorded;
      const { name, namespace = target.namespace ?? '' } = metadataOf(object);
      names.add(keyIn(kind, textOf(namespace), this.#translation.text(textOf(name))));
      await this.put(kind, recorded, target.namespace);
    }
    if (isObject(body) && isPage(body)) await this.#putMore(kind, target, found);
    // An object that a complete list lacks does not exist.
    const isWhole = isObject(body) && body.itemsTotal === undefined && body.rowsTotal === undefined && !isPage(body);
    if (!isWhole || method !== 'GET' || /[?&](labelSelector|fieldSelector|continue)=/.test(path)) return;
    const prefix = storeKeyOf(stored(kind), kind.namespaced && target.namespace !== undefined ? `${target.namespace}/` : '');
    const { entries } = await this.#storage.range({ prefix });
    for (const { key, revision } of entries) {
      const name = key.slice(storeKeyOf(stored(kind), '').length);
      if (!names.has(name)) await this.#storage.delete(key, revision);
    }
  }

  /** There were more objects than the page shows. */
  async #putMore(kind: KindDefinition, target: ResourceTarget, found: readonly RecordedObject[]): Promise<void> {
    const { name, namespace = target.namespace } = metadataOf(found.at(-1)?.object);
    if (name === undefined) return;
    const prefix = storeKeyOf(stored(kind), kind.namespaced && target.namespace !== undefined ? `${target.namespace}/` : '');
    const after = storeKeyOf(stored(kind), keyIn(kind, textOf(namespace), this.#translation.text(textOf(name))));
    if ((await this.#storage.range({ prefix, after, limit: 1 })).entries.length > 0) return;
    await this.put(kind, {
      object: { metadata: { name: `${textOf(name)}-more`, ...(namespace === undefined ? {} : { namespace }) } },
      whole: false,
    });
  }

  async #needNamespace({ namespace = '' }: ResourceTarget, status: number): Promise<void> {
    const kind = transcriptKinds.find((candidate) => candidate.kind === 'Namespace');
    // Lists of a namespace that does not exist are answered, too.
    if (kind === undefined || status === 404 || namespace === 'nowhere' || (await this.#has(kind, undefined, namespace))) return;
    const revision = this.#recordedRevision || Number.MAX_SAFE_INTEGER;
    const known = this.#index.find({
      uid: undefined,
      apiVersion: 'v1',
      kind: 'Namespace',
      namespace: undefined,
      name: namespace,
      revision,
    });
    await this.put(kind, { object: withoutDeletion(known ?? minimal(kind, undefined, namespace, undefined)), whole: true });
    await this.#needServiceAccount(namespace);
  }

  async #needServiceAccount(namespace: string): Promise<void> {
    const kind = transcriptKinds.find((candidate) => candidate.kind === 'ServiceAccount');
    if (kind === undefined || (await this.#has(kind, namespace, 'default'))) return;
    const known = this.#index.find({
      uid: undefined,
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      namespace,
      name: 'default',
      revision: this.#recordedRevision || Number.MAX_SAFE_INTEGER,
    });
    await this.put(kind, { object: known ?? minimal(kind, namespace, 'default', undefined), whole: true });
  }

  async #has(kind: KindDefinition, namespace: string | undefined, name: string): Promise<boolean> {
    return (await this.#storage.get(storeKeyOf(stored(kind), keyIn(kind, namespace ?? '', this.#translation.text(name))))) !== undefined;
  }

  async #remove(kind: KindDefinition, metadata: JsonObject): Promise<number | undefined> {
    const key = storeKeyOf(stored(kind), keyIn(kind, textOf(metadata.namespace), this.#translation.text(textOf(metadata.name))));
    const entry = await this.#storage.get(key);
    const result = entry === undefined ? undefined : await this.#storage.delete(key, entry.revision);
    return result?.ok === true ? result.revision : undefined;
  }

  async #write(kind: KindDefinition, key: string, object: JsonObject): Promise<number> {
    const { resourceVersion: _, ...metadata } = metadataOf(object);
    const given = { ...object, metadata } as unknown as KubeObject;
    const { kind: storedKind, apiVersion: storedVersion, metadata: storedMetadata, ...fields } = kind.storedAs?.toStored(given) ?? given;
    const text = JSON.stringify({ kind: storedKind, apiVersion: storedVersion, metadata: storedMetadata, ...fields });
    const storeKey = storeKeyOf(stored(kind), key);
    const entry = await this.#storage.get(storeKey);
    const result =
      entry === undefined ? await this.#storage.create(storeKey, { text }) : await this.#storage.update(storeKey, { text }, entry.revision);
    if (!result.ok) throw new Error(`another writer of ${storeKey}`);
    return result.revision;
  }

  #note(found: readonly RecordedObject[]): void {
    for (const { object } of found) this.#recordedRevision = Math.max(this.#recordedRevision, revisionOf(object));
  }
}

const podKind = transcriptKinds.find(({ group, kind }) => group === '' && kind === 'Pod') as KindDefinition;

const labelsOf = (metadata: Json | undefined): JsonObject => (isObject(metadata) && isObject(metadata.labels) ? metadata.labels : {});

/** `pods=1,requests.cpu=1` */
const amountsIn = (text: string): JsonObject =>
  Object.fromEntries(text.split(',').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]));

const stored = (kind: KindDefinition): KindDefinition => kind.storedAs?.kind ?? kind;

const apiVersionOf = ({ group, version }: KindDefinition): string => (group === '' ? version : `${group}/${version}`);

const keyIn = (kind: KindDefinition, namespace: string, name: string): string => (kind.namespaced ? `${namespace}/${name}` : name);

const isOfKind = (object: JsonObject | undefined, kind: KindDefinition): boolean =>
  object !== undefined && (object.kind === kind.kind || object.kind === 'PartialObjectMetadata');

function pagesAfter({ path, recorded }: Exchange, following: readonly Exchange[]): readonly Exchange[] {
  const token = isObject(recorded.body) ? textOf(metadataOf(recorded.body).continue) : '';
  if (token === '' || /[?&]continue=/.test(path)) return [];
  const pages: Exchange[] = [];
  let next: string = token;
  for (const exchange of following) {
    if (next === '' || !exchange.path.includes(`continue=${next}`) || exchange.recorded.status !== 200) continue;
    pages.push(exchange);
    next = isObject(exchange.recorded.body) ? textOf(metadataOf(exchange.recorded.body).continue) : '';
  }
  return pages;
}

/** All pages as one. */
function joined(pages: readonly Exchange[]): Json {
  const bodies = pages.map(({ recorded }) => recorded.body).filter(isObject);
  const part = (field: string): readonly Json[] =>
    bodies.flatMap((body) => (Array.isArray(body[field]) ? (body[field] as readonly Json[]) : []));
  const last = bodies.at(-1) ?? {};
  return { ...last, ...(last.kind === 'Table' ? { rows: part('rows') } : { items: part('items') }) };
}

const isLostRace = ({ status, body }: Exchange['recorded']): boolean =>
  status === 409 && isObject(body) && textOf(body.message).includes('the object has been modified');

/** Some answers have only the status left, and a Scale shows the number of replicas. */
function shownIn(body: Json | undefined, name: string, namespace: string | undefined): JsonObject | undefined {
  if (!isObject(body) || !isObject(body.status)) return undefined;
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  if (body.kind === 'Scale') return { kind: 'Scale', metadata, status: { replicas: body.status.replicas ?? 0 } };
  return body.kind === undefined ? { metadata, status: body.status } : undefined;
}

const isCollection = (body: Json | undefined): boolean =>
  isObject(body) &&
  (Array.isArray(body.items) || Array.isArray(body.rows)) &&
  !objectsIn(body).some(({ object }) => textOf(metadataOf(object).name) === '');

/** True when a limit cut objects off. */
const isPage = (body: JsonObject): boolean => metadataOf(body).continue !== undefined;

function minimal(kind: KindDefinition, namespace: string | undefined, name: string, uid: string | undefined): JsonObject {
  const scope: Record<string, Json> = namespace === undefined ? {} : { namespace };
  const id = uid ?? `00000000-0000-4000-8000-${(name.length + name.charCodeAt(0)).toString(16).padStart(12, '0')}`;
  const generation: Record<string, Json> = kind.hasGeneration ? { generation: 1 } : {};
  const metadata = { name, ...scope, uid: id, ...generation, creationTimestamp: '2026-11-24T06:00:00Z' };
  return defaulted(kind, { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata, ...minimalFields[kind.kind] });
}

const schemas = loadSchemas(transcriptKinds.map((kind) => kind.schemas));

/** Nothing is stored without its defaults. */
function defaulted(kind: KindDefinition, object: JsonObject): JsonObject {
  const decoded = decoderFor(schemas, kind.schemaName).decode(object as unknown as KubeObject).object;
  return (kind.defaults?.(decoded) ?? decoded) as unknown as JsonObject;
}

const ownersIn = (object: JsonObject): readonly JsonObject[] => {
  const { managedFields } = metadataOf(object);
  return Array.isArray(managedFields) ? (managedFields as readonly Json[]).filter(isObject) : [];
};

const isController = ({ manager }: JsonObject): boolean => /^(kube-controller-manager|kubelet|kube-scheduler)$/.test(textOf(manager));

/** `target` with those values of `source` that the field set names. */
function withFieldsOf(target: Json | undefined, source: Json | undefined, fields: Json | undefined): Json | undefined {
  if (!isObject(fields) || Object.keys(fields).filter((key) => key !== '.').length === 0) return source ?? target;
  let result = target;
  for (const [key, inner] of Object.entries(fields)) {
    if (key.startsWith('f:')) {
      const name = key.slice(2);
      const object: JsonObject = isObject(result) ? result : {};
      const value = withFieldsOf(object[name], isObject(source) ? source[name] : undefined, inner);
      if (value !== undefined) result = { ...object, [name]: value };
    } else if (key.startsWith('k:')) {
      const keys = JSON.parse(key.slice(2)) as JsonObject;
      const isIt = (item: Json): boolean => isObject(item) && Object.entries(keys).every(([name, value]) => item[name] === value);
      const items: readonly Json[] = Array.isArray(result) ? (result as readonly Json[]) : [];
      const theirs = Array.isArray(source) ? (source as readonly Json[]).find(isIt) : undefined;
      const value = withFieldsOf(items.find(isIt), theirs, inner);
      if (value !== undefined)
        result = inOrderOf(source, items.some(isIt) ? items.map((item) => (isIt(item) ? value : item)) : [...items, value], keys);
    }
  }
  return result;
}

/** `items` in the order in which `source` has those with the same keys. */
function inOrderOf(source: Json | undefined, items: readonly Json[], keys: JsonObject): readonly Json[] {
  const theirs = Array.isArray(source) ? (source as readonly Json[]) : [];
  const place = (item: Json): number =>
    theirs.findIndex((other) => isObject(item) && isObject(other) && Object.keys(keys).every((key) => item[key] === other[key]));
  return [...items].sort((a, b) => place(a) - place(b));
}

/** State from agents and controllers, when the cells of a row show more than the object's newest recording. */
const statesOfRows: Readonly<Record<string, (object: JsonObject, cells: readonly string[]) => JsonObject>> = {
  Node(object, [, ready = '']) {
    if (ready === '') return object;
    const isReady = !ready.startsWith('NotReady');
    const condition = { type: 'Ready', status: isReady ? 'True' : 'Unknown', reason: isReady ? 'KubeletReady' : 'NodeStatusNeverUpdated' };
    return { ...object, status: { ...(isObject(object.status) ? object.status : {}), conditions: [condition] } };
  },
  PersistentVolume(object, [, , , , phase = '', claim = '']) {
    const [namespace = '', name = ''] = claim.split('/');
    if (phase === '' || name === '') return object;
    const claimRef = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name };
    const { spec, status } = object;
    return {
      ...object,
      spec: { ...(isObject(spec) ? spec : {}), claimRef },
      status: { ...(isObject(status) ? status : {}), phase },
    };
  },
};

const deletionFinalizers = new Set<Json>(['orphan', 'foregroundDeletion']);

/** Finalizers of a deleted object were set by those who wait for it. */
function withTheirFinalizers(object: JsonObject, answer: Json | undefined): JsonObject {
  const { finalizers } = metadataOf(answer);
  const theirs = Array.isArray(finalizers) ? finalizers.filter((finalizer: Json) => !deletionFinalizers.has(finalizer)) : [];
  return theirs.length === 0 ? object : { ...object, metadata: { ...metadataOf(object), finalizers: theirs } };
}

const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'wire.local/box:1' }] } };
const workload = { spec: { replicas: 1, selector: { matchLabels: { app: 'x' } }, template }, status: {} };

/** Fields that the code of a kind relies on. */
const minimalFields: Readonly<Record<string, JsonObject>> = {
  Namespace: { spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } },
  Pod: { spec: template.spec, status: { phase: 'Pending' } },
  Service: { spec: { type: 'ClusterIP', clusterIP: 'None', clusterIPs: ['None'], ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }] } },
  Deployment: workload,
  ReplicaSet: workload,
  StatefulSet: workload,
  DaemonSet: workload,
  ReplicationController: { ...workload, spec: { ...workload.spec, selector: { app: 'x' } } },
  Job: { spec: { template }, status: {} },
  Node: { spec: {}, status: {} },
  Ingress: { spec: {}, status: {} },
  NetworkPolicy: { spec: { podSelector: {} } },
  PersistentVolumeClaim: {
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    status: { phase: 'Pending' },
  },
  Event: { involvedObject: { kind: 'Pod', name: 'x' }, type: 'Normal' },
  CronJob: { spec: { schedule: '* * * * *', jobTemplate: { spec: { template } } }, status: {} },
};

/** The answer has the requested fields. */
function selectedBy(fieldSelector: string, object: JsonObject): JsonObject {
  let result = object;
  for (const [, part = '', field = '', value = ''] of fieldSelector.matchAll(/(?:^|,)(spec|status)\.(\w+)==?([^,=]*)/g)) {
    const fields = isObject(result[part]) ? result[part] : {};
    result = { ...result, [part]: { ...fields, [field]: value } };
  }
  return result;
}

/** The object as its deletion found it: one that takes time was on a node. */
function beforeDeletion(object: JsonObject, answer: Json | undefined): JsonObject {
  const { deletionGracePeriodSeconds: seconds, deletionTimestamp, resourceVersion, generation } = metadataOf(answer);
  let plain = withoutDeletion(object);
  // Deletion counts as a generation.
  if (
    object.kind === 'Pod' &&
    deletionTimestamp !== undefined &&
    typeof generation === 'number' &&
    resourceVersion === metadataOf(object).resourceVersion
  ) {
    plain = { ...plain, metadata: { ...metadataOf(plain), generation: generation - 1 } };
  }
  if (object.kind !== 'Pod' || typeof seconds !== 'number' || seconds === 0) return plain;
  return { ...plain, spec: { ...(isObject(plain.spec) ? plain.spec : {}), nodeName: 'node', terminationGracePeriodSeconds: seconds } };
}

function unbound(pod: JsonObject): JsonObject {
  const { nodeName: _, ...spec } = isObject(pod.spec) ? pod.spec : {};
  const { qosClass } = isObject(pod.status) ? pod.status : {};
  return { ...pod, spec, status: { phase: 'Pending', ...(qosClass === undefined ? {} : { qosClass }) } };
}

function withoutDeletion(object: JsonObject): JsonObject {
  const { deletionTimestamp: _, deletionGracePeriodSeconds: __, ...metadata } = metadataOf(object);
  return { ...object, metadata };
}

export function targetOf(path: string): ResourceTarget | undefined {
  const target = parseTarget(path.split('?', 1)[0] ?? '');
  return target.type === 'resource' ? target : undefined;
}

export function kindOf({ group, version, resource }: ResourceTarget): KindDefinition | undefined {
  return transcriptKinds.find((kind) => kind.group === group && kind.version === version && kind.resource === resource);
}

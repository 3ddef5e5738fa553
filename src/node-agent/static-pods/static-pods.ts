import { createHash } from 'node:crypto';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Node, nodes } from '../../api/core/v1/node.ts';
import { isMirrorPod, type Pod, type PodStatus, pods } from '../../api/core/v1/pod.ts';
import { configAnnotations } from '../../api/well-known.ts';
import { readBoundedFile } from '../../base/bounded-file.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { Client, DeleteOptions, New, SubresourceOption, WriteOptions } from '../../client/client.ts';
import type { InformerHandler } from '../../client/informer.ts';
import { type KubeObject, keyOf, type ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { isConflict, isForbidden, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import type { PodSource } from '../pod-source.ts';
import { maxManifestBytes, readStaticPod, StaticPodError } from './static-pod-manifest.ts';

export interface StaticPodsOptions {
  /** Has a file for each pod; it may be missing. */
  readonly directory: string;
  readonly nodeName: string;
  /** The pods of the node in the API. */
  readonly pods: PodSource;
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
}

/** The pods of a node that files of the machine say, beside those that the API assigns. */
export interface StaticPods extends Component {
  /** All pods of the node. */
  readonly pods: PodSource;
  /** The client for whoever runs them: what it writes about a static pod goes to its mirror in the API. */
  readonly client: Client;
}

/** Between two looks at the directory: a look costs one call of the file system for each file. */
const lookEveryMs = 2_000;
const retryMs = 2_000;
/** As many as a node takes. */
const maxFiles = 110;

/** A file as the last look found it. */
interface SeenFile {
  /** Differs when the file does; empty when the next look has to read it again. */
  readonly state: string;
  /** The pod of the last time that it could be read. */
  readonly pod: Pod | undefined;
  readonly problem: string | undefined;
}

/** The pods of one namespace and name. */
interface Entry {
  /** The file that says it, or said it last. */
  file: string;
  /** The pod that runs; it ends first when the file has another one. */
  current: Pod | undefined;
  /** UID of the manifest that `current` comes from. */
  manifestUid: string | undefined;
  /** The pod that the file says; undefined when no file does. */
  wanted: Pod | undefined;
}

/**
 * Runs a pod for each file of a directory. The file decides: the pod in the API is a mirror, which shows the status. A mirror that
 * somebody deletes is made again, and the pod runs on.
 */
export function createStaticPods(options: StaticPodsOptions): StaticPods {
  const { directory, nodeName, pods: assigned, client, clock, log, recorder } = options;
  /** By the key of the pod. */
  const entries = new Map<string, Entry>();
  const handlers = new Set<InformerHandler<Pod>>();
  const files = new Map<string, SeenFile>();
  /** The problem of each file, and of the directory, so that it is reported once. */
  const reported = new Map<string, string>();
  const abort = new AbortController();
  let cancelLook: (() => void) | undefined;
  let cancelRetry: (() => void) | undefined;
  let unsubscribe: (() => void) | undefined;
  let mirroring: Promise<void> = Promise.resolve();
  let version = 0;

  const emit = (change: { readonly before?: Pod; readonly after?: Pod }): void => {
    for (const handler of handlers) handler(change);
  };
  const entryOf = ({ namespace = '', name }: { readonly namespace?: string | undefined; readonly name: string }): Entry | undefined =>
    entries.get(`${namespace}/${name}`);
  const ofUid = (uid: string | undefined): Entry | undefined => [...entries.values()].find(({ current }) => current?.metadata.uid === uid);

  /** The versions of a pod that runs are counted here: its worker takes the newest. */
  const nextVersion = (pod: Pod, status?: PodStatus): Pod => {
    version += 1;
    return {
      ...pod,
      metadata: { ...pod.metadata, resourceVersion: String(version) },
      ...(status === undefined ? {} : { status }),
    };
  };

  // ---------------------------------------------------------------------------------------------------------------- files

  async function look(): Promise<void> {
    await readFiles();
    // A listing may miss a file that is renamed meanwhile.
    if ([...entries.values()].some(({ file, wanted }) => wanted !== undefined && !files.has(file))) await readFiles();
    if (abort.signal.aborted) return;
    const owners = ownersOfPods();
    for (const [key, entry] of entries) if (!owners.has(key)) want(entry, undefined);
    for (const [key, { file, pod }] of owners) {
      const entry = entries.get(key) ?? { file, current: undefined, manifestUid: undefined, wanted: undefined };
      entries.set(key, entry);
      entry.file = file;
      want(entry, pod);
    }
  }

  async function readFiles(): Promise<void> {
    const names = await readdir(directory).catch((err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT') return [];
      throw err;
    });
    const found = names.filter((name) => /^[^.].*\.(?:ya?ml|json)$/.test(name)).sort();
    const excess = `${found.length} files are more than the ${maxFiles} pods of a node; the last ones are left out`;
    report(directory, found.length > maxFiles ? excess : undefined);
    const taken = found.slice(0, maxFiles);
    for (const file of files.keys()) if (!taken.includes(file)) files.delete(file);
    for (const file of taken) await readFileOf(file);
    for (const file of reported.keys()) if (file !== directory && !files.has(file)) reported.delete(file);
  }

  async function readFileOf(file: string): Promise<void> {
    const before = files.get(file);
    let state = '';
    try {
      const path = await realpath(join(directory, file));
      const facts = await stat(path);
      state = [facts.dev, facts.ino, facts.size, facts.mtimeMs, facts.ctimeMs].join(' ');
      if (before?.state === state) return;
      // An open alone changes some devices.
      if (!facts.isFile()) throw new StaticPodError(`${file}: it is not a regular file`);
      if (facts.size > maxManifestBytes) throw new StaticPodError(`${file}: it has ${facts.size} bytes; ${maxManifestBytes} are read`);
      const text = (await readBoundedFile(path, maxManifestBytes)).toString('utf8');
      files.set(file, { state, pod: readStaticPod({ file, text, nodeName }), problem: undefined });
    } catch (err) {
      // It went away meanwhile, or is a link to nothing.
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') files.delete(file);
      else {
        const problem = err instanceof StaticPodError ? err.message : `${file}: ${err instanceof Error ? err.message : String(err)}`;
        // The pod of before runs on. A read that the file system refuses may succeed at the next look, without a change of the file.
        files.set(file, { state: err instanceof StaticPodError ? state : '', pod: before?.pod, problem });
      }
    }
  }

  /** The file of each pod: the one it has already, else the first by name. */
  function ownersOfPods(): ReadonlyMap<string, { readonly file: string; readonly pod: Pod }> {
    const owners = new Map<string, { readonly file: string; readonly pod: Pod }>();
    const isFormerOwner = ([file, { pod }]: [string, SeenFile]): boolean => pod !== undefined && entries.get(keyOf(pod))?.file === file;
    for (const seen of [...files].sort((a, b) => Number(isFormerOwner(b)) - Number(isFormerOwner(a)) || (a[0] < b[0] ? -1 : 1))) {
      const [file, { pod, problem }] = seen;
      const owner = pod === undefined ? undefined : owners.get(keyOf(pod))?.file;
      if (pod !== undefined && owner === undefined) owners.set(keyOf(pod), { file, pod });
      const rivalry = pod === undefined || owner === undefined ? undefined : `${file}: ${keyOf(pod)} is the pod of ${owner} already`;
      report(file, problem ?? rivalry);
    }
    return owners;
  }

  /** Warns of a problem once, until it is another one or none. */
  function report(about: string, problem: string | undefined): void {
    if (problem === undefined) reported.delete(about);
    if (problem === undefined || reported.get(about) === problem) return;
    reported.set(about, problem);
    log.warn({ directory, problem }, 'Could not read static pods');
    client
      .get(nodes, { name: nodeName }, { signal: abort.signal })
      .then((node: Node) => recorder.record(node, { type: 'Warning', reason: 'InvalidStaticPod', message: problem }))
      .catch((err: unknown) => log.debug({ err }, 'Could not record event about static pod'));
  }

  /** Starts the pod, or ends the former one first: both may want the same port. */
  function want(entry: Entry, pod: Pod | undefined): void {
    const { current, manifestUid } = entry;
    entry.wanted = pod;
    if (current === undefined) begin(entry);
    else if (current.metadata.deletionTimestamp === undefined && pod?.metadata.uid !== manifestUid) {
      const ending = nextVersion(current);
      entry.current = {
        ...ending,
        metadata: {
          ...ending.metadata,
          deletionTimestamp: timestampOf(clock.now()),
          deletionGracePeriodSeconds: current.spec.terminationGracePeriodSeconds ?? 30,
        },
      };
      emit({ before: current, after: entry.current });
    }
  }

  /** @param formerUid  of the pod that just ended: its worker ends, and another one has to begin */
  function begin(entry: Entry, formerUid?: string): void {
    const { wanted, file } = entry;
    const waits = [...entries.values()].some((other) => other !== entry && other.file === file && other.current !== undefined);
    if (wanted === undefined || waits) return;
    const pod = nextVersion(wanted.metadata.uid === formerUid ? withOtherUid(wanted, version) : wanted);
    entry.manifestUid = wanted.metadata.uid;
    entry.current = {
      ...pod,
      metadata: {
        ...pod.metadata,
        creationTimestamp: timestampOf(clock.now()),
        annotations: { ...pod.metadata.annotations, [configAnnotations.seen]: timestampOf(clock.now()) },
      },
    };
    emit({ after: entry.current });
    mirror();
  }

  /** The programs of a pod have ended. */
  function endEntry(entry: Entry): void {
    const { current } = entry;
    if (current === undefined) return;
    entry.current = undefined;
    emit({ before: current });
    if (entry.wanted === undefined) entries.delete(keyOf(current));
    else begin(entry, current.metadata.uid);
    for (const other of entries.values()) if (other.current === undefined) begin(other);
    mirror();
  }

  // -------------------------------------------------------------------------------------------------------------- mirrors

  /** Makes the mirrors those of the pods; what fails is tried again. */
  function mirror(): void {
    inOrder(mirrorAll).catch((err: unknown) => {
      if (abort.signal.aborted) return;
      log.warn({ err }, 'Could not write mirror pod');
      cancelRetry?.();
      cancelRetry = clock.after(retryMs, mirror);
    });
  }

  /** Writes to mirrors come one after the other. */
  function inOrder(write: () => Promise<void>): Promise<void> {
    const written = mirroring.then(write);
    // The caller has the error, and the next write does not wait for nothing.
    mirroring = written.catch(() => undefined);
    return written;
  }

  async function mirrorAll(): Promise<void> {
    for (const pod of assigned.list()) {
      if (!isMirrorPod(pod)) continue;
      const own = entryOf(pod.metadata)?.current;
      if (own !== undefined && isMirrorOf(pod, own) && pod.metadata.deletionTimestamp === undefined) continue;
      await removeMirror(pod);
    }
    for (const entry of entries.values()) {
      if (entry.current !== undefined && entry.current.metadata.deletionTimestamp === undefined) await writeMirror(entry.current);
    }
  }

  async function removeMirror({ metadata: { namespace, name, uid = '' } }: Pod): Promise<void> {
    try {
      await client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0, preconditions: { uid }, signal: abort.signal });
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err;
    }
  }

  async function writeMirror(pod: Pod): Promise<void> {
    const { namespace, name } = pod.metadata;
    const { signal } = abort;
    let known = await client.get(pods, { namespace, name }, { signal }).catch((err: unknown) => {
      // A node may read pods of its own, and one that is not there is none.
      if (isNotFound(err) || isForbidden(err)) return undefined;
      throw err;
    });
    if (known !== undefined && !isMirrorPod(known)) throw new Error(`the name of the static pod ${keyOf(pod)} belongs to another pod`);
    if (known !== undefined && (!isMirrorOf(known, pod) || known.metadata.deletionTimestamp !== undefined)) {
      await removeMirror(known);
      known = undefined;
    }
    known ??= await client.create(pods, await newMirror(pod), { signal });
    if (pod.status?.phase === 'Pending' && pod.status.conditions === undefined) return;
    await client.update(
      pods,
      { ...known, status: { ...pod.status, qosClass: known.status?.qosClass } as PodStatus },
      { subresource: 'status', signal },
    );
  }

  /** The mirror goes with its Node. */
  async function newMirror({ apiVersion, kind, metadata, spec }: Pod): Promise<New<Pod>> {
    const { metadata: node } = await client.get(nodes, { name: nodeName }, { signal: abort.signal });
    const { name, namespace = '', labels, annotations, uid = '' } = metadata;
    return {
      apiVersion,
      kind,
      metadata: {
        name,
        namespace,
        ...(labels === undefined ? {} : { labels }),
        annotations: { ...annotations, [configAnnotations.mirror]: uid },
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.uid ?? '', controller: true }],
      },
      spec,
    };
  }

  const staticIn = ({ group, resource }: Resource, entry: Entry | undefined): Entry | undefined =>
    group === pods.group && resource === pods.resource ? entry : undefined;
  const mirroringClient: Client = {
    ...client,
    async get<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, got?: { readonly signal?: AbortSignal }): Promise<T> {
      const { current } = staticIn(resource, entryOf(ref)) ?? {};
      return current === undefined ? client.get(resource, ref, got) : (current as KubeObject as T);
    },
    async update<T extends KubeObject>(resource: Resource<T>, object: T, written?: WriteOptions & SubresourceOption): Promise<T> {
      const entry = staticIn(resource, ofUid(object.metadata.uid));
      if (entry?.current === undefined) return client.update(resource, object, written);
      const pod = nextVersion(entry.current, (object as KubeObject as Pod).status);
      entry.current = pod;
      // A pod that ends shows it by the end of its mirror.
      if (pod.metadata.deletionTimestamp === undefined) await inOrder(() => writeMirror(pod));
      return pod as KubeObject as T;
    },
    async delete<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, deletion?: DeleteOptions): Promise<void> {
      const entry = staticIn(resource, ofUid(deletion?.preconditions?.uid));
      if (entry === undefined) return client.delete(resource, ref, deletion);
      endEntry(entry);
    },
  };
  return {
    name: `static-pods ${nodeName}`,
    client: mirroringClient,
    pods: {
      ready: (signal) => assigned.ready(signal),
      *list() {
        for (const pod of assigned.list()) if (!isMirrorPod(pod)) yield pod;
        for (const { current } of entries.values()) if (current !== undefined) yield current;
      },
      subscribe(handler) {
        handlers.add(handler);
        for (const { current } of entries.values()) if (current !== undefined) handler({ after: current });
        const remove = assigned.subscribe((change) => {
          const pod = change.after ?? change.before;
          if (pod !== undefined && !isMirrorPod(pod)) handler(change);
        });
        return () => {
          handlers.delete(handler);
          remove();
        };
      },
    },
    async start({ signal }) {
      await assigned.ready(signal);
      await look();
      unsubscribe = assigned.subscribe(({ before, after }) => {
        const pod = after ?? before;
        // A mirror that was changed in its status alone is the one that is written here.
        if (
          pod !== undefined &&
          isMirrorPod(pod) &&
          (after === undefined || after.metadata.deletionTimestamp !== undefined || before === undefined)
        )
          mirror();
      });
      const schedule = (): void => {
        if (abort.signal.aborted) return;
        cancelLook = clock.after(lookEveryMs, () => {
          look()
            .catch((err: unknown) => report(directory, `${directory}: ${err instanceof Error ? err.message : String(err)}`))
            .finally(schedule);
        });
      };
      schedule();
    },
    async stop() {
      abort.abort(new Error('the agent stops'));
      cancelLook?.();
      cancelRetry?.();
      unsubscribe?.();
      await mirroring;
    },
  };
}

function withOtherUid(pod: Pod, salt: number): Pod {
  const uid = createHash('sha256').update(`${pod.metadata.uid} ${salt}`).digest('hex').slice(0, 32);
  return { ...pod, metadata: { ...pod.metadata, uid, annotations: { ...pod.metadata.annotations, [configAnnotations.hash]: uid } } };
}

const isMirrorOf = ({ metadata }: Pod, pod: Pod): boolean => metadata.annotations?.[configAnnotations.mirror] === pod.metadata.uid;

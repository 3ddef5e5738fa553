import { STATUS_CODES } from 'node:http';
import type { Node } from '../../api/core/v1/node.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { NodeRecord } from '../cache.ts';
import { maxScore } from '../plugin.ts';
import type { PodRecord } from '../pod-record.ts';
import type { Victims } from '../victims.ts';
import type { ExtenderTransport } from './transport.ts';

/** An extender of the configuration, with the names of its fields. A verb that is absent is one that it does not have. */
export interface ExtenderConfiguration {
  readonly urlPrefix: string;
  readonly filterVerb: string | undefined;
  readonly prioritizeVerb: string | undefined;
  readonly preemptVerb: string | undefined;
  readonly bindVerb: string | undefined;
  /** Times this counts each of its scores, which go from 0 to 10. */
  readonly weight: number;
  readonly timeoutMs: number;
  /** It knows the nodes, so that names are enough for it. */
  readonly nodeCacheCapable: boolean;
  /** Only pods that request one of these concern it; none: all pods do. */
  readonly managedResources: readonly string[];
  /** Pods are scheduled without it while it fails. */
  readonly ignorable: boolean;
  readonly tls: ExtenderTls | undefined;
}

/** Files are read when the configuration is. */
export interface ExtenderTls {
  readonly insecure: boolean;
  readonly serverName: string | undefined;
  readonly cert: PemSource | undefined;
  readonly key: PemSource | undefined;
  readonly ca: PemSource | undefined;
}

export type PemSource = { readonly file: string } | { readonly text: string };

/** Nodes that an extender left, and why it left out the others. */
export interface ExtenderFilterResult {
  readonly nodes: readonly NodeRecord[];
  /** Reasons by name of a node that fits once pods are removed. */
  readonly failed: ReadonlyMap<string, string>;
  /** Reasons by name of a node where that would not help. */
  readonly unresolvable: ReadonlyMap<string, string>;
}

/**
 * Another program that helps to decide where pods go, over the HTTP contract of upstream's extenders.
 *
 * Each function throws an Error that names the extender when there is no usable answer in time. An answer is not usable when it names
 * nodes or pods that were not in the question.
 */
export interface Extender {
  readonly name: string;
  readonly isIgnorable: boolean;
  isInterested(pod: PodRecord): boolean;
  /** Absent functions are verbs that the configuration does not name. */
  filter?(pod: PodRecord, feasible: readonly NodeRecord[], signal: AbortSignal): Promise<ExtenderFilterResult>;
  /** Points by node, already weighed as those of plugins are. */
  prioritize?(pod: PodRecord, feasible: readonly NodeRecord[], signal: AbortSignal): Promise<ReadonlyMap<string, number>>;
  /** Some of the candidates, perhaps with other victims. */
  preempt?(pod: PodRecord, candidates: readonly Victims[], signal: AbortSignal): Promise<readonly Victims[]>;
  bind?(pod: PodRecord, nodeName: string, signal: AbortSignal): Promise<void>;
}

/** Highest score of an extender. */
const maxExtenderScore = 10;
/** Longest reason that is kept of an answer: it goes into Events and conditions. */
const maxReason = 256;

export interface ExtenderOptions {
  readonly configuration: ExtenderConfiguration;
  readonly transport: ExtenderTransport;
  /** The objects as the API has them now. */
  readonly nodeOf: (name: string) => Node | undefined;
  readonly podOf: (record: PodRecord) => Pod;
}

export function createExtender({ configuration, transport, nodeOf, podOf }: ExtenderOptions): Extender {
  const { urlPrefix: name, filterVerb, prioritizeVerb, preemptVerb, bindVerb, nodeCacheCapable, weight } = configuration;
  const managed = new Set(configuration.managedResources);

  async function ask(verb: string, body: object, signal: AbortSignal): Promise<unknown> {
    const { code, text } = await transport.post(verb, JSON.stringify(body), signal);
    if (code !== 200) throw new Error(`extender ${name}: ${verb} was answered with ${code} ${STATUS_CODES[code] ?? ''}`.trimEnd());
    try {
      return JSON.parse(text);
    } catch (err) {
      throw new Error(`extender ${name}: the answer of ${verb} is no JSON`, { cause: err });
    }
  }

  const wholePod = (record: PodRecord): Pod => ({ ...podOf(record), apiVersion: 'v1', kind: 'Pod' });
  const argsOf = (record: PodRecord, feasible: readonly NodeRecord[]) => ({
    Pod: wholePod(record),
    Nodes: nodeCacheCapable
      ? null
      : { apiVersion: 'v1', kind: 'NodeList', metadata: {}, items: feasible.flatMap((node) => wholeNode(node.name)) },
    NodeNames: nodeCacheCapable ? feasible.map((node) => node.name) : null,
  });

  function wholeNode(nodeName: string): readonly Node[] {
    const node = nodeOf(nodeName);
    return node === undefined ? [] : [{ ...node, apiVersion: 'v1', kind: 'Node' }];
  }

  async function filter(verb: string, pod: PodRecord, { feasible, signal }: Asked): Promise<ExtenderFilterResult> {
    const answer = fieldsOf(await ask(verb, argsOf(pod, feasible), signal));
    const error = answer.get('error');
    if (typeof error === 'string' && error !== '') throw new Error(`extender ${name}: ${error.slice(0, maxReason)}`);
    const byName = new Map(feasible.map((node) => [node.name, node]));
    const left = namesOf(answer).map((nodeName) => {
      const node = byName.get(nodeName);
      if (node === undefined)
        throw new Error(
          `extender ${name} claims a filtered node "${nodeName.slice(0, maxReason)}" which is not among the nodes that it was asked about`,
        );
      byName.delete(nodeName);
      return node;
    });
    return { nodes: left, failed: reasonsOf(answer.get('failednodes')), unresolvable: reasonsOf(answer.get('failedandunresolvablenodes')) };
  }

  async function prioritize(verb: string, pod: PodRecord, { feasible, signal }: Asked): Promise<ReadonlyMap<string, number>> {
    const answer = await ask(verb, argsOf(pod, feasible), signal);
    if (!Array.isArray(answer)) throw new Error(`extender ${name}: the answer of ${verb} is no list`);
    const points = new Map<string, number>();
    for (const entry of answer) {
      const fields = fieldsOf(entry);
      const [host, score] = [fields.get('host'), fields.get('score')];
      if (typeof host !== 'string' || typeof score !== 'number' || !(score >= 0 && score <= maxExtenderScore)) {
        throw new Error(`extender ${name}: a score of ${verb} is not from 0 to ${maxExtenderScore}`);
      }
      points.set(host, score * weight * (maxScore / maxExtenderScore));
    }
    return points;
  }

  async function preempt(verb: string, pod: PodRecord, { candidates, signal }: AskedToPreempt): Promise<readonly Victims[]> {
    const answer = fieldsOf(
      await ask(
        verb,
        {
          Pod: wholePod(pod),
          NodeNameToVictims: nodeCacheCapable ? null : victimsByNode(candidates, wholePod),
          NodeNameToMetaVictims: nodeCacheCapable ? victimsByNode(candidates, ({ uid }) => ({ UID: uid })) : null,
        },
        signal,
      ),
    );
    const chosen = answer.get('nodenametometavictims');
    if (chosen === undefined || chosen === null) return [];
    if (!isRecord(chosen)) throw new Error(`extender ${name}: the answer of ${verb} names no nodes`);
    return Object.entries(chosen).map(([nodeName, value]) => {
      const candidate = candidates.find(({ node }) => node.name === nodeName);
      // An extender may narrow the choice. A node that was no candidate might not fit the pod whatever is removed.
      if (candidate === undefined)
        throw new Error(`extender ${name} claims to preempt pods on node "${nodeName.slice(0, maxReason)}" which was no candidate`);
      return victimsOf(fieldsOf(value), candidate, pod);
    });
  }

  /** Pods of the node that the answer names: none of a priority as high as the pod's, since no rule allows to remove those. */
  function victimsOf(fields: ReadonlyMap<string, unknown>, { node, violations }: Victims, pod: PodRecord): Victims {
    const listed = fields.get('pods');
    const byUid = new Map([...node.pods.values()].map((there) => [there.uid, there]));
    const victims = (Array.isArray(listed) ? listed : []).map((entry) => {
      const uid = fieldsOf(entry).get('uid');
      const victim = typeof uid === 'string' ? byUid.get(uid) : undefined;
      if (victim === undefined) throw new Error(`extender ${name} claims to preempt a pod on node ${node.name} which is not there`);
      if (victim.shape.priority >= pod.shape.priority)
        throw new Error(`extender ${name} claims to preempt pod ${victim.key}, whose priority is not lower`);
      byUid.delete(victim.uid);
      return victim;
    });
    if (victims.length === 0) throw new Error(`extender ${name} names no pod to preempt on node ${node.name}`);
    const counted = fields.get('numpdbviolations');
    return {
      node,
      pods: victims.sort((a, b) => b.shape.priority - a.shape.priority),
      violations: typeof counted === 'number' && counted >= 0 ? counted : violations,
    };
  }

  async function bind(verb: string, pod: PodRecord, { nodeName, signal }: AskedToBind): Promise<void> {
    const [PodNamespace, PodName] = [pod.namespace, pod.pod.metadata.name];
    const answer = fieldsOf(await ask(verb, { PodName, PodNamespace, PodUID: pod.uid, Node: nodeName }, signal));
    const error = answer.get('error');
    if (typeof error === 'string' && error !== '') throw new Error(`extender ${name}: ${error.slice(0, maxReason)}`);
  }

  return {
    name,
    isIgnorable: configuration.ignorable,
    isInterested: ({ pod }) => managed.size === 0 || requestsAny(pod, managed),
    ...(filterVerb === undefined ? {} : { filter: (pod, feasible, signal) => filter(filterVerb, pod, { feasible, signal }) }),
    ...(prioritizeVerb === undefined
      ? {}
      : { prioritize: (pod, feasible, signal) => prioritize(prioritizeVerb, pod, { feasible, signal }) }),
    ...(preemptVerb === undefined ? {} : { preempt: (pod, candidates, signal) => preempt(preemptVerb, pod, { candidates, signal }) }),
    ...(bindVerb === undefined ? {} : { bind: (pod, nodeName, signal) => bind(bindVerb, pod, { nodeName, signal }) }),
  };
}

export interface Asked {
  readonly feasible: readonly NodeRecord[];
  readonly signal: AbortSignal;
}

export interface AskedToPreempt {
  readonly candidates: readonly Victims[];
  readonly signal: AbortSignal;
}

export interface AskedToBind {
  readonly nodeName: string;
  readonly signal: AbortSignal;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function requestsAny({ spec }: Pod, names: ReadonlySet<string>): boolean {
  return [...spec.containers, ...(spec.initContainers ?? [])].some(({ resources }) =>
    [...Object.keys(resources?.requests ?? {}), ...Object.keys(resources?.limits ?? {})].some((one) => names.has(one)),
  );
}

function victimsByNode<T>(candidates: readonly Victims[], textOf: (pod: PodRecord) => T) {
  return Object.fromEntries(
    candidates.map(({ node, pods: victims, violations }) => [node.name, { Pods: victims.map(textOf), NumPDBViolations: violations }]),
  );
}

/** Fields by their names in lower case, since programs in Go read and write either. */
function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(isRecord(value) ? Object.entries(value).map(([key, field]) => [key.toLowerCase(), field]) : []);
}

/** Names of the nodes that are left. An answer with neither list leaves none, as upstream reads it. */
function namesOf(answer: ReadonlyMap<string, unknown>): readonly string[] {
  const names = answer.get('nodenames');
  if (Array.isArray(names)) return names.map(String);
  const { items } = (answer.get('nodes') ?? {}) as { readonly items?: unknown };
  if (!Array.isArray(items)) return [];
  return items.map((node: { readonly metadata?: { readonly name?: unknown } } | null) => String(node?.metadata?.name));
}

function reasonsOf(value: unknown): ReadonlyMap<string, string> {
  return new Map(isRecord(value) ? Object.entries(value).map(([node, reason]) => [node, String(reason).slice(0, maxReason)]) : []);
}

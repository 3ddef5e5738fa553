import { createHash } from 'node:crypto';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { dnsSubdomainErrors } from '../../api/formats.ts';
import { loadSchemas } from '../../api/schemas.ts';
import { configAnnotations } from '../../api/well-known.ts';
import { DecodeError, decoderFor, fieldComplaints } from '../../machinery/field-validation.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { locate, parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import { referencesOf } from '../pod-references.ts';

/** A file that is no static pod; the message begins with file and line. */
export class StaticPodError extends Error {
  override readonly name = 'StaticPodError';
}

export interface StaticPodManifest {
  /** For messages. */
  readonly file: string;
  readonly text: string;
  readonly nodeName: string;
}

export const maxManifestBytes = 1024 * 1024;
const limits = { maxBytes: maxManifestBytes, maxDepth: 100, maxAliases: 1_000, maxDocuments: 2 };

/**
 * Reads the one pod of a file, as it runs on the node. The node's name is behind its own, and its UID follows from the content.
 *
 * @throws StaticPodError for what is no pod, and for one that refers to other objects: a node asks for those by its pods in the API
 * @see Kubernetes documentation, "Create static Pods"
 */
export function readStaticPod({ file, text, nodeName }: StaticPodManifest): Pod {
  const fail = (line: number, why: string): StaticPodError => new StaticPodError(`${file}:${line}: ${why}`);
  const [document, second] = documentsOf({ file, text });
  if (document === undefined) throw fail(1, 'there is no pod in the file');
  if (second !== undefined) throw fail(second.line, 'there is a second document; a file is one pod');
  const { line } = document;
  const at = (path: string, why: string): StaticPodError => fail(locate(text, path, line).line, why);
  const given = document.value as Partial<KubeObject> | null;
  if (typeof given !== 'object' || given === null || given.apiVersion !== 'v1' || given.kind !== 'Pod')
    throw fail(line, 'it is no object of apiVersion v1 and kind Pod');
  const pod = decode(given, (why) => fail(line, why));
  const { name = '', namespace = 'default' } = pod.metadata ?? {};
  const [nameProblem] = dnsSubdomainErrors(`${name}-${nodeName}`);
  if (name === '' || nameProblem !== undefined) throw at('metadata.name', `metadata.name: ${nameProblem ?? 'is missing'}`);
  const uid = createHash('sha256')
    .update(`${nodeName}\n${JSON.stringify(given)}`)
    .digest('hex')
    .slice(0, 32);
  const defaulted = pods.defaults?.(pod) ?? pod;
  const complete: Pod = {
    ...defaulted,
    metadata: {
      ...pod.metadata,
      name: `${name}-${nodeName}`,
      namespace,
      uid,
      annotations: { ...pod.metadata.annotations, [configAnnotations.hash]: uid, [configAnnotations.source]: 'file' },
    },
    spec: {
      ...defaulted.spec,
      nodeName,
      // As upstream: nothing that happens to the node evicts it.
      tolerations: [...(pod.spec?.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
    },
    status: { phase: 'Pending' },
  };
  const [problem] = pods.validate?.(complete) ?? [];
  if (problem !== undefined) throw at(problem.field, `${problem.field}: ${problem.message}`);
  const [reference] = referencesOf(complete).objects;
  if (reference !== undefined) throw fail(line, `a static pod cannot refer to other objects of the API, and it does to ${reference}`);
  if ((pod.spec.serviceAccountName ?? '') !== '')
    throw at('spec.serviceAccountName', 'spec.serviceAccountName: a static pod has no service account');
  for (const [index, volume] of (pod.spec.volumes ?? []).entries()) {
    const token = volume.projected?.sources?.some(({ serviceAccountToken }) => serviceAccountToken !== undefined);
    if (volume.persistentVolumeClaim !== undefined || token === true)
      throw at(`spec.volumes[${index}]`, `spec.volumes[${index}]: a static pod has no claims and no tokens`);
  }
  return complete;
}

function documentsOf({ file, text }: Pick<StaticPodManifest, 'file' | 'text'>) {
  try {
    return parseYamlDocuments(text, { ...limits, filename: file });
  } catch (err) {
    if (err instanceof YamlError) throw new StaticPodError(`${file}:${err.line}: ${err.reason}`, { cause: err });
    throw err;
  }
}

function decode(given: object, fail: (why: string) => Error): Pod {
  try {
    const { object, unknownFields } = decoderFor(loadSchemas(), pods.schemaName).decode(given);
    const [complaint] = fieldComplaints(unknownFields, []);
    if (complaint !== undefined) throw fail(complaint);
    return object as Pod;
  } catch (err) {
    if (err instanceof DecodeError) throw fail(err.message);
    throw err;
  }
}

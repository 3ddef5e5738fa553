import type { ControllerRevision } from '../../api/apps/v1/controller-revision.ts';
import type { PodTemplateSpec } from '../../api/core/v1/pod.ts';
import type { New } from '../../client/client.ts';
import { deepEqual, type KubeObject } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import type { LabelSelectorObject } from '../../machinery/selector.ts';
import { templateHash } from '../deployment/template.ts';
import { controllerReference } from '../ownership.ts';

/** A workload whose templates are kept as ControllerRevisions. */
export interface Revised extends KubeObject {
  readonly spec: {
    readonly template: PodTemplateSpec;
    readonly selector: LabelSelectorObject;
    readonly revisionHistoryLimit?: number;
  };
  readonly status?: { readonly collisionCount?: number };
}

export interface NewRevisionOptions {
  readonly resource: Resource;
  readonly owner: Revised;
  /** The label that carries the hash. */
  readonly hashLabel: string;
  readonly revision: number;
  readonly collisionCount: number;
}

/** As much of the owner's name as upstream keeps. */
const maxOwnerName = 223;

/** The revision of the owner's current template, as upstream's controllers name and label it. */
export function newRevision({ resource, owner, hashLabel, revision, collisionCount }: NewRevisionOptions): New<ControllerRevision> {
  const { name, namespace, annotations } = owner.metadata;
  const hash = templateHash(owner.spec.template, collisionCount);
  return {
    apiVersion: 'apps/v1',
    kind: 'ControllerRevision',
    metadata: {
      name: `${name.slice(0, maxOwnerName)}-${hash}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...owner.spec.template.metadata?.labels, [hashLabel]: hash },
      ...(annotations === undefined ? {} : { annotations }),
      ownerReferences: [controllerReference(resource, owner)],
    },
    data: dataOf(owner.spec.template),
    revision,
  };
}

/** The strategic merge patch that brings the template back: `kubectl rollout undo` sends it as it is. */
export const dataOf = (template: PodTemplateSpec): Readonly<Record<string, unknown>> => ({
  spec: { template: { ...template, $patch: 'replace' } },
});

/** The template that a revision keeps. */
export function templateIn({ data }: ControllerRevision): PodTemplateSpec | undefined {
  const template = (data?.spec as { readonly template?: PodTemplateSpec & { readonly $patch?: string } } | undefined)?.template;
  if (template === undefined) return undefined;
  const { $patch: _, ...kept } = template;
  return kept;
}

/** True for the revision of this template, whoever wrote it. */
export function isRevisionOf(revision: ControllerRevision, template: PodTemplateSpec): boolean {
  const kept = templateIn(revision);
  return kept !== undefined && deepEqual(withoutNulls(kept.spec), template.spec) && deepEqual(labelsAnd(kept), labelsAnd(template));
}

/** Oldest first. */
export const byRevision = (a: ControllerRevision, b: ControllerRevision): number =>
  a.revision - b.revision ||
  compare(a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? '') ||
  compare(a.metadata.name, b.metadata.name);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Upstream writes `creationTimestamp: null` into the metadata of templates. */
function labelsAnd({ metadata }: PodTemplateSpec): object {
  return (withoutNulls(metadata) as object | undefined) ?? {};
}

function withoutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const kept = Object.entries(value).filter(([, below]) => below !== null);
  return kept.length === Object.keys(value).length ? value : Object.fromEntries(kept);
}

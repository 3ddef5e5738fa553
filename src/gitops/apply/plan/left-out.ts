import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../api/source/v1/git-repository.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import { type KubeObject, keyOf } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import type { BuildResult, Manifest } from '../../manifests/manifest.ts';
import { describeObject } from '../objects/object-id.ts';
import { sourceKeyOf } from './app-spec.ts';

/** The parts of a repository bootstrapped by Flux that this engine does not apply. */
export type LeftOutReason = 'flags' | 'engine';

/**
 * Decides if an app leaves out an object of its tree, which it then never deletes.
 *
 * `flags`: the app belongs to the flags of `midship up`, and the object is that app or its source. If it were applied,
 * the tree and the flags would overwrite each other. `engine`: the object belongs to Flux's own installation, whose
 * work this engine does. Two engines would fight for every object. On another cluster Flux may be installed like
 * anything else.
 */
export function exclusionOf(app: Kustomization, object: KubeObject): LeftOutReason | undefined {
  if (app.spec.kubeConfig !== undefined) return undefined;
  const namespace = app.spec.targetNamespace ?? object.metadata.namespace ?? app.metadata.namespace;
  const key = `${namespace}/${object.metadata.name}`;
  const isItsOwn = isKind(object, kustomizations) ? key === keyOf(app) : isKind(object, gitRepositories) && key === sourceKeyOf(app);
  if (isItsOwn && isOfFlags(app)) return 'flags';
  return isOfFluxItself(object) ? 'engine' : undefined;
}

/** An app that nobody may apply over: the one that `up` makes says so of itself. */
const isOfFlags = ({ metadata }: Kustomization): boolean => metadata.annotations?.[annotations.fluxReconcile] === 'disabled';

const isKind = ({ apiVersion, kind }: KubeObject, wanted: { readonly group: string; readonly kind: string }): boolean =>
  kind === wanted.kind && parseApiVersion(apiVersion).group === wanted.group;

/** API groups of Flux's kinds. */
export const fluxGroup = /(^|\.)toolkit\.fluxcd\.io$/;
/** Names of `flux install`, by kind; `flux-system` in them is the namespace. */
const fluxNames: Readonly<Record<string, RegExp>> = {
  Namespace: /./,
  Deployment: /^(source|kustomize|helm|notification|image-reflector|image-automation)-controller$|^source-watcher$/,
  Service: /^(source|notification)-controller$|^source-watcher$|^webhook-receiver$/,
  ServiceAccount: /^(source|kustomize|helm|notification|image-reflector|image-automation)-controller$|^source-watcher$/,
  NetworkPolicy: /^allow-(egress|scraping|webhooks)$/,
  ResourceQuota: /^critical-pods/,
  ClusterRole: /^(crd-controller|flux-edit|flux-view)/,
  ClusterRoleBinding: /^(cluster-reconciler|crd-controller)/,
};

function isOfFluxItself(object: KubeObject): boolean {
  const { kind, metadata } = object;
  if (kind === 'CustomResourceDefinition') {
    const { group } = (object as KubeObject & { readonly spec?: { readonly group?: unknown } }).spec ?? {};
    return typeof group === 'string' && fluxGroup.test(group);
  }
  // The label alone says little: others have a product of that name.
  return metadata.labels?.[labels.partOf] === 'flux' && fluxNames[kind]?.test(metadata.name) === true;
}

/** A build without what the app leaves out, and a sentence for each reason; the build itself when it leaves out nothing. */
export function withoutLeftOut(app: Kustomization, built: BuildResult): BuildResult {
  const manifests: Manifest[] = [];
  const left: Record<LeftOutReason, Manifest[]> = { flags: [], engine: [] };
  for (const manifest of built.manifests) {
    const reason = exclusionOf(app, manifest.object);
    (reason === undefined ? manifests : left[reason]).push(manifest);
  }
  if (manifests.length === built.manifests.length) return built;
  return { ...built, manifests, notes: [...flagsNote(left.flags), ...engineNote(left.engine)] };
}

const filesOf = (manifests: readonly Manifest[]): string => [...new Set(manifests.map(({ file }) => file))].join(', ');

const flagsNote = (left: readonly Manifest[]): readonly string[] =>
  left.length === 0
    ? []
    : [
        `Left out ${left.map(({ object }) => describeObject(object)).join(' and ')} of ${filesOf(left)}: the flags of midship up decide what the cluster follows.`,
      ];

const engineNote = (left: readonly Manifest[]): readonly string[] =>
  left.length === 0
    ? []
    : [`Left out ${left.length} objects of Flux's own installation in ${filesOf(left)}: Midship does the work of Flux's controllers.`];

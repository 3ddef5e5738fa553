import { createHash } from 'node:crypto';
import { formsOf, secretValuesIn } from '../../../api/core/v1/secret-values.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import { createRedactor, type Redactor } from '../../../base/redactor.ts';
import type { Client } from '../../../client/client.ts';
import { type DynamicObject, deepFreeze, type KubeObject, keyOf } from '../../../machinery/object.ts';
import { formatYaml, parseYamlDocuments, YamlError } from '../../../machinery/yaml.ts';
import type { BuildError, BuildResult, Manifest } from '../../manifests/manifest.ts';
import type { Builder } from '../../render/builder.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { overlayOf, sourceKeyOf } from './app-spec.ts';
import { withoutLeftOut } from './left-out.ts';
import { SubstitutionError, substitute, UnsetVariableError } from './substitution.ts';
import { createVariables, type Variables } from './variables.ts';

/** The result of an app's spec for its path at a revision. */
export interface AppBuilder {
  /**
   * Build with what the spec adds to it, then variables, then common labels and annotations. Objects that come out as before are the same
   * references, and equal digests mean that nothing is to do.
   * The redactor gets the app's values from Secrets first, and errors of the build are without them.
   */
  build(app: Kustomization, revision: KnownRevision, signal: AbortSignal): Promise<BuildResult>;
  /** Takes values of Secrets out of messages; their owner is the app's key. */
  readonly redactor: Redactor;
}

export interface AppBuilderOptions {
  readonly client: Client;
  readonly builder: Builder;
  /** Shared with whoever shows messages of the app. */
  readonly redactor?: Redactor;
}

/** A label or annotation that keeps an object's dollar signs as they are. */
const substituteKey = 'kustomize.toolkit.fluxcd.io/substitute';
interface Finished extends Outcome {
  /** Digest of its variables and metadata. */
  readonly key: string;
}

interface Outcome {
  readonly object: KubeObject;
  /** Forms of what variables from Secrets came to in it. */
  readonly secrets: readonly string[];
  readonly problem?: Pick<BuildError, 'message' | 'hint'>;
}

const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 0, maxDocuments: 1 };

export function createAppBuilder({ client, builder, redactor = createRedactor() }: AppBuilderOptions): AppBuilder {
  /** By object of the build, then by app: what came of it, and of which variables and metadata. */
  const finished = new WeakMap<KubeObject, Map<string, Finished>>();

  /** Builds as their app applies them, with what that was decided by: who compares builds wants the same reference for the same build. */
  const filtered = new WeakMap<BuildResult, { readonly key: string; readonly result: BuildResult }>();
  /** Builds whose Secrets the redactor has, with the app that it has them for. */
  const looked = new WeakMap<BuildResult, string>();
  const { variablesOf } = createVariables({ client, redactor });

  return {
    redactor,
    async build(app, revision, signal) {
      const result = await buildWhole(app, revision, signal);
      const owner = keyOf(app);
      if (looked.get(result) !== owner) {
        looked.set(result, owner);
        for (const { object } of result.manifests) redactor.addQuoted(owner, secretValuesIn(object));
      }
      if (result.errors.length === 0) return result;
      return { ...result, errors: result.errors.map((error) => ({ ...error, message: redactor.quoted(error.message, owner) })) };
    },
  };

  async function buildWhole(app: Kustomization, { source, commit }: KnownRevision, signal: AbortSignal): Promise<BuildResult> {
    const built = filter(app, await builder.build({ source, commit, path: app.spec.path ?? '', overlay: overlayOf(app), signal }));
    const { postBuild, commonMetadata } = app.spec;
    if (built.errors.length > 0 || (postBuild === undefined && commonMetadata === undefined)) return built;
    const { variables, errors } = await variablesOf(app, signal);
    if (errors.length > 0) return { ...built, digest: '', errors };
    return finish(app, built, variables);
  }

  function filter(app: Kustomization, built: BuildResult): BuildResult {
    const { metadata, spec } = app;
    const key = JSON.stringify([
      keyOf(app),
      sourceKeyOf(app),
      metadata.annotations?.[annotations.fluxReconcile],
      spec.kubeConfig === undefined,
    ]);
    const known = filtered.get(built);
    if (known?.key === key) return known.result;
    const result = withoutLeftOut(app, built);
    filtered.set(built, { key, result });
    return result;
  }

  function finish(app: Kustomization, built: BuildResult, variables: Variables): BuildResult {
    const { commonMetadata, postBuild } = app.spec;
    const substitutes = variables.values.size > 0 || postBuild?.substituteStrategy === 'Always';
    const isStrict = app.metadata.annotations?.[annotations.undefinedVariables] !== 'empty';
    const key = JSON.stringify([[...variables.values], [...variables.secret], commonMetadata ?? null, substitutes, isStrict]);
    const owner = keyOf(app);
    const hash = createHash('sha256');
    const manifests: Manifest[] = [];
    const errors: BuildError[] = [];
    for (const manifest of built.manifests) {
      const byApp = finished.get(manifest.object) ?? new Map<string, Finished>();
      finished.set(manifest.object, byApp);
      let known = byApp.get(owner);
      if (known?.key !== key) {
        known = {
          key,
          ...finishObject(manifest.object, { variables: substitutes ? variables : undefined, isStrict, metadata: commonMetadata }),
        };
        byApp.set(owner, known);
      }
      const { object, problem } = known;
      redactor.add(owner, known.secrets);
      if (problem !== undefined) errors.push({ file: manifest.file, line: manifest.line, ...problem });
      hash.update(JSON.stringify(object));
      manifests.push(object === manifest.object ? manifest : { ...manifest, object });
    }
    return { ...built, digest: errors.length > 0 ? '' : hash.digest('hex'), manifests, errors };
  }
}

const unsetHint = `Set it in spec.postBuild, give it a default as in \${name:=value}, or annotate the app with ${annotations.undefinedVariables}: empty.`;

interface Finishing {
  /** Undefined: nothing is looked for. */
  readonly variables: Variables | undefined;
  /** Refuses variables that are not set. */
  readonly isStrict: boolean;
  readonly metadata: Kustomization['spec']['commonMetadata'];
}

function finishObject(object: KubeObject, { variables, isStrict, metadata }: Finishing): Outcome {
  let result = object;
  const secrets: string[] = [];
  // Without any variable nothing is looked for: a shell script in a ConfigMap is full of dollar signs.
  if (variables !== undefined && mayHaveVariables(object)) {
    const fail = (
      why: string,
      hint = `Write $\${ for a dollar sign that is meant, or label the object ${substituteKey}: disabled.`,
    ): Outcome => ({
      object,
      secrets,
      problem: { message: `${object.kind} ${object.metadata.name}: variable substitution: ${why}`, hint },
    });
    try {
      result = substituteIn(object, variables, { secrets, isStrict });
    } catch (err) {
      if (err instanceof UnsetVariableError) return fail(err.message, unsetHint);
      if (err instanceof SubstitutionError) return fail(err.message);
      if (err instanceof YamlError) return fail(`what it leaves is no YAML: ${err.reason}`);
      throw err;
    }
    if (!isObject(result)) return fail('what it leaves is no object with a kind and a name');
  }
  if (metadata === undefined) return { object: deepFreeze(result), secrets };
  const { labels, annotations } = result.metadata;
  return {
    secrets,
    object: deepFreeze({
      ...result,
      metadata: {
        ...result.metadata,
        ...(metadata.labels === undefined ? {} : { labels: { ...labels, ...metadata.labels } }),
        ...(metadata.annotations === undefined ? {} : { annotations: { ...annotations, ...metadata.annotations } }),
      },
    }),
  };
}

function mayHaveVariables({ metadata, ...rest }: KubeObject): boolean {
  if (metadata.labels?.[substituteKey] === 'disabled' || metadata.annotations?.[substituteKey] === 'disabled') return false;
  return JSON.stringify([metadata, rest]).includes('$');
}

/** In the object's text, so that a value without quotation marks may become a number. */
function substituteIn(
  object: KubeObject,
  { values, secret }: Variables,
  { secrets, isStrict }: { readonly secrets: string[]; readonly isStrict: boolean },
): KubeObject {
  const text = substitute(formatYaml(object), (name) => values.get(name), {
    isSecret: (name) => secret.has(name),
    isStrict,
    onSecret: (result) => void secrets.push(...formsOf(result)),
  });
  return parseYamlDocuments(text, limits)[0]?.value as KubeObject;
}

function isObject(value: unknown): value is KubeObject {
  if (typeof value !== 'object' || value === null) return false;
  const { apiVersion, kind, metadata } = value as Partial<DynamicObject>;
  return [apiVersion, kind, metadata?.name].every((part) => typeof part === 'string' && part !== '');
}

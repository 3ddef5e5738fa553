import { createHash } from 'node:crypto';
import { configMaps } from '../../api/core/v1/config-map.ts';
import { secrets } from '../../api/core/v1/secret.ts';
import type { Kustomization, SubstituteReference } from '../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../client/client.ts';
import { type DynamicObject, deepFreeze, type KubeObject, keyOf } from '../../machinery/object.ts';
import { isNotFound, isStatusError, type StatusError } from '../../machinery/status-error.ts';
import { formatYaml, parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import type { Builder } from '../build/builder.ts';
import type { BuildError, BuildResult, Manifest } from '../build/manifest.ts';
import { overlayOf } from './app-spec.ts';
import type { KnownRevision } from './repository-controller.ts';
import { SubstitutionError, substitute } from './substitution.ts';

/** What an app's spec makes of its path at a revision. */
export interface AppBuilder {
  /**
   * Build with what the spec adds to it, then variables, then common labels and annotations. Objects that come out as before are the same
   * references, and equal digests mean that nothing is to do.
   */
  build(app: Kustomization, revision: KnownRevision, signal: AbortSignal): Promise<BuildResult>;
}

export interface AppBuilderOptions {
  readonly client: Client;
  readonly builder: Builder;
}

/** A label or annotation that keeps an object's dollar signs as they are. */
const substituteKey = 'kustomize.toolkit.fluxcd.io/substitute';
const variableName = /^[_\p{L}][_\p{L}\p{Nd}]*$/u;
interface Finished extends Outcome {
  /** Of the variables and metadata that it was made with. */
  readonly key: string;
}

interface Outcome {
  readonly object: KubeObject;
  readonly problem?: Pick<BuildError, 'message' | 'hint'>;
}

const limits = { maxBytes: 10 * 1024 * 1024, maxDepth: 100, maxAliases: 0, maxDocuments: 1 };

export function createAppBuilder({ client, builder }: AppBuilderOptions): AppBuilder {
  /** By object of the build, then by app: what came of it, and of which variables and metadata. */
  const finished = new WeakMap<KubeObject, Map<string, Finished>>();

  return {
    async build(app, { source, commit }, signal) {
      const built = await builder.build({ source, commit, path: app.spec.path ?? '', overlay: overlayOf(app), signal });
      const { postBuild, commonMetadata } = app.spec;
      if (built.errors.length > 0 || (postBuild === undefined && commonMetadata === undefined)) return built;
      const { variables, errors } = await variablesOf(app, signal);
      if (errors.length > 0) return { ...built, digest: '', errors };
      return finish(app, built, variables);
    },
  };

  function finish(app: Kustomization, built: BuildResult, variables: ReadonlyMap<string, string>): BuildResult {
    const key = JSON.stringify([[...variables], app.spec.commonMetadata ?? null]);
    const owner = keyOf(app);
    const hash = createHash('sha256');
    const manifests: Manifest[] = [];
    const errors: BuildError[] = [];
    for (const manifest of built.manifests) {
      const byApp = finished.get(manifest.object) ?? new Map<string, Finished>();
      finished.set(manifest.object, byApp);
      let known = byApp.get(owner);
      if (known?.key !== key) {
        known = { key, ...finishObject(manifest.object, variables, app.spec.commonMetadata) };
        byApp.set(owner, known);
      }
      const { object, problem } = known;
      if (problem !== undefined) errors.push({ file: manifest.file, line: manifest.line, ...problem });
      hash.update(JSON.stringify(object));
      manifests.push(object === manifest.object ? manifest : { ...manifest, object });
    }
    return { digest: errors.length > 0 ? '' : hash.digest('hex'), manifests, errors };
  }

  /** `substitute` wins over `substituteFrom`, of which later ones win. */
  async function variablesOf(
    app: Kustomization,
    signal: AbortSignal,
  ): Promise<{ readonly variables: ReadonlyMap<string, string>; readonly errors: readonly BuildError[] }> {
    const variables = new Map<string, string>();
    const errors: BuildError[] = [];
    const add = (field: string, values: Readonly<Record<string, string>>): void => {
      for (const [name, value] of Object.entries(values)) {
        if (!variableName.test(name)) {
          errors.push({ file: '', message: `${field}: '${name}' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'` });
        }
        variables.set(name, value.replaceAll('\n', ''));
      }
    };
    for (const [index, reference] of (app.spec.postBuild?.substituteFrom ?? []).entries()) {
      signal.throwIfAborted();
      const field = `spec.postBuild.substituteFrom[${index}]`;
      const values = await readValues(reference, app.metadata.namespace);
      if (isStatusError(values)) errors.push({ file: '', message: `${field}: ${values.message}` });
      else if (values !== undefined) add(field, values);
      else if (reference.optional !== true) {
        errors.push({
          file: '',
          message: `${field}: ${reference.kind} ${app.metadata.namespace}/${reference.name} does not exist`,
          hint: 'Create it, or mark the reference as optional.',
        });
      }
    }
    add('spec.postBuild.substitute', app.spec.postBuild?.substitute ?? {});
    return { variables, errors };
  }

  async function readValues(
    { kind, name }: SubstituteReference,
    namespace: string | undefined,
  ): Promise<Readonly<Record<string, string>> | StatusError | undefined> {
    try {
      if (kind === 'ConfigMap') return (await client.get(configMaps, { namespace, name })).data ?? {};
      const { data = {} } = await client.get(secrets, { namespace, name });
      return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
    } catch (err) {
      if (isNotFound(err)) return undefined;
      // A value that may not be read is this app's trouble; thrown, it would stop every app of the source.
      if (isStatusError(err)) return err;
      throw new Error(`read ${kind} ${namespace}/${name}`, { cause: err });
    }
  }
}

function finishObject(
  object: KubeObject,
  variables: ReadonlyMap<string, string>,
  metadata: Kustomization['spec']['commonMetadata'],
): Outcome {
  let result = object;
  // Without any variable nothing is looked for: a shell script in a ConfigMap is full of dollar signs.
  if (variables.size > 0 && mayHaveVariables(object)) {
    const fail = (why: string): Outcome => ({
      object,
      problem: {
        message: `${object.kind} ${object.metadata.name}: variable substitution: ${why}`,
        hint: `Write $\${ for a dollar sign that is meant, or label the object ${substituteKey}: disabled.`,
      },
    });
    try {
      result = substituteIn(object, variables);
    } catch (err) {
      if (err instanceof SubstitutionError) return fail(err.message);
      if (err instanceof YamlError) return fail(`what it leaves is no YAML: ${err.reason}`);
      throw err;
    }
    if (!isObject(result)) return fail('what it leaves is no object with a kind and a name');
  }
  if (metadata === undefined) return { object: deepFreeze(result) };
  const { labels, annotations } = result.metadata;
  return {
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
function substituteIn(object: KubeObject, variables: ReadonlyMap<string, string>): KubeObject {
  const text = substitute(formatYaml(object), (name) => variables.get(name));
  return parseYamlDocuments(text, limits)[0]?.value as KubeObject;
}

function isObject(value: unknown): value is KubeObject {
  if (typeof value !== 'object' || value === null) return false;
  const { apiVersion, kind, metadata } = value as Partial<DynamicObject>;
  return [apiVersion, kind, metadata?.name].every((part) => typeof part === 'string' && part !== '');
}

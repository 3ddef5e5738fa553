import { configMaps } from '../../../api/core/v1/config-map.ts';
import { secrets } from '../../../api/core/v1/secret.ts';
import { formsOf } from '../../../api/core/v1/secret-values.ts';
import type { Kustomization, SubstituteReference } from '../../../api/kustomize/v1/kustomization.ts';
import type { Redactor } from '../../../base/redactor.ts';
import type { Client } from '../../../client/client.ts';
import { keyOf } from '../../../machinery/object.ts';
import { isNotFound, isStatusError, type StatusError } from '../../../machinery/status-error.ts';
import type { BuildError } from '../../manifests/manifest.ts';

export interface Variables {
  readonly values: ReadonlyMap<string, string>;
  /** Names of those that a Secret brought. */
  readonly secret: ReadonlySet<string>;
}

export interface VariablesOptions {
  readonly client: Client;
  /** Gets each value that comes from a Secret, under the key of the app. */
  readonly redactor: Redactor;
}

interface AppVariables {
  readonly variables: Variables;
  readonly errors: readonly BuildError[];
}

const variableName = /^[_\p{L}][_\p{L}\p{Nd}]*$/u;

/** Reads the variables of `spec.postBuild`; the redactor knows their secret values before they are returned. */
export function createVariables({ client, redactor }: VariablesOptions): {
  variablesOf(app: Kustomization, signal: AbortSignal): Promise<AppVariables>;
} {
  /** Forms of the values of a Secret, by its `data`. */
  const forms = new WeakMap<object, readonly string[]>();

  return { variablesOf };

  /** `substitute` wins over `substituteFrom`, of which later ones win. */
  async function variablesOf(app: Kustomization, signal: AbortSignal): Promise<AppVariables> {
    const variables = new Map<string, string>();
    const secret = new Set<string>();
    const errors: BuildError[] = [];
    const add = (field: string, values: Readonly<Record<string, string>>, isSecret = false): void => {
      for (const [name, value] of Object.entries(values)) {
        if (!variableName.test(name)) {
          errors.push({ file: '', message: `${field}: '${name}' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'` });
        }
        variables.set(name, value.replaceAll('\n', ''));
        if (isSecret) secret.add(name);
        else secret.delete(name);
      }
    };
    for (const [index, reference] of (app.spec.postBuild?.substituteFrom ?? []).entries()) {
      signal.throwIfAborted();
      const field = `spec.postBuild.substituteFrom[${index}]`;
      const values = await readValues(reference, app);
      if (isStatusError(values)) errors.push({ file: '', message: `${field}: ${values.message}` });
      else if (values !== undefined) add(field, values, reference.kind === 'Secret');
      else if (reference.optional !== true) {
        errors.push({
          file: '',
          message: `${field}: ${reference.kind} ${app.metadata.namespace}/${reference.name} does not exist`,
          hint: 'Create it, or mark the reference as optional.',
        });
      }
    }
    add('spec.postBuild.substitute', app.spec.postBuild?.substitute ?? {});
    return { variables: { values: variables, secret }, errors };
  }

  async function readValues(
    { kind, name }: SubstituteReference,
    app: Kustomization,
  ): Promise<Readonly<Record<string, string>> | StatusError | undefined> {
    const { namespace } = app.metadata;
    try {
      if (kind === 'ConfigMap') return (await client.get(configMaps, { namespace, name })).data ?? {};
      const { data = {} } = await client.get(secrets, { namespace, name });
      const values = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
      const known = forms.get(data) ?? Object.values(values).flatMap(formsOf);
      forms.set(data, known);
      redactor.add(keyOf(app), known);
      return values;
    } catch (err) {
      if (isNotFound(err)) return undefined;
      // A value that may not be read is this app's trouble; thrown, it would stop every app of the source.
      if (isStatusError(err)) return err;
      throw new Error(`read ${kind} ${namespace}/${name}`, { cause: err });
    }
  }
}

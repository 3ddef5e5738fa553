import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { BoundedMap } from '../../../base/bounded-map.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import { type CelProgram, compileCel } from '../../../machinery/cel/cel.ts';
import { dynType } from '../../../machinery/cel/types.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';

/** Expressions of apps in CEL: `spec.healthCheckExprs` and `spec.dependsOn[].readyExpr`. */
export interface Expressions {
  /** Result of an app's own expressions for an object; undefined when it has none for its kind. */
  healthOf(app: Kustomization, object: KubeObject): Health | undefined;
  /**
   * Decides if a dependency is ready, `dep` being the dependency and `self` the app.
   *
   * @throws Error with the error of the expression
   */
  isReady(expression: string, values: { readonly self: Kustomization; readonly dep: Kustomization }): boolean;
  /** The first expression of an app that can never say anything, with what is wrong; undefined when there is none. */
  problemIn(app: Kustomization): string | undefined;
}

/** Compiled ones that are kept, with those that do not compile. */
const maxPrograms = 1_000;
/** Fields that an expression may name also when the object does not have them yet. */
const usualFields = ['apiVersion', 'kind', 'metadata', 'spec', 'status', 'data'];

const dependencyNames = ['dep', 'self'];

export function createExpressions(): Expressions {
  const programs = new BoundedMap<string, CelProgram | Error>(maxPrograms);

  function programOf(expression: string, names: readonly string[]): CelProgram {
    const key = JSON.stringify([expression, names]);
    let program = programs.use(key);
    if (program === undefined) {
      try {
        program = compileCel(expression, { variables: Object.fromEntries(names.map((name) => [name, dynType])), result: 'bool' });
      } catch (err) {
        program = err instanceof Error ? err : new Error(String(err));
      }
      programs.set(key, program);
    }
    if (program instanceof Error) throw program;
    return program;
  }

  return {
    healthOf(app, object) {
      const { group } = parseApiVersion(object.apiVersion);
      // As in Flux, any version of the kind.
      const checks = app.spec.healthCheckExprs?.find(
        ({ apiVersion, kind }) => kind === object.kind && parseApiVersion(apiVersion).group === group,
      );
      if (checks === undefined) return undefined;
      const what = `${object.kind} ${object.metadata.name}`;
      const { status } = object as KubeObject & { readonly status?: { readonly observedGeneration?: unknown } };
      if (typeof status?.observedGeneration === 'number' && status.observedGeneration < (object.metadata.generation ?? 0)) {
        return { status: 'Progressing', reason: `${what} was changed just now` };
      }
      const names = [...new Set([...usualFields, ...Object.keys(object)])].sort();
      const says = (expression: string | undefined): boolean =>
        expression !== undefined && programOf(expression, names).evaluate(object as unknown as Readonly<Record<string, unknown>>) === true;
      try {
        if (says(checks.inProgress)) return { status: 'Progressing', reason: `${what} is in progress` };
        if (says(checks.failed)) return { status: 'Degraded', reason: `${what} failed: ${messageOf(object)}` };
        if (says(checks.current)) return { status: 'Healthy', reason: '' };
        return { status: 'Progressing', reason: `${what} is not there yet` };
      } catch (err) {
        // A field that is not there yet is the usual reason: the wait goes on until its deadline and says why.
        return { status: 'Progressing', reason: `${what}: health expression: ${err instanceof Error ? err.message : String(err)}` };
      }
    },
    isReady: (expression, values) => programOf(expression, dependencyNames).evaluate(values) === true,
    problemIn({ spec }) {
      const usual = [...usualFields].sort();
      const all = [
        ...(spec.healthCheckExprs ?? []).flatMap((checks, index) =>
          (['inProgress', 'failed', 'current'] as const).map(
            (name) => [`healthCheckExprs[${index}].${name}`, checks[name], usual] as const,
          ),
        ),
        ...(spec.dependsOn ?? []).map(({ readyExpr }, index) => [`dependsOn[${index}].readyExpr`, readyExpr, dependencyNames] as const),
      ];
      for (const [field, expression, names] of all) {
        if (expression === undefined) continue;
        try {
          programOf(expression, names);
        } catch (err) {
          const [message = ''] = (err instanceof Error ? err.message : String(err)).split('\n');
          // An object may have fields beside the usual ones.
          if (names !== usual || !message.includes('undeclared reference')) return `spec.${field}: ${message}`;
        }
      }
      return undefined;
    },
  };
}

/** Health by the object's own conditions. */
function messageOf(object: KubeObject): string {
  const { status } = object as KubeObject & {
    readonly status?: { readonly conditions?: readonly { readonly type?: string; readonly status?: string; readonly message?: string }[] };
  };
  const conditions = Array.isArray(status?.conditions) ? status.conditions : [];
  const failed = conditions.find(({ type, status: value }) => (type === 'Ready' || type === 'Available') && value === 'False');
  return failed?.message ?? 'its health expression says so';
}

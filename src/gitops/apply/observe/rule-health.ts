import type { Condition } from '../../../api/flux.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import { type CelProgram, compileCel } from '../../../machinery/cel/cel.ts';
import { CelCostError, CelEvaluationError } from '../../../machinery/cel/errors.ts';
import { dynType } from '../../../machinery/cel/types.ts';
import type { DynamicObject, KubeObject } from '../../../machinery/object.ts';
import type { KindRule } from './health-rules.ts';

/** Judges an object that has a status by the rule. */
export function healthByRule(object: KubeObject, rule: KindRule): Health {
  const what = `${object.kind} ${object.metadata.name}`;
  const text = textOf(object, rule);
  if (holds(rule.suspended, object)) return { status: 'Suspended', reason: `${what} is suspended` };
  if (holds(rule.failed, object)) return { status: 'Degraded', reason: `${what}: ${text === '' ? 'it failed' : text}` };
  if (!holds(rule.inProgress, object) && holds(rule.current, object)) return { status: 'Healthy', reason: '' };
  return { status: 'Progressing', reason: text === '' ? `${what} is not ready yet` : `${what}: ${text}` };
}

const fields = { apiVersion: dynType, kind: dynType, metadata: dynType, spec: dynType, status: dynType };
const programs = new Map<string, CelProgram>();

function holds(expression: string | undefined, object: KubeObject): boolean {
  if (expression === undefined) return false;
  let program = programs.get(expression);
  if (program === undefined) {
    program = compileCel(expression, { variables: fields, result: 'bool' });
    programs.set(expression, program);
  }
  try {
    return program.evaluate(object as DynamicObject) === true;
  } catch (err) {
    // A field that the controller has not written yet.
    if (err instanceof CelEvaluationError || err instanceof CelCostError) return false;
    throw err;
  }
}

function textOf(object: KubeObject, { tells = ['Ready'] }: KindRule): string {
  const { status = {} } = object as DynamicObject & { readonly status?: Readonly<Record<string, unknown>> };
  const conditions = (Array.isArray(status.conditions) ? status.conditions : []) as readonly Condition[];
  const named = tells.map((type) => conditions.find((condition) => condition.type === type));
  const message = named.map((condition) => condition?.message ?? '').find((each) => each !== '');
  const others = [message, status.message, status.failureReason, status.phase, status.state, status.printableStatus];
  return String(others.find((each) => typeof each === 'string' && each !== '') ?? '');
}

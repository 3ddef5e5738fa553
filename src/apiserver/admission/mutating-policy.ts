import {
  type AdmissionPolicyBinding,
  type MutatingAdmissionPolicy,
  mutatingAdmissionPolicies,
  mutatingAdmissionPolicyBindings,
} from '../../api/admissionregistration/v1/admission-policy.ts';
import type { CelMessages } from '../../machinery/cel/compiler.ts';
import { fn } from '../../machinery/cel/signature.ts';
import { type CelType, dynType, stringType, typeName } from '../../machinery/cel/types.ts';
import { CelList, CelMessage, isMap, toJson } from '../../machinery/cel/values.ts';
import { applyJsonPatch } from '../../machinery/json-patch.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { SchemaSet } from '../../machinery/schema.ts';
import { forbidden, isStatusError, StatusError } from '../../machinery/status-error.ts';
import { mergeApplied } from '../../machinery/structured-merge/merge.ts';
import { memberType, objectTypeOf, type Type } from '../../machinery/structured-merge/type.ts';
import { typeErrors } from '../../machinery/structured-merge/typed-value.ts';
import type { BodyDecoder } from '../registry/decoding.ts';
import { isApiServer } from '../user.ts';
import type { AdmissionRequest, AdmissionStep } from './admission.ts';
import { withoutSystemFields } from './admission-review.ts';
import { bodyIsOther, changedObject } from './changed-object.ts';
import { deriveFromAll } from './derive-from-all.ts';
import { commonValues, compileExpression, type Expression, evaluateExpression, notAnExpression } from './expressions.ts';
import { isAdmissionConfiguration, type Match } from './match.ts';
import { conditionsHold } from './match-conditions.ts';
import {
  brokenParts,
  compileParts,
  createParams,
  followBindings,
  namespaceObjectOf,
  type PolicyOptions,
  type PolicyParts,
  policyBudget,
  VariableValues,
} from './policy-parts.ts';

export interface MutatingPolicyOptions extends PolicyOptions {
  /** Reads what policies make of an object. */
  readonly decoder: BodyDecoder;
  /** Types of the built-in kinds; others bring their own. */
  readonly schemas: SchemaSet;
}

interface Invocation {
  readonly match: Match;
  readonly param: KubeObject | undefined;
}

/**
 * Applies the MutatingAdmissionPolicies, one after the other in the order of their names. Each binding of a policy that
 * matches a write changes the object by apply configuration or JSON patch, once for each of its parameter objects.
 * After a change the server's own steps run once more, and then the policies with `reinvocationPolicy: IfNeeded`.
 *
 * @throws StatusError `Invalid` (403) when an expression fails, or its patch does not fit, and the policy's failures are not ignored
 * @see Kubernetes reference, "Mutating Admission Policy"
 */
export function mutatingPolicies(options: MutatingPolicyOptions): AdmissionStep {
  const { registry, matcher, authorizer, decoder, log } = options;
  const policies = deriveFromAll({
    registry,
    kind: mutatingAdmissionPolicies,
    make: compileMutatingPolicy,
    broken: (policy) => ({ ...brokenParts(policy), mutations: [], isReinvoked: false }),
    log,
  });
  const bindings = followBindings(options, mutatingAdmissionPolicyBindings);
  const params = createParams(options);

  /** @param among  those that are asked */
  function run(
    request: AdmissionRequest,
    among: readonly MutatingPolicy[],
  ): { readonly object: KubeObject; readonly invoked: Set<MutatingPolicy> } {
    let current = request;
    const failures: Failure[] = [];
    const invoked = new Set<MutatingPolicy>();
    for (const policy of among) {
      const bound = bindings().get(policy.name);
      if (bound === undefined || policy.criteria === undefined) continue;
      for (const { binding, criteria } of bound) {
        if (matcher.match(policy.criteria, current) === undefined) continue;
        if (criteria !== undefined && matcher.match(criteria, current) === undefined) continue;
        const found = params.of(policy, binding, current);
        if ('error' in found) {
          if (policy.failsClosed) failures.push({ policy, binding, message: found.error });
          continue;
        }
        for (const param of found.params) {
          const match = matcher.match(policy.criteria, current);
          if (match === undefined) continue;
          const outcome = invoke(policy, current, { match, param });
          if (outcome === undefined) continue;
          invoked.add(policy);
          if (outcome.object !== current.object) current = { ...current, object: outcome.object };
          if (policy.failsClosed) failures.push(...outcome.errors.map((message) => ({ policy, binding, message })));
        }
      }
    }
    const [first] = failures;
    if (first !== undefined) throw refusal(first, failures, request);
    return { object: current.object, invoked };
  }

  /** Undefined when the policy's conditions do not hold. */
  function invoke(policy: MutatingPolicy, request: AdmissionRequest, { match, param }: Invocation): Outcome | undefined {
    const budget = policyBudget();
    const errors: string[] = [];
    let current = request;
    let shown = shownOf(request, match);
    const valuesFor = (): Readonly<Record<string, unknown>> => {
      const given = {
        ...commonValues(authorizer, current, shown),
        namespaceObject: namespaceObjectOf(matcher, current),
        params: param ?? null,
      };
      return { ...given, variables: new VariableValues(policy.variables, given, budget) };
    };
    // Upstream does not show conditions the namespace.
    const held = conditionsHold(policy.conditions, { ...valuesFor(), namespaceObject: null });
    if (held.error !== undefined) return { object: current.object, errors: [held.error] };
    if (!held.matches) return undefined;
    for (const { patchType, expression } of policy.mutations) {
      const outcome = evaluateExpression(expression, valuesFor(), budget);
      if ('error' in outcome) {
        errors.push(outcome.error);
        continue;
      }
      try {
        const changed =
          patchType === 'JSONPatch'
            ? patched(shown.object, outcome.value)
            : applied(shown, outcome.value, typeOf(options.schemas, shown.kind));
        if (changed === shown.object) continue;
        const object = changedObject(decoder, current, { match, changed });
        current = { ...current, object };
        shown = shownOf(current, { ...match, object: match.kind.storedAs?.fromStored(object) ?? object });
      } catch (err) {
        if (!(err instanceof MutationError)) throw err;
        errors.push(err.message);
      }
    }
    return { object: current.object, errors };
  }

  async function runAgain(
    request: AdmissionRequest,
    first: ReturnType<typeof run>,
    again: (object: KubeObject) => Promise<KubeObject>,
  ): Promise<KubeObject> {
    const object = await again(first.object);
    const eager = policies().filter((policy) => policy.isReinvoked && first.invoked.has(policy));
    return eager.length === 0 ? object : run({ ...request, object }, eager).object;
  }

  return {
    name: 'MutatingAdmissionPolicy',
    subresources: 'all',
    isIdle: () => policies().length === 0,
    appliesTo: (kind, operation, subresource) =>
      (operation === 'create' || operation === 'update') &&
      !isAdmissionConfiguration(kind) &&
      subresource !== 'scale' &&
      !bodyIsOther(kind, subresource),
    admit(request, again) {
      if (isApiServer(request.user)) return request.object;
      if (request.isAgain === true) {
        const eager = policies().filter(({ isReinvoked }) => isReinvoked);
        return eager.length === 0 ? request.object : run(request, eager).object;
      }
      const first = run(request, policies());
      return first.object === request.object ? request.object : runAgain(request, first, again);
    },
  };
}

interface Outcome {
  readonly object: KubeObject;
  readonly errors: readonly string[];
}

const shownOf = (request: AdmissionRequest, match: Match): Match =>
  request.operation === 'create' && request.subresource === ''
    ? { ...match, object: withoutSystemFields(match.object, request.isGenerated) }
    : match;

interface Failure {
  readonly policy: MutatingPolicy;
  readonly binding: AdmissionPolicyBinding;
  readonly message: string;
}

function refusal(first: Failure, failures: readonly Failure[], { kind, name }: AdmissionRequest): StatusError {
  const textOf = ({ policy, binding, message }: Failure): string =>
    `policy '${policy.name}' with binding '${binding.metadata.name}' denied request: ${message}`;
  const { details } = forbidden(kind, name, '');
  return new StatusError({
    code: 403,
    reason: 'Invalid',
    message: textOf(first),
    details: { ...details, causes: failures.map((failure) => ({ message: textOf(failure) })) },
  });
}

// ------------------------------------------------------------------------------------------------------------------------------ policies

export interface MutatingPolicy extends PolicyParts {
  readonly mutations: readonly { readonly patchType: string; readonly expression: Expression }[];
  /** Asked again when something changed the object after it. */
  readonly isReinvoked: boolean;
}

/** All expressions of a policy, compiled in the order in which they can name one another. */
export function compileMutatingPolicy(policy: MutatingAdmissionPolicy): MutatingPolicy {
  const { known, ...parts } = compileParts(policy);
  const { mutations = [], reinvocationPolicy } = policy.spec ?? {};
  return {
    ...parts,
    isReinvoked: reinvocationPolicy === 'IfNeeded',
    mutations: mutations.map(({ patchType, applyConfiguration, jsonPatch }) => {
      const isPatch = patchType === 'JSONPatch';
      const source = (isPatch ? jsonPatch : applyConfiguration)?.expression ?? '';
      const compiled = compileExpression(source, { variables: known, messages, functions: [escapeKey] });
      return { patchType, expression: resultingIn(isPatch ? 'list(JSONPatch)' : 'Object', compiled) };
    }),
  };
}

function resultingIn(wanted: string, expression: Expression): Expression {
  if ('error' in expression) return expression;
  const { type } = expression.program;
  if (type.kind === 'dyn' || typeName(type) === wanted || (wanted !== 'Object' && type.kind === 'list' && type.items.kind === 'dyn'))
    return expression;
  return notAnExpression(expression.source, `must evaluate to ${wanted}`);
}

const patchFields: Readonly<Record<string, CelType>> = { op: stringType, path: stringType, from: stringType, value: dynType };

/** `Object`, the parts of it by their paths (`Object.spec.template`), and the operations of a JSON patch. */
const messages: CelMessages = (name) => {
  if (name === 'JSONPatch') return (field) => (Object.hasOwn(patchFields, field) ? patchFields[field] : undefined);
  return name === 'Object' || name.startsWith('Object.') ? () => dynType : undefined;
};

const escapeKey = fn('jsonpatch.escapeKey', 'string', 'string', ([key]) => String(key).replaceAll('~', '~0').replaceAll('/', '~1'));

// ------------------------------------------------------------------------------------------------------------------------------- patches

/** The expression came to something that cannot be done to the object. */
class MutationError extends Error {}

/** A `test` that fails leaves the object as it is. */
function patched(object: KubeObject, value: unknown): KubeObject {
  if (!(value instanceof CelList)) throw new MutationError('type mismatch: JSONPatchType.expression should evaluate to array');
  const operations = value.values().map((item) => {
    if (!(item instanceof CelMessage) || item.name !== 'JSONPatch') {
      throw new MutationError('type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch');
    }
    checkNames(item.get('value'), undefined);
    return toJson(item) as { readonly op?: string };
  });
  try {
    return applyJsonPatch(object, operations) as KubeObject;
  } catch (err) {
    if (!isStatusError(err)) throw err;
    const why = err.cause instanceof Error ? err.cause.message : err.message;
    const at = /^operation (\d+):/.exec(why)?.[1];
    if (at !== undefined && operations[Number(at)]?.op === 'test') return object;
    throw new MutationError(`JSONPath: ${why}`);
  }
}

/** Server-side apply without owners: the configuration wins, and what it does not name stays. */
function applied({ kind, object }: Match, value: unknown, type: Type): KubeObject {
  if (!(value instanceof CelMessage) || value.name !== 'Object') {
    throw new MutationError(`unsupported return type from ApplyConfiguration expression: ${apiVersionOf(kind)}, Kind=${kind.kind}`);
  }
  checkNames(value, 'Object');
  const patch = { ...(toJson(value) as object), apiVersion: apiVersionOf(kind), kind: kind.kind };
  const errors = typeErrors(patch, type);
  if (errors.length > 0) {
    throw new MutationError(`error applying patch: failed to convert patch object to typed object: ${errors.join(', ')}`);
  }
  const atomics = atomicsIn(patch, type, '');
  if (atomics.length > 0) {
    const why = `may not mutate atomic arrays, maps or structs: ${atomics.join(', ')}`;
    throw new MutationError(`error applying patch: invalid ApplyConfiguration: ${why}`);
  }
  return mergeApplied(object, patch, type) as KubeObject;
}

/** A part of an object has the name of its place, so that a part of another kind is noticed. Lists and maps between have none. */
function checkNames(value: unknown, path: string | undefined): void {
  if (value instanceof CelMessage) {
    const expected = path ?? value.name;
    if (value.name !== expected) {
      const given = JSON.stringify(value.name);
      throw new MutationError(
        `type mismatch: unexpected type name ${given}, expected ${JSON.stringify(expected)}, which matches field name path from root Object type`,
      );
    }
    for (const field of value.keys()) checkNames(value.get(field), `${expected}.${String(field)}`);
  } else if (value instanceof CelList) for (const item of value.values()) checkNames(item, path);
  else if (isMap(value)) for (const key of value.keys()) checkNames(value.get(key), path);
}

/** Lists the paths that an apply would replace as a whole, though the configuration may name a part of each only. */
function atomicsIn(value: unknown, type: Type, path: string): readonly string[] {
  if (Array.isArray(value)) {
    const { list } = type;
    if (list === undefined) return [];
    const inside = value.flatMap((item, index) => atomicsIn(item, list.element, `${path}[${index}]`));
    return list.relation === 'atomic' ? [path, ...inside] : inside;
  }
  if (typeof value !== 'object' || value === null) return [];
  const { map } = type;
  if (map === undefined) return [];
  const inside = Object.entries(value).flatMap(([name, member]) => {
    const of = memberType(map, name);
    return of === undefined ? [] : atomicsIn(member, of, `${path}.${name}`);
  });
  return map.isAtomic ? [path, ...inside] : inside;
}

/** Compiled once a kind; custom kinds bring their own schema. */
const typeOf = (schemas: SchemaSet, { schemas: own, schemaName }: KindDefinition): Type =>
  objectTypeOf(schemas, own?.[schemaName] ?? schemas[schemaName] ?? {});

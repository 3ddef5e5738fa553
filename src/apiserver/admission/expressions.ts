import { type CelBudget, type CelProgram, compileCel } from '../../machinery/cel/cel.ts';
import type { CelFunction, CelMessages } from '../../machinery/cel/compiler.ts';
import { CelCompileError, CelCostError, CelEvaluationError } from '../../machinery/cel/errors.ts';
import { boolType, type CelType, dynType, intType, listOf, mapOf, objectOf, recordOf, stringType } from '../../machinery/cel/types.ts';
import { CelOpaque, LiteralMap } from '../../machinery/cel/values.ts';
import { parseFieldSelector, parseLabelSelector } from '../../machinery/selector.ts';
import { isStatusError } from '../../machinery/status-error.ts';
import type { Authorizer } from '../authorizer.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';
import type { AdmissionRequest } from './admission.ts';
import { reviewRequestOf } from './admission-review.ts';
import type { Match } from './match.ts';

/**
 * Variables of admission expressions: the object, the request and, through `authorizer`, the permissions of its user.
 *
 * @see Kubernetes reference, "Validating Admission Policy", "Common Expression Language in Kubernetes"
 */

/** An expression ready to run, or why it is not one: in the words for whoever writes it, for whoever meets it later, and alone. */
export type Expression =
  | { readonly source: string; readonly program: CelProgram }
  | { readonly source: string; readonly complaint: string; readonly error: string; readonly report: string };

export type Outcome = { readonly value: unknown } | { readonly error: string };

const resourceCheckType = objectOf('kubernetes.authorization.ResourceCheck', {});
const authorizerType = objectOf('kubernetes.authorization.Authorizer', { requestResource: resourceCheckType });
const pathCheckType = objectOf('kubernetes.authorization.PathCheck', {});
const groupCheckType = objectOf('kubernetes.authorization.GroupCheck', {});
const decisionType = objectOf('kubernetes.authorization.Decision', {});

const textsType = listOf(stringType);
const gvkType = objectOf('kubernetes.GroupVersionKind', { group: stringType, version: stringType, kind: stringType });
const gvrType = objectOf('kubernetes.GroupVersionResource', { group: stringType, version: stringType, resource: stringType });
const requestType = recordOf('kubernetes.AdmissionRequest', {
  kind: gvkType,
  resource: gvrType,
  subResource: stringType,
  requestKind: gvkType,
  requestResource: gvrType,
  requestSubResource: stringType,
  name: stringType,
  namespace: stringType,
  operation: stringType,
  userInfo: objectOf('kubernetes.UserInfo', {
    username: stringType,
    uid: stringType,
    groups: textsType,
    extra: mapOf(stringType, textsType),
  }),
  dryRun: boolType,
  options: dynType,
});

const timestampType: CelType = { kind: 'timestamp' };
const namespaceType = objectOf('kubernetes.Namespace', {
  metadata: recordOf('kubernetes.NamespaceMetadata', {
    name: stringType,
    generateName: stringType,
    namespace: stringType,
    labels: mapOf(stringType, stringType),
    annotations: mapOf(stringType, stringType),
    UID: stringType,
    creationTimestamp: timestampType,
    deletionGracePeriodSeconds: intType,
    deletionTimestamp: timestampType,
    generation: intType,
    resourceVersion: stringType,
    finalizers: textsType,
  }),
  spec: objectOf('kubernetes.NamespaceSpec', { finalizers: textsType }),
  status: objectOf('kubernetes.NamespaceStatus', {
    conditions: listOf(
      objectOf('kubernetes.NamespaceCondition', {
        status: stringType,
        type: stringType,
        lastTransitionTime: timestampType,
        message: stringType,
        reason: stringType,
      }),
    ),
    phase: stringType,
  }),
});

/** Declared everywhere; more is added by whoever compiles. */
const commonVariables: Readonly<Record<string, CelType>> = {
  object: dynType,
  oldObject: dynType,
  request: requestType,
  namespaceObject: namespaceType,
  authorizer: authorizerType,
};

export interface CompileOptions {
  /** Besides those that are declared everywhere, or in place of them. */
  readonly variables?: Readonly<Record<string, CelType>>;
  readonly result?: CelType['kind'];
  /** Messages that it may write down, and functions for what they hold. */
  readonly messages?: CelMessages;
  readonly functions?: readonly CelFunction[];
}

export function compileExpression(source: string, { variables = {}, result, messages, functions = [] }: CompileOptions): Expression {
  try {
    const program = compileCel(source, {
      variables: { ...commonVariables, ...variables },
      functions: functions.length === 0 ? authorizerFunctions : [...authorizerFunctions, ...functions],
      messages,
      ...(result === undefined ? {} : { result }),
    });
    return { source, program };
  } catch (err) {
    if (!(err instanceof CelCompileError)) throw err;
    return notAnExpression(source, err.message);
  }
}

/** @param report  why it cannot be used */
export function notAnExpression(source: string, report: string): Expression {
  const complaint = report.startsWith('ERROR: ') ? `compilation failed: ${report}` : report;
  return { source, complaint, error: `compilation error: ${complaint}`, report };
}

/** The value, or the error in the words of the real server. */
export function evaluateExpression(expression: Expression, variables: Readonly<Record<string, unknown>>, budget?: CelBudget): Outcome {
  if ('error' in expression) return { error: expression.error };
  try {
    return { value: expression.program.evaluate(variables, budget) };
  } catch (err) {
    if (err instanceof CelCostError || err instanceof CelEvaluationError) {
      return { error: `expression '${expression.source}' resulted in error: ${err.message}` };
    }
    throw err;
  }
}

/** Values of the variables that are declared everywhere. */
export function commonValues(
  authorizer: Pick<Authorizer, 'decide'>,
  request: AdmissionRequest,
  match: Match,
): Readonly<Record<string, unknown>> {
  const { object: _, oldObject: __, uid: ___, ...told } = reviewRequestOf(request, match, '');
  return {
    object: request.operation === 'delete' ? null : match.object,
    oldObject: match.before ?? null,
    namespaceObject: null,
    request: told,
    authorizer: new AuthorizerValue({ authorizer, user: request.user, request, match }),
  };
}

/** A map whose values are found when they are asked for. */
export abstract class LazyMap extends LiteralMap {
  abstract find(key: string): unknown;

  override has(key: unknown): boolean {
    return typeof key === 'string' && this.find(key) !== undefined;
  }

  override get(key: unknown): unknown {
    return typeof key === 'string' ? this.find(key) : undefined;
  }
}

// --------------------------------------------------------------------------------------------------------------------------- authorizer

interface Asker {
  readonly authorizer: Pick<Authorizer, 'decide'>;
  readonly user: UserInfo;
  readonly request: AdmissionRequest;
  readonly match: Match;
}

/** `authorizer`: checks its user, or a service account that the expression names. */
class AuthorizerValue extends LazyMap {
  readonly asker: Asker;

  constructor(asker: Asker) {
    super();
    this.asker = asker;
  }

  find(key: string): unknown {
    if (key !== 'requestResource') return undefined;
    const { kind } = this.asker.match;
    const { subresource, namespace, name } = this.asker.request;
    const { group, version, resource } = kind;
    return new ResourceCheck(this.asker, { group, version, resource, subresource, namespace, name });
  }
}

type Attributes = Omit<RequestAttributes, 'verb'>;

class GroupCheck extends CelOpaque {
  readonly asker: Asker;
  readonly group: string;

  constructor(asker: Asker, group: string) {
    super();
    this.asker = asker;
    this.group = group;
  }
}

class ResourceCheck extends CelOpaque {
  readonly asker: Asker;
  readonly attributes: Attributes;

  constructor(asker: Asker, attributes: Attributes) {
    super();
    this.asker = asker;
    this.attributes = attributes;
  }

  with(more: Attributes): ResourceCheck {
    return new ResourceCheck(this.asker, { ...this.attributes, ...more });
  }

  check(verb: string): CheckResult {
    const { authorizer, user } = this.asker;
    return new CheckResult(authorizer.decide(user, { ...this.attributes, verb }));
  }
}

class CheckResult extends CelOpaque {
  readonly allowed: boolean;
  readonly reason: string;

  constructor({ allowed, reason }: { readonly allowed: boolean; readonly reason: string }) {
    super();
    this.allowed = allowed;
    this.reason = reason;
  }
}

const groupsOfServiceAccounts = (namespace: string): readonly string[] => [
  'system:serviceaccounts',
  `system:serviceaccounts:${namespace}`,
  'system:authenticated',
];

const nothingOfThatName = (name: string): CelEvaluationError => new CelEvaluationError(`no such overload: ${name}`);

interface Method<T> {
  readonly on: CelType;
  readonly value: new (...args: never[]) => T;
  /** Number of string arguments. */
  readonly args: number;
  readonly result: CelType;
  run(receiver: T, ...args: readonly string[]): unknown;
}

function method<T>(name: string, { on, value, args, result, run }: Method<T>): CelFunction {
  return {
    name,
    member: true,
    args: [on, ...Array.from({ length: args }, () => stringType)],
    result,
    run: ([receiver, ...given]) => {
      if (!(receiver instanceof value)) throw nothingOfThatName(name);
      return run(receiver, ...(given as readonly string[]));
    },
  };
}

const onAuthorizer = { on: authorizerType, value: AuthorizerValue } as const;
const onResource = { on: resourceCheckType, value: ResourceCheck, args: 1, result: resourceCheckType } as const;
const onDecision = { on: decisionType, value: CheckResult, args: 0 } as const;
const checks = {
  value: ResourceCheck,
  args: 1,
  result: decisionType,
  run: (check: ResourceCheck, verb = '') => check.check(verb),
} as const;

/** A selector that cannot be read selects nothing that could be allowed, so it is left out, as upstream does. */
function readable(text: string, read: (text: string) => unknown): string | undefined {
  try {
    read(text);
    return text;
  } catch (err) {
    if (isStatusError(err)) return undefined;
    throw err;
  }
}

const authorizerFunctions: readonly CelFunction[] = [
  method('path', {
    ...onAuthorizer,
    args: 1,
    result: pathCheckType,
    run({ asker }, path = '') {
      if (path === '') throw new CelEvaluationError('path must not be empty');
      return new ResourceCheck(asker, { path });
    },
  }),
  method('serviceAccount', {
    ...onAuthorizer,
    args: 2,
    result: authorizerType,
    run({ asker }, namespace = '', name = '') {
      const user = { name: `system:serviceaccount:${namespace}:${name}`, groups: groupsOfServiceAccounts(namespace) };
      return new AuthorizerValue({ ...asker, user });
    },
  }),
  method('group', { ...onAuthorizer, args: 1, result: groupCheckType, run: ({ asker }, group = '') => new GroupCheck(asker, group) }),
  method('resource', {
    on: groupCheckType,
    value: GroupCheck,
    args: 1,
    result: resourceCheckType,
    run({ asker, group }, resource = '') {
      if (resource === '') throw new CelEvaluationError('resource must not be empty');
      return new ResourceCheck(asker, { group, version: '*', resource });
    },
  }),
  method('subresource', { ...onResource, run: (check, subresource = '') => check.with({ subresource }) }),
  method('namespace', { ...onResource, run: (check, namespace = '') => check.with({ namespace }) }),
  method('name', { ...onResource, run: (check, name = '') => check.with({ name }) }),
  method('fieldSelector', {
    ...onResource,
    run: (check, text = '') => check.with({ fieldSelector: readable(text, parseFieldSelector) }),
  }),
  method('labelSelector', {
    ...onResource,
    run(check, text = '') {
      readable(text, parseLabelSelector);
      return check;
    },
  }),
  method('check', { on: resourceCheckType, ...checks }),
  method('check', { on: pathCheckType, ...checks }),
  method('allowed', { ...onDecision, result: boolType, run: ({ allowed }) => allowed }),
  method('reason', { ...onDecision, result: stringType, run: ({ reason }) => reason }),
  method('errored', { ...onDecision, result: boolType, run: () => false }),
  method('error', { ...onDecision, result: stringType, run: () => '' }),
];

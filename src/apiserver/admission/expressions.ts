import { type CelBudget, type CelProgram, compileCel } from '../../machinery/cel/cel.ts';
import type { CelFunction } from '../../machinery/cel/compiler.ts';
import { CelCompileError, CelCostError, CelEvaluationError } from '../../machinery/cel/errors.ts';
import { boolType, type CelType, dynType, objectOf, stringType } from '../../machinery/cel/types.ts';
import { LiteralMap } from '../../machinery/cel/values.ts';
import { parseFieldSelector, parseLabelSelector } from '../../machinery/selector.ts';
import { isStatusError } from '../../machinery/status-error.ts';
import type { Authorizer } from '../authorizer.ts';
import type { RequestAttributes } from '../service.ts';
import type { UserInfo } from '../user.ts';
import type { AdmissionRequest } from './admission.ts';
import { reviewRequestOf } from './admission-review.ts';
import type { Match } from './match.ts';

/**
 * What expressions of admission can name: the object, the request and, through `authorizer`, what its user may do.
 *
 * @see Kubernetes reference, "Validating Admission Policy", "Common Expression Language in Kubernetes"
 */

/** An expression ready to run, or why it is not one: in the words for whoever writes it, and for whoever meets it later. */
export type Expression =
  | { readonly source: string; readonly program: CelProgram }
  | { readonly source: string; readonly complaint: string; readonly error: string };

export type Outcome = { readonly value: unknown } | { readonly error: string };

const authorizerType = objectOf('kubernetes.authorization.Authorizer', { requestResource: dynType });

/** Declared everywhere; more is added by whoever compiles. */
const commonVariables: Readonly<Record<string, CelType>> = {
  object: dynType,
  oldObject: dynType,
  request: dynType,
  authorizer: authorizerType,
};

export interface CompileOptions {
  readonly variables?: Readonly<Record<string, CelType>>;
  readonly result?: CelType['kind'];
}

export function compileExpression(source: string, { variables = {}, result }: CompileOptions): Expression {
  try {
    const program = compileCel(source, {
      variables: { ...commonVariables, ...variables },
      functions: authorizerFunctions,
      ...(result === undefined ? {} : { result }),
    });
    return { source, program };
  } catch (err) {
    if (!(err instanceof CelCompileError)) throw err;
    const complaint = err.message.startsWith('ERROR: ') ? `compilation failed: ${err.message}` : err.message;
    return { source, complaint, error: `compilation error: ${complaint}` };
  }
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

/** `authorizer`: asks for its user, or for a service account that it is told. */
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

class GroupCheck {
  readonly asker: Asker;
  readonly group: string;

  constructor(asker: Asker, group: string) {
    this.asker = asker;
    this.group = group;
  }
}

class ResourceCheck {
  readonly asker: Asker;
  readonly attributes: Attributes;

  constructor(asker: Asker, attributes: Attributes) {
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

class CheckResult {
  readonly allowed: boolean;
  readonly reason: string;

  constructor({ allowed, reason }: { readonly allowed: boolean; readonly reason: string }) {
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

function methodOn<T>(
  name: string,
  type: new (...args: never[]) => T,
  args: number,
  result: CelType,
  run: (receiver: T, ...args: readonly string[]) => unknown,
): CelFunction {
  return {
    name,
    member: true,
    args: [dynType, ...Array.from({ length: args }, () => stringType)],
    result,
    run: ([receiver, ...given]) => {
      if (!(receiver instanceof type)) throw nothingOfThatName(name);
      return run(receiver, ...(given as readonly string[]));
    },
  };
}

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
  methodOn('path', AuthorizerValue, 1, dynType, ({ asker }, path = '') => {
    if (path === '') throw new CelEvaluationError('path must not be empty');
    return new ResourceCheck(asker, { path });
  }),
  methodOn('serviceAccount', AuthorizerValue, 2, dynType, ({ asker }, namespace = '', name = '') => {
    const user = { name: `system:serviceaccount:${namespace}:${name}`, groups: groupsOfServiceAccounts(namespace) };
    return new AuthorizerValue({ ...asker, user });
  }),
  methodOn('group', AuthorizerValue, 1, dynType, ({ asker }, group = '') => new GroupCheck(asker, group)),
  methodOn('resource', GroupCheck, 1, dynType, ({ asker, group }, resource = '') => {
    if (resource === '') throw new CelEvaluationError('resource must not be empty');
    return new ResourceCheck(asker, { group, version: '*', resource });
  }),
  methodOn('subresource', ResourceCheck, 1, dynType, (check, subresource = '') => check.with({ subresource })),
  methodOn('namespace', ResourceCheck, 1, dynType, (check, namespace = '') => check.with({ namespace })),
  methodOn('name', ResourceCheck, 1, dynType, (check, name = '') => check.with({ name })),
  methodOn('fieldSelector', ResourceCheck, 1, dynType, (check, text = '') =>
    check.with({ fieldSelector: readable(text, parseFieldSelector) }),
  ),
  methodOn('labelSelector', ResourceCheck, 1, dynType, (check, text = '') => {
    readable(text, parseLabelSelector);
    return check;
  }),
  methodOn('check', ResourceCheck, 1, dynType, (check, verb = '') => check.check(verb)),
  methodOn('allowed', CheckResult, 0, boolType, ({ allowed }) => allowed),
  methodOn('reason', CheckResult, 0, stringType, ({ reason }) => reason),
  methodOn('errored', CheckResult, 0, boolType, () => false),
  methodOn('error', CheckResult, 0, stringType, () => ''),
];

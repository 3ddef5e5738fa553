import { BoundedMap } from '../../base/bounded-map.ts';
import { parseFieldSelector } from '../../machinery/selector.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { UserInfo } from '../user.ts';
import type { Grant, RuleIndex } from './rule-index.ts';
import { allowsPath, allowsResource } from './rules.ts';

export interface Decision {
  readonly allowed: boolean;
  /** The binding that allowed it, or the error of the search; may be empty. */
  readonly reason: string;
}

/** Authorizes by roles and bindings. The rules of a user are cached until a role or binding changes. */
export interface RbacAuthorizer {
  decide(user: UserInfo, attributes: RequestAttributes): Decision;
}

/** Answers for one kind of access in one place, whatever the object is called. */
interface Answer {
  /** Allowed for every name. */
  readonly all: Decision | undefined;
  readonly byName: ReadonlyMap<string, Decision>;
  readonly denied: Decision;
}

interface Remembered {
  readonly revision: number;
  readonly answers: Map<string, Answer>;
}

/** Answers kept for a user; at the bound all are forgotten, which costs microseconds each. */
const maxAnswers = 2_000;
const noNames: ReadonlyMap<string, Decision> = new Map();
const plainDenial: Decision = { allowed: false, reason: '' };

export function createRbacAuthorizer(index: RuleIndex): RbacAuthorizer {
  // By identity: a connection, a token and a component each have one user object.
  const remembered = new WeakMap<UserInfo, Remembered>();

  function answersOf(user: UserInfo): Map<string, Answer> {
    const known = remembered.get(user);
    if (known !== undefined && known.revision === index.revision) return known.answers;
    const answers = new BoundedMap<string, Answer>(maxAnswers);
    remembered.set(user, { revision: index.revision, answers });
    return answers;
  }

  return {
    decide(user, attributes) {
      const { verb, group = '', resource = '', subresource = '', path } = attributes;
      const namespace = namespaceOf(attributes);
      const key = path === undefined ? `${verb}\n${group}\n${resource}\n${subresource}\n${namespace}` : `${verb}\n${path}`;
      const answers = answersOf(user);
      let answer = answers.get(key);
      if (answer === undefined) {
        const grants = index.grantsOf(user, path === undefined ? namespace : '');
        answer = path === undefined ? resourceAnswer(grants, { verb, group, resource, subresource }) : pathAnswer(grants, verb, path);
        answers.set(key, answer);
      }
      if (answer.all !== undefined) return answer.all;
      if (answer.byName.size === 0) return answer.denied;
      return answer.byName.get(nameOf(attributes)) ?? answer.denied;
    },
  };
}

function resourceAnswer(
  grants: readonly Grant[],
  access: { readonly verb: string; readonly group: string; readonly resource: string; readonly subresource: string },
): Answer {
  let byName: Map<string, Decision> | undefined;
  for (const grant of grants) {
    for (const rule of grant.rules) {
      if (!allowsResource(rule, access)) continue;
      const { resourceNames = [] } = rule;
      if (resourceNames.length === 0) return { all: allowedBy(grant), byName: noNames, denied: plainDenial };
      byName ??= new Map();
      for (const name of resourceNames) if (!byName.has(name)) byName.set(name, allowedBy(grant));
    }
  }
  return { all: undefined, byName: byName ?? noNames, denied: denialOf(grants) };
}

function pathAnswer(grants: readonly Grant[], verb: string, path: string): Answer {
  const grant = grants.find(({ rules }) => rules.some((rule) => allowsPath(rule, verb, path)));
  return { all: grant === undefined ? undefined : allowedBy(grant), byName: noNames, denied: denialOf(grants) };
}

const allowedBy = ({ origin }: Grant): Decision => ({ allowed: true, reason: `RBAC: allowed by ${origin}` });

/** A binding to a role that is not there may be why. */
function denialOf(grants: readonly Grant[]): Decision {
  const missing = [...new Set(grants.flatMap((grant) => (grant.missing === undefined ? [] : [grant.missing])))];
  if (missing.length === 0) return plainDenial;
  return { allowed: false, reason: `RBAC: ${missing.length === 1 ? missing[0] : `[${missing.join(', ')}]`}` };
}

/** A Namespace is in itself: a role there may speak of it. */
const namespaceOf = ({ group = '', resource, namespace = '', name = '' }: RequestAttributes): string =>
  namespace === '' && group === '' && resource === 'namespaces' ? name : namespace;

/** A list or watch of one object by its name counts as being about that object. */
function nameOf({ name = '', fieldSelector = '' }: RequestAttributes): string {
  if (name !== '' || fieldSelector === '') return name;
  try {
    return parseFieldSelector(fieldSelector).exactValueOf('metadata.name') ?? '';
  } catch {
    // An unreadable selector matches nothing; validation reports the error when the client lists.
    return '';
  }
}

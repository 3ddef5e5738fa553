import type { SelfSubjectReview } from '../../api/authentication/v1/self-subject-review.ts';
import { selfSubjectReviews } from '../../api/authentication/v1/self-subject-review.ts';
import { type TokenReview, tokenReviews } from '../../api/authentication/v1/token-review.ts';
import { type LocalSubjectAccessReview, localSubjectAccessReviews } from '../../api/authorization/v1/local-subject-access-review.ts';
import { type SelfSubjectAccessReview, selfSubjectAccessReviews } from '../../api/authorization/v1/self-subject-access-review.ts';
import { type SelfSubjectRulesReview, selfSubjectRulesReviews } from '../../api/authorization/v1/self-subject-rules-review.ts';
import { type SubjectAccessReview, subjectAccessReviews } from '../../api/authorization/v1/subject-access-review.ts';
import { invalidValue } from '../../api/field-errors.ts';
import type { PolicyRule } from '../../api/rbac/v1/policy-rule.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { groupResourceOf } from '../../machinery/resource.ts';
import { badRequest, type FieldError, invalid } from '../../machinery/status-error.ts';
import type { TokenAuthenticator } from '../authentication/token-authenticator.ts';
import type { Authorizer } from '../authorizer.ts';
import type { RequestAttributes } from '../kube-api.ts';
import type { RuleIndex } from '../rbac/rule-index.ts';
import type { UserInfo } from '../user.ts';

/** Answers the kinds that are questions. */
export interface Reviews {
  /** The object with its status filled in. @throws StatusError `Invalid` for a question that asks for nothing */
  answer(kind: KindDefinition, question: Question): Promise<KubeObject>;
}

interface Question {
  readonly user: UserInfo;
  readonly namespace: string | undefined;
  /** Decoded. */
  readonly object: KubeObject;
}

export interface ReviewsOptions {
  readonly authorizer: Authorizer;
  readonly ruleIndex: RuleIndex;
  readonly tokens: TokenAuthenticator;
  readonly clock: Clock;
}

type Answerer = (question: Question) => KubeObject | Promise<KubeObject>;

export function createReviews({ authorizer, ruleIndex, tokens, clock }: ReviewsOptions): Reviews {
  const statusOf = (user: UserInfo, spec: AccessSpec): SubjectAccessReview['status'] => {
    const { allowed, reason } = authorizer.decide(user, attributesOf(spec));
    const evaluationError = evaluationErrorOf(spec);
    return { allowed, ...(reason === '' ? {} : { reason }), ...(evaluationError === undefined ? {} : { evaluationError }) };
  };

  const answerers: readonly (readonly [KindDefinition, Answerer])[] = [
    [
      selfSubjectAccessReviews,
      ({ user, object }) => {
        const { spec, ...rest } = object as SelfSubjectAccessReview;
        refuseUnless(accessErrors(spec ?? {}));
        return { ...rest, spec, status: statusOf(user, spec) } as SelfSubjectAccessReview;
      },
    ],
    [
      subjectAccessReviews,
      ({ object }) => {
        const { spec, ...rest } = object as SubjectAccessReview;
        refuseUnless([...accessErrors(spec ?? {}), ...subjectErrors(spec ?? {})]);
        return { ...rest, spec, status: statusOf(subjectOf(spec), spec) } as SubjectAccessReview;
      },
    ],
    [
      localSubjectAccessReviews,
      ({ object, namespace = '' }) => {
        const { spec, ...rest } = object as LocalSubjectAccessReview;
        refuseUnless([...accessErrors(spec ?? {}), ...subjectErrors(spec ?? {}), ...localErrors(spec ?? {}, namespace)]);
        const metadata = { ...rest.metadata, namespace };
        return { ...rest, metadata, spec, status: statusOf(subjectOf(spec), spec) } as LocalSubjectAccessReview;
      },
    ],
    [
      selfSubjectRulesReviews,
      ({ user, object }) => {
        const { spec, ...rest } = object as SelfSubjectRulesReview;
        const namespace = spec?.namespace ?? '';
        if (namespace === '') throw badRequest('no namespace on request');
        return { ...rest, spec: {}, status: rulesStatusOf(user, namespace) } as unknown as SelfSubjectRulesReview;
      },
    ],
    [
      selfSubjectReviews,
      ({ user, object }) => {
        const { status: _, ...rest } = object as SelfSubjectReview;
        const metadata = { ...rest.metadata, creationTimestamp: timestampOf(clock.now()) };
        return { ...rest, metadata, status: { userInfo: userInfoOf(user) } } as SelfSubjectReview;
      },
    ],
    [
      tokenReviews,
      async ({ object }) => {
        const { spec, ...rest } = object as TokenReview;
        const token = spec?.token ?? '';
        if (token === '') throw badRequest('token is required for TokenReview in authentication');
        const asked = spec?.audiences ?? [];
        const found = await tokens.authenticate(token, asked.length === 0 ? undefined : asked);
        const status =
          found === undefined
            ? { user: {}, error: 'invalid bearer token' }
            : { authenticated: true, user: userInfoOf(found.user), audiences: found.audiences };
        return { ...rest, spec, status } as unknown as TokenReview;
      },
    ],
  ];
  const byResource = new Map(answerers.map(([kind, answer]) => [groupResourceOf(kind), answer]));

  function rulesStatusOf(user: UserInfo, namespace: string): SelfSubjectRulesReview['status'] {
    const grants = ruleIndex.grantsOf(user, namespace);
    const rules = grants.flatMap((grant) => grant.rules);
    const missing = grants.flatMap((grant) => (grant.missing === undefined ? [] : [grant.missing]));
    // The rights of a node depend on its pods, so there is no list of rules for it.
    const isNode = user.groups.includes('system:nodes') && user.name.startsWith('system:node:');
    const errors = [...missing, ...(isNode ? ['node authorizer does not support user rule resolution'] : [])];
    return {
      resourceRules: rules.filter((rule) => (rule.resources ?? []).length > 0).map(resourceRuleOf),
      nonResourceRules: rules
        .filter(({ nonResourceURLs = [] }) => nonResourceURLs.length > 0)
        .map(({ verbs, nonResourceURLs = [] }) => ({ verbs, nonResourceURLs })),
      incomplete: errors.length > 0,
      ...(errors.length === 0 ? {} : { evaluationError: errors.join(', ') }),
    };
  }

  return {
    async answer(kind, question) {
      const answer = byResource.get(groupResourceOf(kind));
      if (answer === undefined) throw new Error(`nobody answers ${groupResourceOf(kind)}`);
      return answer(question);
    },
  };
}

const resourceRuleOf = ({ verbs, apiGroups = [], resources = [], resourceNames = [] }: PolicyRule) => ({
  verbs,
  apiGroups,
  resources,
  ...(resourceNames.length === 0 ? {} : { resourceNames }),
});

const userInfoOf = ({ name, uid, groups, extra }: UserInfo) => ({
  username: name,
  ...(uid === undefined ? {} : { uid }),
  ...(groups.length === 0 ? {} : { groups }),
  ...(extra === undefined ? {} : { extra }),
});

type AccessSpec = SelfSubjectAccessReview['spec'];
type SubjectSpec = SubjectAccessReview['spec'];

function attributesOf({ resourceAttributes, nonResourceAttributes }: AccessSpec): RequestAttributes {
  if (resourceAttributes === undefined || resourceAttributes === null) {
    const { verb = '', path = '' } = nonResourceAttributes ?? {};
    return { verb, path };
  }
  const { verb = '', group = '', version = '', resource = '', subresource, namespace, name } = resourceAttributes;
  const { fieldSelector } = resourceAttributes as { readonly fieldSelector?: { readonly rawSelector?: string } };
  return { verb, group, version, resource, subresource, namespace, name, fieldSelector: fieldSelector?.rawSelector };
}

const subjectOf = ({ user = '', groups = [], uid, extra }: SubjectSpec): UserInfo => ({
  name: user,
  groups,
  ...(uid === undefined ? {} : { uid }),
  ...(extra === undefined ? {} : { extra }),
});

/** As the real server holds it, which it shows. */
const heldPath = (given: AccessSpec['nonResourceAttributes']): object => ({ Path: given?.path ?? '', Verb: given?.verb ?? '' });

function accessErrors({ resourceAttributes, nonResourceAttributes }: AccessSpec): readonly FieldError[] {
  const hasResource = (resourceAttributes ?? undefined) !== undefined;
  const hasPath = (nonResourceAttributes ?? undefined) !== undefined;
  if (hasResource && hasPath) {
    return [
      invalidValue(
        'spec.nonResourceAttributes',
        heldPath(nonResourceAttributes),
        'cannot be specified in combination with resourceAttributes',
      ),
    ];
  }
  if (hasResource) return selectorNames.flatMap((name) => selectorErrors(name, selectorOf(resourceAttributes, name)));
  if (hasPath) return [];
  return [invalidValue('spec.resourceAttributes', null, 'exactly one of nonResourceAttributes or resourceAttributes must be specified')];
}

const selectorNames = ['fieldSelector', 'labelSelector'] as const;
type SelectorName = (typeof selectorNames)[number];

interface Selector {
  readonly rawSelector?: string;
  readonly requirements?: readonly { readonly operator?: string }[];
}

const selectorOf = (attributes: AccessSpec['resourceAttributes'], name: SelectorName): Selector =>
  (attributes as Partial<Record<SelectorName, Selector | null>> | undefined)?.[name] ?? {};

function selectorErrors(name: SelectorName, { rawSelector = '', requirements = [] }: Selector): readonly FieldError[] {
  const field = `spec.resourceAttributes.${name}.rawSelector`;
  const isBoth = rawSelector !== '' && requirements.length > 0;
  return isBoth ? [invalidValue(field, rawSelector, 'may not specified at the same time as requirements')] : [];
}

const operators: readonly unknown[] = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

/** Says which selector counts as absent because it cannot be read; the answer is then that for all objects. */
function evaluationErrorOf({ resourceAttributes }: AccessSpec): string | undefined {
  const unread = selectorNames.filter((name) =>
    selectorOf(resourceAttributes, name).requirements?.some(({ operator }) => !operators.includes(operator)),
  );
  if (unread.length === 0) return undefined;
  return unread.map((name) => `spec.resourceAttributes.${name} ignored due to parse error`).join(', ');
}

const subjectErrors = ({ user = '', groups = [] }: SubjectSpec): readonly FieldError[] =>
  user === '' && groups.length === 0 ? [invalidValue('spec.user', '', 'at least one of user or group must be specified')] : [];

function localErrors({ resourceAttributes, nonResourceAttributes }: SubjectSpec, namespace: string): readonly FieldError[] {
  const errors: FieldError[] = [];
  const given = resourceAttributes?.namespace ?? '';
  if ((resourceAttributes ?? undefined) !== undefined && given !== namespace) {
    errors.push(invalidValue('spec.resourceAttributes.namespace', given, 'must match metadata.namespace'));
  }
  if ((nonResourceAttributes ?? undefined) !== undefined) {
    errors.push(invalidValue('spec.nonResourceAttributes', heldPath(nonResourceAttributes), 'disallowed on this kind of request'));
  }
  return errors;
}

/** The real server leaves the kind out of these. */
function refuseUnless(errors: readonly FieldError[]): void {
  if (errors.length > 0) throw invalid({ group: 'authorization.k8s.io', kind: '' }, '', errors);
}

import type { ExpressionWarning, ValidatingAdmissionPolicy } from '../../api/admissionregistration/v1/admission-policy.ts';
import { SchemaTypes } from '../../machinery/cel/schema-types.ts';
import { type CelType, dynType } from '../../machinery/cel/types.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { parseApiVersion } from '../../machinery/resource.ts';
import type { SchemaSet } from '../../machinery/schema.ts';
import type { KindTable } from '../kube-api.ts';
import { compileExpression, type Expression } from './expressions.ts';
import { variableTypes } from './policy-parts.ts';

export interface TypeCheckOptions {
  readonly kinds: Pick<KindTable, 'find' | 'findByKind'>;
  readonly schemas: SchemaSet;
}

/** Kinds of one rule that a policy is checked against; upstream's number. */
const maxTypes = 10;

/**
 * Type-checks a policy against the kinds that its rules name: unknown fields, values that do not compare. Kinds named
 * by wildcard and subresources are skipped. A warning does not change the effect of the policy.
 */
export async function typeWarnings(
  policy: ValidatingAdmissionPolicy,
  { kinds, schemas }: TypeCheckOptions,
): Promise<readonly ExpressionWarning[]> {
  const { paramKind, validations = [], variables = [] } = policy.spec ?? {};
  const typeOf = (kind: KindDefinition): CelType => {
    const types = new SchemaTypes({ ...schemas, ...kind.schemas });
    return types.typeOf({ $ref: `#/components/schemas/${kind.schemaName}` }, { isResource: false, path: kind.kind }) ?? dynType;
  };
  const { group, version } = parseApiVersion(paramKind?.apiVersion ?? '');
  const ofParams = kinds.findByKind(group, version, paramKind?.kind ?? '');
  // Parameters of a kind that is not there are not declared; the policy will say so when it is asked.
  const params = ofParams === undefined ? {} : { params: typeOf(ofParams) };
  const checkers = kindsOf(policy, kinds).map((kind) => {
    const type = typeOf(kind);
    const typed: Readonly<Record<string, CelType>> = { object: type, oldObject: type, ...params };
    const compiled = new Map<string, Expression>();
    const known = (): typeof typed => ({ ...typed, variables: variableTypes(compiled) });
    for (const { name, expression } of variables) compiled.set(name, compileExpression(expression, { variables: known() }));
    return { kind, variables: known() };
  });
  const check = (fieldRef: string, source: string): readonly ExpressionWarning[] => {
    const found = checkers.flatMap(({ kind, ...declared }) => {
      const compiled = compileExpression(source, declared);
      return 'complaint' in compiled ? [`${kind.group}/${kind.version}, Kind=${kind.kind}: ${compiled.report}\n`] : [];
    });
    return found.length === 0 ? [] : [{ fieldRef, warning: found.join('\n') }];
  };
  const warnings: ExpressionWarning[] = [];
  for (const [index, { expression, messageExpression = '' }] of validations.entries()) {
    warnings.push(...check(`spec.validations[${index}].expression`, expression));
    if (messageExpression !== '') warnings.push(...check(`spec.validations[${index}].messageExpression`, messageExpression));
    // A policy may have thousands of them, and everybody waits meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return warnings;
}

function kindsOf({ spec }: ValidatingAdmissionPolicy, kinds: TypeCheckOptions['kinds']): readonly KindDefinition[] {
  const found = new Set<KindDefinition>();
  for (const { apiGroups = [], apiVersions = [], resources = [] } of spec?.matchConstraints?.resourceRules ?? []) {
    if (apiGroups.some(isPattern) || apiVersions.some(isPattern)) continue;
    const ofRule = [...apiGroups].sort().flatMap((group) =>
      [...apiVersions].sort().flatMap((version) =>
        resources
          .filter((resource) => !isPattern(resource) && !resource.includes('/'))
          .sort()
          .map((resource) => kinds.find(group, version, resource))
          .filter((kind) => kind !== undefined),
      ),
    );
    for (const kind of ofRule.slice(0, maxTypes)) found.add(kind);
    if (ofRule.length >= maxTypes) break;
  }
  return [...found].sort((a, b) => order(a.group, b.group) || order(a.version, b.version) || order(a.kind, b.kind));
}

const isPattern = (name: string): boolean => name.includes('*');
const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

import { type Extent, worstCostOf } from '../cel/cost.ts';
import { CelCompileError } from '../cel/errors.ts';
import { openValues } from '../cel/schema-types.ts';
import { parseCel } from '../cel/syntax.ts';
import { escapeFieldName } from '../cel/types.ts';
import type { Schema } from '../schema.ts';

/**
 * Estimates the worst cost of the rules of a schema, from the bounds that it gives its values. A value without a bound is as large as a
 * request can be.
 *
 * @see Kubernetes reference, "Resource use by validation functions"
 */

/** Limits for one expression, and for all in a schema together; upstream's numbers. */
const maxExpressionCost = 10_000_000;
const maxSchemaCost = 100_000_000;

const maxRequestBytes = 3 * 1024 * 1024;

export interface CostComplaint {
  /** Undefined for what all rules cost together. */
  readonly schema: Schema | undefined;
  readonly index: number;
  readonly part: 'rule' | 'messageExpression';
  readonly message: string;
}

/** Rules that may cost too much, in upstream's words. */
export function costComplaints(root: Schema): readonly CostComplaint[] {
  const complaints: CostComplaint[] = [];
  let total = 0;
  const visit = (schema: Schema, times: number | undefined, isRoot: boolean): void => {
    const rules = schema['x-kubernetes-validations'] ?? [];
    if (rules.length > 0) {
      const { extent, minBytes } = sizeOf(schema, isRoot);
      const variables = new Map([
        ['self', extent],
        ['oldSelf', extent],
      ]);
      const turns = times ?? Math.floor(maxRequestBytes / (minBytes + 1));
      for (const [index, { rule, messageExpression = '' }] of rules.entries()) {
        // A message is made once, for the first value that breaks its rule.
        const costs = { rule: costOf(rule, variables) * turns, messageExpression: costOf(messageExpression, variables) };
        for (const part of ['rule', 'messageExpression'] as const) {
          total += costs[part];
          if (costs[part] <= maxExpressionCost) continue;
          const message = exceeding(`estimated ${part} cost`, costs[part] / maxExpressionCost);
          complaints.push({ schema, index, part, message });
        }
      }
    }
    for (const property of Object.values(schema.properties ?? {})) visit(property, times, false);
    if (schema.items !== undefined) visit(schema.items, within(times, schema.maxItems), false);
    const values = openValues(schema.additionalProperties);
    if (values !== undefined) visit(values, within(times, schema.maxProperties), false);
  };
  visit(root, 1, true);
  if (total > maxSchemaCost) {
    const what = 'x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema';
    complaints.push({ schema: undefined, index: 0, part: 'rule', message: exceeding(what, total / maxSchemaCost) });
  }
  return complaints;
}

/** Counts a value in a list or map of at most `most`, at worst; undefined for as often as a request has room for it. */
const within = (times: number | undefined, most: number | undefined): number | undefined =>
  times === undefined || most === undefined ? undefined : times * most;

function exceeding(what: string, factor: number): string {
  const shown = factor > 100 ? 'more than 100x' : `${factor.toFixed(factor < 1.5 ? 6 : 1)}x`;
  const advice = 'try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared';
  return `${what} exceeds budget by factor of ${shown} (${advice})`;
}

function costOf(expression: string, variables: ReadonlyMap<string, Extent>): number {
  if (expression.trim() === '') return 0;
  try {
    return worstCostOf(parseCel(expression), variables);
  } catch (err) {
    // One that does not compile is refused for that.
    if (err instanceof CelCompileError) return 0;
    throw err;
  }
}

interface Size {
  readonly extent: Extent;
  /** Length of its shortest JSON. */
  readonly minBytes: number;
}

const single: Size = { extent: { kind: 'single', most: 1 }, minBytes: 1 };

const textOf = (most: number): Size => ({ extent: { kind: 'text', most }, minBytes: 2 });

function sizeOf(schema: Schema, isRoot = false): Size {
  if (schema['x-kubernetes-int-or-string'] === true) return { ...textOf(maxRequestBytes - 2), minBytes: 1 };
  const { type, items, maxItems, maxProperties } = schema;
  switch (type) {
    case 'string':
      return textSize(schema);
    case 'boolean':
      return { ...single, minBytes: 4 };
    case 'array': {
      const each = items === undefined ? single : sizeOf(items);
      const most = maxItems ?? Math.floor((maxRequestBytes - 2) / (each.minBytes + 1));
      return { extent: { kind: 'list', most, items: each.extent }, minBytes: 2 };
    }
    case 'object': {
      const values = openValues(schema.additionalProperties);
      if (values === undefined) return objectSize(schema, isRoot || schema['x-kubernetes-embedded-resource'] === true);
      const each = sizeOf(values);
      // A member has a name in quotes, a colon and a comma.
      const most = maxProperties ?? Math.floor((maxRequestBytes - 2) / (each.minBytes + 6));
      return { extent: { kind: 'map', most, items: each.extent }, minBytes: 2 };
    }
    default:
      return single;
  }
}

/** A letter may take four bytes. */
function textSize({ format, maxLength, enum: choices }: Schema): Size {
  if (format === 'duration' || format === 'date' || format === 'date-time') return { ...single, minBytes: 4 };
  if (maxLength !== undefined) return textOf(Math.max(0, format === 'byte' ? maxLength : maxLength * 4));
  const longest = (choices ?? []).reduce((most: number, choice) => Math.max(most, String(choice).length), 0);
  return textOf(choices === undefined || choices.length === 0 ? maxRequestBytes - 2 : longest);
}

function objectSize({ properties = {}, required = [] }: Schema, isResource: boolean): Size {
  const fields = new Map<string, Extent>();
  let minBytes = 2;
  if (isResource) {
    const { extent } = textOf(maxRequestBytes - 2);
    const metadata = new Map([
      ['name', extent],
      ['generateName', extent],
    ]);
    fields.set('metadata', { kind: 'object', most: 0, fields: metadata }).set('kind', extent).set('apiVersion', extent);
  }
  for (const [name, property] of Object.entries(properties)) {
    if (isResource && name === 'metadata') continue;
    const size = sizeOf(property);
    const escaped = escapeFieldName(name);
    if (escaped !== undefined) fields.set(escaped, size.extent);
    if (required.includes(name) && property.default === undefined) minBytes += name.length + 4 + size.minBytes;
  }
  return { extent: { kind: 'object', most: 0, fields }, minBytes };
}

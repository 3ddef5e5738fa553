import { customResourceDefinitions } from '../api/apiextensions/v1/custom-resource-definition.ts';
import type { CustomResourceDefinition } from '../api/apiextensions/v1/definition.ts';
import { kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { receivers } from '../api/notification/v1/receiver.ts';
import { alerts } from '../api/notification/v1beta3/alert.ts';
import { providers } from '../api/notification/v1beta3/provider.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { type Clock, sleep } from '../base/clock.ts';
import { timeLimit } from '../base/time-limit.ts';
import type { Client } from '../client/client.ts';
import type { FaultOf } from '../client/informer-set.ts';
import { isConditionTrue } from '../machinery/conditions.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Schema } from '../machinery/schema.ts';

/** Flux's kinds that the engine reads; a cluster that has none of them gets ours. */
const fluxKinds = [gitRepositories, kustomizations, receivers, alerts, providers] as const;

/** Names the first fault of an object of these kinds: the cluster's definitions may be older than their checks. */
export const faultOfFluxObject: FaultOf = ({ group, resource }, object) => {
  const kind = fluxKinds.find((each) => each.group === group && each.resource === resource) as KindDefinition | undefined;
  const [error] = kind?.validate?.(object) ?? [];
  if (error === undefined) return undefined;
  // Without the engine nobody takes its finalizer away.
  const { deletionTimestamp, finalizers = [] } = object.metadata;
  const waits = deletionTimestamp !== undefined && finalizers.length > 0 ? '; its deletion waits for a correction' : '';
  return `${error.field}: ${error.message}${waits}`;
};

const establishedTimeoutMs = 30_000;
const pollMs = 200;

/**
 * Installs the definitions of those of Flux's kinds that the cluster does not serve, and waits until it serves them; gives their names.
 * Existing definitions, above all Flux's own, stay as they are.
 */
export async function installFluxDefinitions({
  client,
  clock,
  signal,
}: {
  readonly client: Client;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<readonly string[]> {
  const served = await client.discover();
  const missing = fluxKinds.filter(({ group, resource }) => !served.some((each) => each.group === group && each.resource === resource));
  const definitions = missing.map((kind) => definitionOf(kind as unknown as KindDefinition));
  for (const body of definitions) {
    await client.patch(
      customResourceDefinitions,
      { name: body.metadata.name },
      { type: 'apply', body },
      { fieldManager: 'midship-gitops', force: true },
    );
  }
  const limit = timeLimit(signal, establishedTimeoutMs);
  for (const { metadata } of definitions) {
    for (;;) {
      const { status } = await client.get(customResourceDefinitions, { name: metadata.name });
      if (isConditionTrue(status?.conditions ?? [], 'Established')) break;
      await sleep(clock, pollMs, limit);
    }
  }
  return definitions.map(({ metadata }) => metadata.name);
}

/** The definitions of all kinds that the engine reads. */
export const fluxDefinitions = (): readonly CustomResourceDefinition[] =>
  fluxKinds.map((kind) => definitionOf(kind as unknown as KindDefinition));

/** A kind as a custom resource: the same schema, with the `status` subresource and the columns that Flux shows. */
function definitionOf(kind: KindDefinition): CustomResourceDefinition {
  const { group, version, resource: plural, kind: name, singular, shortNames, namespaced, subresources, schemas = {}, schemaName } = kind;
  const schema = withoutReferences(schemas[schemaName] ?? { type: 'object' }, schemas);
  const hasStatus = subresources.some((each) => each.name === 'status');
  const condition = (field: string): string => `.status.conditions[?(@.type=="Ready")].${field}`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}`, labels: { 'app.kubernetes.io/managed-by': 'midship' } },
    spec: {
      group,
      names: { plural, singular, kind: name, listKind: `${name}List`, shortNames },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: schema },
          ...(hasStatus ? { subresources: { status: {} } } : {}),
          additionalPrinterColumns: [
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
            ...(hasStatus
              ? [
                  { name: 'Ready', type: 'string', jsonPath: condition('status') },
                  { name: 'Status', type: 'string', jsonPath: condition('message') },
                ]
              : []),
          ],
        },
      ],
    },
  } as unknown as CustomResourceDefinition & KubeObject;
}

const prefix = '#/components/schemas/';
const conditionSchema: Schema = {
  type: 'object',
  properties: {
    type: { type: 'string' },
    status: { type: 'string' },
    reason: { type: 'string' },
    message: { type: 'string' },
    observedGeneration: { type: 'integer', format: 'int64' },
    lastTransitionTime: { type: 'string', format: 'date-time' },
  },
  required: ['lastTransitionTime', 'message', 'reason', 'status', 'type'],
};
/** The server itself describes the metadata of every object. */
const known: Readonly<Record<string, Schema>> = {
  'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta': { type: 'object' },
  'io.k8s.apimachinery.pkg.apis.meta.v1.Condition': conditionSchema,
};

/** A structural schema has no references: what is referred to is written out. */
function withoutReferences(schema: Schema, schemas: Readonly<Record<string, Schema>>): Schema {
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== 'object' || value === null) return value;
    const { $ref: reference, ...rest } = value as { readonly $ref?: unknown };
    if (typeof reference !== 'string') return Object.fromEntries(Object.entries(rest).map(([key, each]) => [key, visit(each)]));
    const name = reference.slice(prefix.length);
    return visit({ ...(known[name] ?? schemas[name] ?? { type: 'object' }), ...rest });
  };
  return visit(schema) as Schema;
}

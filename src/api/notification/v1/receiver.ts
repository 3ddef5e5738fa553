import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import {
  type Condition,
  checkChoice,
  checkPattern,
  checkReference,
  durationPattern,
  initialStatus,
  type LocalObjectReference,
  statusColumns,
} from '../../flux.ts';
import { type CrossNamespaceReference, checkCrossNamespaceReference } from '../cross-namespace-reference.ts';
import { receiverSchema, receiverTypes } from './receiver-schema.ts';

const schemaName = 'io.fluxcd.toolkit.notification.v1.Receiver';

/** Flux's Receiver: a webhook of a Git host. @see https://fluxcd.io/flux/components/notification/receivers/ */
export const receivers: KindDefinition<Receiver> = {
  group: 'notification.toolkit.fluxcd.io',
  version: 'v1',
  resource: 'receivers',
  kind: 'Receiver',
  namespaced: true,
  singular: 'receiver',
  shortNames: [],
  categories: [],
  schemaName,
  schemas: { [schemaName]: receiverSchema },
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ...statusColumns],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (receiver, before) =>
    isAbsent(receiver.spec) || receiver.spec === before?.spec
      ? receiver
      : withField(receiver, 'spec', withDefaults(receiver.spec, { interval: '10m' })),
  prepareForCreate: (receiver) => ({ ...receiver, status: initialStatus }),
  validate: (receiver, before) => (before !== undefined && receiver.spec === before.spec ? [] : validateSpec(receiver.spec)),
};

function validateSpec(spec: ReceiverSpec | undefined): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (isAbsent(spec)) return [];
  checkChoice(errors, 'spec.type', spec.type, { choices: receiverTypes, isRequired: true });
  checkPattern(errors, 'spec.interval', spec.interval, { pattern: durationPattern });
  if (isAbsent(spec.secretRef)) errors.push(required('spec.secretRef'));
  checkReference(errors, 'spec.secretRef', spec.secretRef);
  if (isAbsent(spec.resources)) errors.push(required('spec.resources'));
  for (const [index, resource] of (spec.resources ?? []).entries()) {
    checkCrossNamespaceReference(errors, `spec.resources[${index}]`, resource);
  }
  return errors;
}

export interface Receiver extends KubeObject {
  /** Flux's definition lets a Receiver in that has none. */
  readonly spec?: ReceiverSpec;
  readonly status?: ReceiverStatus;
}

export interface ReceiverSpec {
  readonly type: (typeof receiverTypes)[number];
  /** Go duration. */
  readonly interval?: string;
  /** `push` of GitHub, `Push Hook` of GitLab; upper and lower case are the same. */
  readonly events?: readonly string[];
  readonly resources: readonly CrossNamespaceReference[];
  /** Expression in CEL that is evaluated for each object. */
  readonly resourceFilter?: string;
  readonly secretRef: LocalObjectReference;
  readonly suspend?: boolean;
}

export interface ReceiverStatus {
  readonly conditions?: readonly Condition[];
  /** `/hook/` and the SHA-256 of token, name and namespace. */
  readonly webhookPath?: string;
  readonly observedGeneration?: number;
  readonly lastHandledReconcileAt?: string;
}

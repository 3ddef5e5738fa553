import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { Schema } from '../../../machinery/schema.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import { checkChoice, checkLength, checkReference, fluxAgeColumn, type LocalObjectReference, schemaOf } from '../../flux.ts';
import { type CrossNamespaceReference, checkCrossNamespaceReference, crossNamespaceReferenceSchema } from '../cross-namespace-reference.ts';

const schemaName = 'io.fluxcd.toolkit.notification.v1beta3.Alert';
const severities = ['info', 'error'] as const;
const summaryLengths = [0, 255] as const;

/** Flux's Alert: which events go to which provider. @see https://fluxcd.io/flux/components/notification/alerts/ */
export const alerts: KindDefinition<Alert> = {
  group: 'notification.toolkit.fluxcd.io',
  version: 'v1beta3',
  resource: 'alerts',
  kind: 'Alert',
  namespaced: true,
  singular: 'alert',
  shortNames: [],
  categories: [],
  schemaName,
  schemas: { [schemaName]: schema() },
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, fluxAgeColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (alert, before) => {
    if (isAbsent(alert.spec) || alert.spec === before?.spec) return alert;
    return withField(alert, 'spec', withDefaults(alert.spec, { eventSeverity: 'info' as const }));
  },
  validate: (alert, before) => (before !== undefined && alert.spec === before.spec ? [] : validateSpec(alert.spec)),
};

export interface Alert extends KubeObject {
  readonly spec: AlertSpec;
}

export interface AlertSpec {
  readonly providerRef: LocalObjectReference;
  readonly eventSeverity?: (typeof severities)[number];
  readonly eventSources: readonly CrossNamespaceReference[];
  /** Regular expressions in RE2's syntax; a message has to match one of them, when there are any, and none of `exclusionList`. */
  readonly inclusionList?: readonly string[];
  readonly exclusionList?: readonly string[];
  /** Added to the metadata of events; what an event has already stays. */
  readonly eventMetadata?: Readonly<Record<string, string>>;
  readonly summary?: string;
  readonly suspend?: boolean;
}

function validateSpec(spec: AlertSpec | undefined): readonly FieldError[] {
  const errors: FieldError[] = [];
  if (isAbsent(spec)) return [required('spec')];
  if (isAbsent(spec.providerRef)) errors.push(required('spec.providerRef'));
  checkReference(errors, 'spec.providerRef', spec.providerRef);
  checkChoice(errors, 'spec.eventSeverity', spec.eventSeverity, { choices: severities });
  if (isAbsent(spec.eventSources)) errors.push(required('spec.eventSources'));
  for (const [index, source] of (spec.eventSources ?? []).entries()) {
    checkCrossNamespaceReference(errors, `spec.eventSources[${index}]`, source);
  }
  checkLength(errors, 'spec.summary', spec.summary, summaryLengths);
  return errors;
}

function schema(): Schema {
  const { text, sized, flag, choice, list, textMap, object, reference, kind } = schemaOf;
  const spec = object(
    {
      eventMetadata: textMap('Added to the metadata of events.'),
      eventSeverity: { ...choice(severities, 'Least severity of events.'), default: 'info' },
      eventSources: list(crossNamespaceReferenceSchema, 'Objects whose events are sent.'),
      exclusionList: list(text(), 'Regular expressions of messages to leave out.'),
      inclusionList: list(text(), 'Regular expressions of messages to send.'),
      providerRef: reference('Provider to send to.'),
      summary: sized(summaryLengths, 'Text for each message, for example the cluster.'),
      suspend: flag('Stop sending.'),
    },
    { required: ['eventSources', 'providerRef'], description: 'Events, and their provider.' },
  );
  return kind('Selects events and sends them to a provider.', { spec });
}

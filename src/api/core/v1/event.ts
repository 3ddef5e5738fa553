import type { Event as V1Event, ObjectReference as V1ObjectReference } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageOf, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults } from '../../copy-on-write.ts';
import { invalidValue, required, tooLong } from '../../field-errors.ts';
import { check } from '../../formats.ts';

export const events: KindDefinition<Event> = {
  group: '',
  version: 'v1',
  resource: 'events',
  kind: 'Event',
  namespaced: true,
  singular: 'event',
  shortNames: ['ev'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Event',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  createdByUpdate: true,
  subresources: [],
  columns: [
    { name: 'Last Seen', type: 'string', description: 'Time since it was seen last.', cell: (event, { now }) => lastSeenOf(event, now) },
    { name: 'Type', type: 'string', description: 'Normal or Warning.', cell: ({ type }) => type ?? '' },
    { name: 'Reason', type: 'string', description: 'Reason, in one word.', cell: ({ reason }) => reason ?? '' },
    {
      name: 'Object',
      type: 'string',
      description: 'Object that the event is about.',
      cell: ({ involvedObject }) => objectOf(involvedObject),
    },
    {
      name: 'Subobject',
      type: 'string',
      description: 'Part of the object that it is about.',
      priority: 1,
      cell: ({ involvedObject }) => involvedObject.fieldPath ?? '',
    },
    { name: 'Source', type: 'string', description: 'Component that reports it.', priority: 1, cell: sourceOf },
    { name: 'Message', type: 'string', description: 'The whole story.', cell: ({ message }) => (message ?? '').trim() },
    {
      name: 'First Seen',
      type: 'string',
      description: 'Time since it was seen first.',
      priority: 1,
      cell: (event, { now }) => firstSeenOf(event, now),
    },
    { name: 'Count', type: 'string', description: 'Number of occurrences.', priority: 1, cell: countOf },
    { ...nameColumn, priority: 1 },
  ],
  selectableFields: {
    'involvedObject.kind': (event) => event.involvedObject.kind ?? '',
    'involvedObject.namespace': (event) => event.involvedObject.namespace ?? '',
    'involvedObject.name': (event) => event.involvedObject.name ?? '',
    'involvedObject.uid': (event) => event.involvedObject.uid ?? '',
    'involvedObject.apiVersion': (event) => event.involvedObject.apiVersion ?? '',
    'involvedObject.resourceVersion': (event) => event.involvedObject.resourceVersion ?? '',
    'involvedObject.fieldPath': (event) => event.involvedObject.fieldPath ?? '',
    reason: (event) => event.reason ?? '',
    reportingComponent: (event) => event.reportingComponent ?? '',
    source: (event) => event.source?.component || (event.reportingComponent ?? ''),
    type: (event) => event.type ?? '',
  },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaults: (event) => withDefaults(event, { involvedObject: {}, reportingComponent: '', reportingInstance: '' }),
  validate: (event, before) => (before === undefined ? validateEvent(event) : []),
};

/** Events with `eventTime` follow the rules of the newer API, all others only have to be in the namespace of what they are about. */
function validateEvent(event: Event): readonly FieldError[] {
  const errors: FieldError[] = [];
  const { namespace } = event.metadata;
  const about = event.involvedObject?.namespace ?? '';
  const isNew = !isAbsent(event.eventTime);
  const home = isNew ? ['default', 'kube-system'] : ['default'];
  if (about === '' ? namespace !== undefined && !home.includes(namespace) : about !== namespace) {
    errors.push(invalidValue('involvedObject.namespace', about, 'does not match event.namespace'));
  }
  if (!isNew) return errors;
  const { reportingComponent = '', reportingInstance = '', action = '', reason = '', message = '' } = event;
  if (reportingComponent === '') errors.push(required('reportingComponent'));
  check(errors, 'reportingComponent', reportingComponent, qualifiedNameErrors(reportingComponent));
  for (const [field, text, max] of [
    ['reportingInstance', reportingInstance, 128],
    ['action', action, 128],
    ['reason', reason, 128],
  ] as const) {
    if (text === '') errors.push(required(field));
    if (text.length > max) errors.push(tooLong(field, max));
  }
  if (message.length > 1024) errors.push(tooLong('message', 1024));
  return errors;
}

const objectOf = ({ kind = '', name = '' }: ObjectReference): string =>
  name === '' ? kind.toLowerCase() : `${kind.toLowerCase()}/${name}`;

const firstSeenOf = (event: Event, now: number): string => ageOf(event.firstTimestamp ?? event.eventTime ?? undefined, now);

function lastSeenOf(event: Event, now: number): string {
  const last = event.series?.lastObservedTime ?? event.lastTimestamp;
  return isAbsent(last) ? firstSeenOf(event, now) : ageOf(last, now);
}

function countOf({ series, count }: Event): number {
  return series?.count ?? (count || 1);
}

function sourceOf({ source, reportingComponent, reportingInstance }: Event): string {
  const component = source?.component || reportingComponent || '';
  const host = source?.component ? source.host : reportingInstance;
  return host ? `${component}, ${host}` : component;
}

export type Event = Kube<V1Event>;
export type ObjectReference = DeepReadonly<V1ObjectReference>;

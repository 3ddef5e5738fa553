import type { Event as V1Event } from 'kubernetes-types/events/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DynamicObject, Kube, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { type Event as CoreEvent, events as coreEvents } from '../../core/v1/event.ts';
import { invalidValue, required } from '../../field-errors.ts';

/** The newer names of the fields of Events. */
const renamed: Readonly<Record<string, string>> = {
  reportingController: 'reportingComponent',
  regarding: 'involvedObject',
  note: 'message',
  deprecatedSource: 'source',
  deprecatedFirstTimestamp: 'firstTimestamp',
  deprecatedLastTimestamp: 'lastTimestamp',
  deprecatedCount: 'count',
};
const storedNames: ReadonlyMap<string, string> = new Map(Object.entries(renamed));
const newNames: ReadonlyMap<string, string> = new Map(Object.entries(renamed).map(([name, stored]) => [stored, name]));

function withNames(object: KubeObject, apiVersion: string, names: ReadonlyMap<string, string>): DynamicObject {
  const entries = Object.entries(object).map(([field, value]) => [names.get(field) ?? field, value] as const);
  return { ...(Object.fromEntries(entries) as unknown as KubeObject), apiVersion };
}

const toStored = (event: KubeObject): CoreEvent => withNames(event, 'v1', storedNames) as unknown as CoreEvent;

function fromStored(stored: KubeObject): NewEvent {
  const { reportingController, reportingInstance, ...event } = withNames(stored, 'events.k8s.io/v1', newNames);
  return {
    ...event,
    // Core events have these two always, events of this version only when they say something.
    ...(isAbsent(reportingController) || reportingController === '' ? {} : { reportingController }),
    ...(isAbsent(reportingInstance) || reportingInstance === '' ? {} : { reportingInstance }),
  } as unknown as NewEvent;
}

/** The same events as those of the core group, under newer names and with stricter rules for new ones. */
export const newEvents: KindDefinition<NewEvent> = {
  group: 'events.k8s.io',
  version: 'v1',
  resource: 'events',
  kind: 'Event',
  namespaced: true,
  singular: coreEvents.singular,
  shortNames: coreEvents.shortNames,
  categories: coreEvents.categories,
  schemaName: 'io.k8s.api.events.v1.Event',
  verbs: coreEvents.verbs,
  hasGeneration: coreEvents.hasGeneration,
  nameRule: coreEvents.nameRule,
  subresources: coreEvents.subresources,
  columns: coreEvents.columns.map((column) => ({ ...column, cell: (event, context) => column.cell(toStored(event), context) })),
  selectableFields: Object.fromEntries(
    Object.entries(coreEvents.selectableFields)
      .filter(([field]) => field !== 'source')
      .map(([field, read]) => [
        field.replace(/^involvedObject\./, 'regarding.').replace('reportingComponent', 'reportingController'),
        (event: NewEvent) => read(event as unknown as CoreEvent),
      ]),
  ),
  deleteAnswer: coreEvents.deleteAnswer,
  shortFieldLabelError: true,
  storedAs: { kind: coreEvents, toStored, fromStored },
  validate: (event, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined) return errors;
    if (isAbsent(event.eventTime)) errors.push(required('eventTime'));
    if (event.type !== 'Normal' && event.type !== 'Warning') {
      errors.push(invalidValue('type', '', `has invalid value: ${event.type ?? ''}`));
    }
    const { deprecatedSource, deprecatedFirstTimestamp, deprecatedLastTimestamp, deprecatedCount = 0 } = event;
    if (!isAbsent(deprecatedFirstTimestamp)) errors.push(invalidValue('firstTimestamp', '', 'needs to be unset'));
    if (!isAbsent(deprecatedLastTimestamp)) errors.push(invalidValue('lastTimestamp', '', 'needs to be unset'));
    if (deprecatedCount !== 0) errors.push(invalidValue('count', '', 'needs to be unset'));
    if ((deprecatedSource?.component ?? '') !== '' || (deprecatedSource?.host ?? '') !== '') {
      errors.push(invalidValue('source', '', 'needs to be unset'));
    }
    return errors;
  },
};

export type NewEvent = Kube<V1Event>;

import { type Event, events } from '../api/core/v1/event.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import type { Client } from '../client/client.ts';
import { eachPage } from '../client/each-page.ts';
import { createAppEvents, timeOfEvent } from '../gitops/verbs/events.ts';
import { createLookup } from '../gitops/verbs/lookup.ts';
import { isExpired } from '../machinery/status-error.ts';
import { type AppCommand, findApp, withClient } from './connect.ts';
import type { ExitCode } from './failure.ts';
import { ageText, cutTo, formatJson, table, writeResult } from './output.ts';

export interface EventsOptions extends AppCommand {
  /** Undefined: of the namespace, or of the whole cluster. */
  readonly app: string | undefined;
  readonly watch: boolean;
  /** Ends a watch. */
  readonly signal: AbortSignal;
}

/** Events shown without a watch. */
const maxEvents = 200;
/** Events that are looked through. */
const maxRead = 20_000;

/** Events about an app, its objects and what came of them, oldest first; of the whole cluster when no app is named. */
export function showEvents(options: EventsOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const isAbout = await filterOf(client, options);
    const { found, resourceVersion } = await readEvents(client, isAbout, placeOf(options));
    const shown = found.sort((a, b) => timeOfEvent(a) - timeOfEvent(b)).slice(-maxEvents);
    if (!options.watch) {
      await writeResult(options, { apiVersion: 'v1', kind: 'EventList', items: shown }, () =>
        textOf(shown, options.app, systemClock.now()),
      );
      return 0;
    }
    const write = await createWriter(options, shown);
    await follow({ client, isAbout, resourceVersion, options, write });
    return 0;
  });
}

async function filterOf(client: Client, { app, namespace }: EventsOptions): Promise<(event: Event) => Promise<boolean>> {
  if (app === undefined) return async () => true;
  const appEvents = createAppEvents(await findApp(client, app, namespace), createLookup(client));
  return (event) => appEvents.isAbout(event);
}

/** An app's objects may be anywhere; `-n` without an app is a place. */
const placeOf = ({ app, namespace }: EventsOptions): { readonly namespace?: string } =>
  app === undefined && namespace !== undefined ? { namespace } : {};

async function readEvents(
  client: Client,
  isAbout: (event: Event) => Promise<boolean>,
  place: { readonly namespace?: string },
): Promise<{ readonly found: Event[]; readonly resourceVersion: string }> {
  const found: Event[] = [];
  let read = 0;
  let resourceVersion = '0';
  for await (const { items, metadata } of eachPage(client, events, place)) {
    for (const event of items) if (await isAbout(event)) found.push(event);
    read += items.length;
    resourceVersion = metadata.resourceVersion ?? resourceVersion;
    if (read >= maxRead) break;
  }
  return { found, resourceVersion };
}

interface Following {
  readonly client: Client;
  isAbout(event: Event): Promise<boolean>;
  readonly resourceVersion: string;
  readonly options: EventsOptions;
  write(event: Event): void | Promise<void>;
}

/** Until the signal: a watch that the server ends goes on where it was. */
async function follow({ client, isAbout, resourceVersion, options, write }: Following): Promise<void> {
  let from = resourceVersion;
  // Events are judged one after the other, so that lines come in order.
  let written: Promise<void> = Promise.resolve();
  while (!options.signal.aborted) {
    try {
      await client.watch(events, {
        ...placeOf(options),
        resourceVersion: from,
        signal: options.signal,
        onEvents(batch) {
          for (const { type, object } of batch) {
            from = object.metadata.resourceVersion ?? from;
            if (type !== 'ADDED' && type !== 'MODIFIED') continue;
            written = written.then(async () => {
              if (await isAbout(object)) await write(object);
            });
          }
        },
      });
    } catch (err) {
      if (!isExpired(err)) throw err;
      // Too far behind: what was missed is left out, as with kubectl.
      from = (await client.list(events, { ...placeOf(options), limit: 1 })).metadata.resourceVersion ?? '0';
    }
    await written;
  }
}

/** Writes the events that were there, and gives the function that writes the next one. */
async function createWriter(options: EventsOptions, shown: readonly Event[]): Promise<Following['write']> {
  const { format, output } = options;
  // One document an event, as a stream.
  const asJson = (event: Event): void => void output.write(`${formatJson(event, 0)}\n`);
  const write =
    format === 'text' ? createLines(output, shown) : format === 'json' ? asJson : (event: Event) => writeResult(options, [event], () => '');
  if (format !== 'text') for (const event of shown) await write(event);
  return write;
}

/** Rows of a watch: columns are as wide as the widest cell so far. */
function createLines(output: NodeJS.WritableStream, shown: readonly Event[]): (event: Event) => void {
  const head = ['TIME', 'TYPE', 'REASON', 'OBJECT', 'MESSAGE'];
  const rows = shown.map(timedRowOf);
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)));
  const write = (row: readonly string[]): void => {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
    output.write(`${cutTo(row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))}\n`);
  };
  for (const row of [head, ...rows]) write(row);
  return (event) => write(timedRowOf(event));
}

function timedRowOf(event: Event): readonly string[] {
  const time = new Date(timeOfEvent(event)).toISOString().slice(0, 19);
  return [`${time}Z`, event.type ?? 'Normal', event.reason ?? '', objectOf(event), messageOf(event)].map(plain);
}

function textOf(shown: readonly Event[], app: string | undefined, now: number): string {
  if (shown.length === 0) return `no events${app === undefined ? '' : ` about ${app}`}\n`;
  return table([['LAST SEEN', 'TYPE', 'REASON', 'OBJECT', 'MESSAGE'], ...shown.map((event) => rowOf(event, now))]);
}

function rowOf(event: Event, now: number): readonly string[] {
  const seen = ageText(new Date(timeOfEvent(event)).toISOString(), now);
  return [seen, event.type ?? 'Normal', event.reason ?? '', objectOf(event), messageOf(event)];
}

function objectOf({ involvedObject: { kind = '', namespace = '', name = '' } }: Event): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
}

function messageOf(event: Event): string {
  const count = event.series?.count ?? event.count ?? 1;
  return `${(event.message ?? '').trim()}${count > 1 ? ` (${count} times)` : ''}`;
}

import type { Alert } from '../../api/notification/v1beta3/alert.ts';
import { BoundedMap } from '../../base/bounded-map.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { keyOf, type ObjectRef } from '../../machinery/object.ts';
import { readRecord, writeRecord } from '../apply/objects/secret-record.ts';

/** The last sent notice of an alert for each of its objects, by name of the notice. */
export interface SentByAlert {
  get(subject: string): string | undefined;
  set(subject: string, notice: string): void;
  delete(subject: string): void;
}

/**
 * Remembers the sent notices in a Secret beside each alert, so that a restart does not send them again. It is written
 * half a second after the message was accepted, many messages at once. A process that is killed in between sends those
 * twice.
 */
export interface SentNotices {
  /** @param initial  notices that count as sent for an alert that is seen for the first time */
  of(alert: Alert, initial: () => Iterable<readonly [subject: string, notice: string]>): Promise<SentByAlert>;
  forget(alert: string): void;
  /** Writes what is not written yet. */
  flush(): Promise<void>;
}

const writeDelayMs = 500;
const retryDelayMs = 10_000;
/** Objects remembered for one alert; the one with the oldest notice is dropped first. */
const maxSubjects = 20_000;

interface Entry {
  readonly ref: ObjectRef;
  alert: Alert;
  readonly sent: Map<string, string>;
  dirty: boolean;
  cancelTimer: (() => void) | undefined;
}

const refOfRecord = ({ metadata }: Alert): ObjectRef => ({ namespace: metadata.namespace, name: `midship-notified-${metadata.name}` });

export function createSentNotices({
  client,
  clock,
  log,
}: {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Log;
}): SentNotices {
  const entries = new Map<string, Promise<Entry>>();

  async function load(alert: Alert, initial: () => Iterable<readonly [string, string]>): Promise<Entry> {
    const ref = refOfRecord(alert);
    const known = await readRecord<Readonly<Record<string, string>>>(client, ref);
    const entry: Entry = {
      ref,
      alert,
      sent: new BoundedMap(maxSubjects, known === undefined ? initial() : Object.entries(known)),
      dirty: false,
      cancelTimer: undefined,
    };
    if (known === undefined) touch(entry);
    return entry;
  }

  function touch(entry: Entry, delayMs = writeDelayMs): void {
    entry.dirty = true;
    entry.cancelTimer ??= clock.after(delayMs, () => {
      entry.cancelTimer = undefined;
      void write(entry);
    });
  }

  function stopTimer(entry: Entry): void {
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
  }

  async function write(entry: Entry): Promise<void> {
    if (!entry.dirty) return;
    entry.dirty = false;
    try {
      await writeRecord(client, { ref: entry.ref, owner: entry.alert, value: Object.fromEntries(entry.sent) });
    } catch (err) {
      log.warn({ alert: keyOf(entry.alert), err }, 'Could not record sent messages');
      touch(entry, retryDelayMs);
    }
  }

  return {
    async of(alert, initial) {
      const key = keyOf(alert);
      let loading = entries.get(key);
      if (loading === undefined) {
        loading = load(alert, initial);
        entries.set(key, loading);
        loading.catch(() => entries.delete(key));
      }
      const entry = await loading;
      entry.alert = alert;
      return {
        get: (subject) => entry.sent.get(subject),
        set(subject, notice) {
          entry.sent.set(subject, notice);
          touch(entry);
        },
        delete(subject) {
          if (entry.sent.delete(subject)) touch(entry);
        },
      };
    },
    forget(alert) {
      const loading = entries.get(alert);
      entries.delete(alert);
      // Its Secret goes with it.
      void loading?.then(
        (entry) => {
          entry.dirty = false;
          stopTimer(entry);
        },
        () => undefined,
      );
    },
    async flush() {
      for (const loading of entries.values()) {
        const entry = await loading.catch(() => undefined);
        if (entry === undefined) continue;
        stopTimer(entry);
        await write(entry);
        // Nothing is tried again after the end.
        stopTimer(entry);
      }
    },
  };
}

import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Counter } from '../../base/series.ts';
import { internalError } from '../../machinery/status-error.ts';
import type { StorageEvent, StoredChange, StoredEntry, Value } from '../../storage/storage.ts';
import { splitStoreKey } from '../registry/keys.ts';
import type { EncryptionConfiguration } from './configuration.ts';
import { identityProvider, type Provider } from './providers.ts';

export interface Unreadable {
  readonly revision: number;
  /** `no key named "old"` */
  readonly reason: string;
  /** The beginning of the value, as its provider has it; undefined for a plain one. */
  readonly sealedBy: string | undefined;
}

export interface ValueSealsOptions {
  readonly configuration: EncryptionConfiguration;
  readonly log: Log;
  readonly metrics: Metrics | undefined;
}

/** All sealed values begin with it; objects begin with a brace. */
const sealedMark = 'k8s:enc:';

/** Takes the place of the companion of a value: the backend hands it on, and the plain text with it. */
class Opened {
  readonly text: string;
  readonly decoded: unknown;
  constructor({ text, decoded }: Value) {
    this.text = text;
    this.decoded = decoded;
  }
}

type Attempt =
  | { readonly plain: string; readonly provider: Provider | undefined }
  | { readonly plain: undefined; readonly provider: Provider | undefined; readonly reason: string };

/** Seals values for the store and opens those from it. Remembers which could not be opened, and which are to be sealed again. */
export class ValueSeals {
  /** Values that no key opens, by store key. */
  readonly unreadable = new Map<string, Unreadable>();
  /** Keys of values that are to be sealed again: as many as there are objects of the encrypted resources at most. */
  readonly stale = new Set<string>();
  #configuration: EncryptionConfiguration;
  readonly #log: Log;
  readonly #providers = new Map<string, readonly Provider[]>();
  readonly #operations: Counter<'transformation_type' | 'transformer_prefix' | 'status'> | undefined;

  constructor({ configuration, log, metrics }: ValueSealsOptions) {
    this.#configuration = configuration;
    this.#log = log;
    this.#operations = metrics?.counter({
      name: 'apiserver_storage_transformation_operations_total',
      help: 'Values sealed for the store (to_storage) and opened (from_storage), by provider and outcome.',
      labelNames: ['transformation_type', 'transformer_prefix', 'status'],
    });
  }

  /** @throws Error when a value that could not be opened can be now */
  use(configuration: EncryptionConfiguration): void {
    this.#configuration = configuration;
    this.#providers.clear();
    const [readable] = [...this.unreadable].filter(([key, { sealedBy }]) =>
      this.#providersOf(key).some(({ prefix }) => prefix === sealedBy),
    );
    if (readable !== undefined) throw new Error(`${readable[0]} was set aside, and can be decrypted now: the store has to be read again`);
  }

  /** True for a value of an encrypted resource; notes it when it is to be sealed again. */
  isNoted({ key, text }: StoredEntry): boolean {
    const [first] = this.#providersOf(key);
    if (first === undefined) return false;
    const isSealed = text.startsWith(sealedMark);
    if (first.prefix === '' ? isSealed : !text.startsWith(first.prefix)) this.stale.add(key);
    return true;
  }

  sealed(key: string, value: Value): Value {
    const [first] = this.#providersOf(key);
    if (first === undefined || first === identityProvider) return value;
    const text = first.seal(key, value.text);
    this.#operations?.inc({ transformation_type: 'to_storage', transformer_prefix: first.prefix, status: 'OK' });
    return { text, decoded: new Opened(value), ...(value.always === true ? { always: true } : {}) };
  }

  /** The text under the first key, for a value that lay under another one. */
  resealed(key: string, text: string): string {
    return this.#providersOf(key)[0]?.seal(key, text) ?? text;
  }

  /** Undefined when it cannot be opened, which is noted. */
  opened({ key, text, revision }: StoredEntry): string | undefined {
    const attempt = this.#tryOpen(key, text);
    const { plain, provider } = attempt;
    if (plain !== undefined) {
      if (provider === undefined) return plain;
      if (provider === this.#providersOf(key)[0]) this.stale.delete(key);
      else this.stale.add(key);
      this.unreadable.delete(key);
      return plain;
    }
    const { reason } = attempt;
    if (this.unreadable.get(key)?.revision !== revision)
      this.#log.error({ object: key, revision, reason }, 'Set aside value that could not be decrypted');
    const prefix = provider?.prefix ?? 'unknown';
    this.#operations?.inc({ transformation_type: 'from_storage', transformer_prefix: prefix, status: 'Internal' });
    this.unreadable.set(key, { revision, reason, sealedBy: text.startsWith(sealedMark) ? /^(?:[^:]*:){5}/.exec(text)?.[0] : undefined });
    this.stale.delete(key);
    return undefined;
  }

  /** The same for a value that may have been replaced since. It says nothing of the present one. */
  openedPast({ key, text }: Pick<StoredEntry, 'key' | 'text'>): string | undefined {
    return this.#tryOpen(key, text).plain;
  }

  openedChange(change: StoredChange): StoredChange {
    const { key, values } = change;
    if (values === undefined) return change;
    const { before, after } = values;
    const textBefore = before === undefined ? undefined : this.openedPast({ key, text: before.text });
    return {
      ...change,
      values: {
        before: before === undefined || textBefore === undefined ? undefined : { ...before, text: textBefore },
        after: after === undefined ? undefined : this.openedPast({ key, text: after }),
      },
    };
  }

  openedEvents(events: readonly StorageEvent[]): readonly StorageEvent[] {
    if (this.unreadable.size === 0 && this.stale.size === 0 && events.every(isPlain)) return events;
    return events.map((event) => this.#openedEvent(event));
  }

  #openedEvent(event: StorageEvent): StorageEvent {
    const { key, revision } = event;
    if (event.type === 'delete' || event.value.decoded instanceof Opened) {
      this.unreadable.delete(key);
      this.stale.delete(key);
      return event.type === 'delete' ? event : { ...event, value: event.value.decoded as Opened };
    }
    const text = this.opened({ key, text: event.value.text, revision });
    // A reader that saw the value before must not take it for the present one.
    if (text === undefined) return { type: 'delete', key, revision };
    return text === event.value.text ? event : { ...event, value: { text } };
  }

  /** Empty for what is kept as it is. */
  #providersOf(key: string): readonly Provider[] {
    const { prefix } = splitStoreKey(key);
    let found = this.#providers.get(prefix);
    if (found === undefined) {
      found = this.#configuration.providersOf(prefix) ?? [];
      this.#providers.set(prefix, found);
    }
    return found;
  }

  /** Notes nothing: the value may be an older one. */
  #tryOpen(key: string, text: string): Attempt {
    const usable = this.#providersOf(key);
    const isSealed = text.startsWith(sealedMark);
    if (usable.length === 0 && !isSealed) return { plain: text, provider: undefined };
    const provider = usable.find(({ prefix }) => (prefix === '' ? !isSealed : text.startsWith(prefix)));
    if (provider === undefined) {
      const reason = isSealed ? `no key named ${JSON.stringify(keyNameOf(text))}` : 'plain values are not read';
      return { plain: undefined, provider, reason };
    }
    try {
      const plain = provider.open(key, text);
      if (isSealed) this.#operations?.inc({ transformation_type: 'from_storage', transformer_prefix: provider.prefix, status: 'OK' });
      return { plain, provider };
    } catch {
      // The library's words for a wrong tag say nothing of what to do.
      return { plain: undefined, provider, reason: 'it was changed, moved, or sealed with another key of this name' };
    }
  }
}

const isPlain = (event: StorageEvent): boolean =>
  event.type === 'delete' || (!(event.value.decoded instanceof Opened) && !event.value.text.startsWith(sealedMark));

const keyNameOf = (text: string): string => text.split(':', 5)[4] ?? '';

/** Upstream's words, with what to do. */
export const unreadableError = (key: string, { reason }: Unreadable): Error =>
  internalError(
    `unable to transform key ${JSON.stringify(key)}: ${reason}; put the key back into the encryption configuration, or delete the object`,
  );

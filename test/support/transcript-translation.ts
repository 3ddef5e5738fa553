import { isObject, type Json, type JsonObject } from './transcript.ts';
import { metadataOf, textOf } from './transcript-objects.ts';

const uidPattern = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

const versionOf = (object: JsonObject): string => `${textOf(metadataOf(object).uid)} ${textOf(metadataOf(object).resourceVersion)}`;

/** Pairs of the recorded server's and our names: uids, generated names, revisions, continue tokens. */
export class Translation {
  readonly #uids = new Map<string, string>();
  readonly #names = new Map<string, string>();
  readonly #revisions = new Map<string, number>();
  /** For lists: the newest object in one has the same revision there, which it need not have here. */
  readonly #listRevisions = new Map<string, number>();
  readonly #versions = new Set<string>();
  readonly #tokens = new Map<string, string>();
  readonly #currentRevision: () => number;

  constructor(currentRevision: () => number) {
    this.#currentRevision = currentRevision;
  }

  /** Compares an answer with the recorded one and remembers what differs by nature. */
  learn(recorded: Json | undefined, answered: Json | undefined): void {
    if (Array.isArray(recorded) && Array.isArray(answered)) {
      for (const [index, item] of recorded.entries()) this.learn(item, answered[index]);
      return;
    }
    if (!isObject(recorded) || !isObject(answered)) return;
    for (const [field, value] of Object.entries(recorded)) {
      if (field === 'metadata') this.#learnMetadata(metadataOf(recorded), metadataOf(answered));
      else this.learn(value, answered[field]);
    }
  }

  #learnMetadata(recorded: JsonObject, answered: JsonObject): void {
    // Items of two lists need not be the same objects.
    const generated = recorded.generateName !== undefined && recorded.generateName === answered.generateName;
    if (recorded.name !== answered.name && !generated) return;
    if (generated && recorded.name !== answered.name) this.#names.set(textOf(recorded.name), textOf(answered.name));
    this.learnUid(textOf(recorded.uid), textOf(answered.uid));
    if (typeof answered.resourceVersion === 'string') {
      const revision = Number(answered.resourceVersion);
      if (recorded.uid === undefined) this.#listRevisions.set(textOf(recorded.resourceVersion), revision);
      else this.learnVersion({ metadata: recorded }, revision);
    }
    if (typeof recorded.continue === 'string' && typeof answered.continue === 'string')
      this.#tokens.set(recorded.continue, answered.continue);
  }

  learnUid(recorded: string, ours: string): void {
    if (recorded !== '' && ours !== '') this.#uids.set(recorded, ours);
  }

  learnRevision(recorded: string, ours: number): void {
    if (recorded !== '') this.#revisions.set(recorded, ours);
  }

  /** `object`, as it was recorded, is stored here at `revision`. */
  learnVersion(object: JsonObject, revision: number): void {
    const { resourceVersion } = metadataOf(object);
    if (typeof resourceVersion === 'string') this.#revisions.set(resourceVersion, revision);
    this.#versions.add(versionOf(object));
  }

  knows(object: JsonObject): boolean {
    return metadataOf(object).resourceVersion !== undefined && this.#versions.has(versionOf(object));
  }

  /** A text of the recording with what is called otherwise here. */
  text(text: string): string {
    let ours = text.replace(uidPattern, (uid) => this.#uids.get(uid) ?? uid);
    for (const [recorded, name] of this.#names) ours = ours.replaceAll(recorded, name);
    return ours;
  }

  object<T extends Json>(value: T): T {
    return JSON.parse(this.text(JSON.stringify(value))) as T;
  }

  /** Path and query. */
  path(path: string): string {
    return this.text(path)
      .replace(
        /([?&]resourceVersion=)(\d+)/,
        (_, parameter: string, revision: string) => `${parameter}${this.#listRevisions.get(revision) ?? this.revision(revision)}`,
      )
      .replace(/([?&]continue=)([^&]+)/, (_, parameter: string, token: string) => `${parameter}${this.#tokens.get(token) ?? token}`);
  }

  /** The body of a request: text in which the version of an object may be named. */
  body(body: string): string {
    const versions = /("resourceVersion":\s*"|"path":"\/metadata\/resourceVersion","value":")(\d+)"/g;
    return this.text(body).replace(versions, (_, field: string, revision: string) => `${field}${this.revision(revision)}"`);
  }

  /** A revision that nothing was seen of lies after the nearest one before it. Very low and very high ones were made up by who recorded. */
  revision(recorded: string): string {
    const known = this.#revisions.get(recorded);
    if (known !== undefined) return String(known);
    const wanted = Number(recorded);
    if (wanted < 100 || wanted > 1_000_000) return recorded;
    const before = [...this.#revisions].filter(([seen]) => Number(seen) < wanted).sort(([a], [b]) => Number(a) - Number(b));
    return String(before.at(-1)?.[1] ?? this.#currentRevision());
  }
}

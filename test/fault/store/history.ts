import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * The clients of one run write down what they see, as lines of JSON. Times are ms of the harness's monotonic clock. Revisions are
 * resourceVersions as numbers. Each write has a value of its own, which ends with its color: the label that selector watches ask for.
 */
export type HistoryRecord = Call | ListCall | WatchStart | WatchEventRecord | WatchEnd | FaultRecord | ServerExit;

/** A request for one object. */
export interface Call {
  readonly type: 'call';
  readonly client: number;
  readonly server: number;
  readonly verb: 'get' | 'create' | 'update' | 'patch' | 'apply' | 'delete';
  /** `RESOURCE/NAME`. */
  readonly key: string;
  /** Only writes have one. */
  readonly value?: string;
  /** Precondition of an update or a deletion. */
  readonly expected?: number;
  readonly start: number;
  readonly end: number;
  readonly outcome: Outcome;
}

export type Outcome =
  /** `revision` and `value` are of the answered object; a deletion has neither. */
  | { readonly kind: 'ok'; readonly revision?: number; readonly value?: string }
  | { readonly kind: 'absent' | 'exists' | 'conflict' }
  /** Refused for another reason: it has no effect. */
  | { readonly kind: 'refused'; readonly why: string }
  /** No connection came about, so it has no effect. */
  | { readonly kind: 'unsent'; readonly why: string }
  /** A write that may take effect at any time after its start, or never; of a read, no answer. */
  | { readonly kind: 'unknown'; readonly why: string };

/** The server said what became of it. */
export const isAnswered = ({ outcome }: Call): boolean => outcome.kind !== 'unknown' && outcome.kind !== 'unsent';

/** A list that was answered as a whole, in pages or in one. */
export interface ListCall {
  readonly type: 'list';
  readonly client: number;
  readonly server: number;
  readonly resource: string;
  /** True: without a version, so that it has everything acknowledged before. False: `resourceVersion=0`. */
  readonly isConsistent: boolean;
  readonly start: number;
  readonly end: number;
  readonly revision: number;
  readonly items: readonly Item[];
}

export interface Item {
  readonly key: string;
  readonly revision: number;
  readonly value: string;
}

export interface WatchStart {
  readonly type: 'watch';
  /** A watcher goes on from session to session: at the next one it resumes where the one before ended, or lists again. */
  readonly watcher: number;
  readonly session: number;
  readonly server: number;
  readonly resource: string;
  /** Color of the selector. */
  readonly color?: string;
  /** Events after this revision are asked for; absent: the state of now as events, and a bookmark at their end. */
  readonly after?: number;
  /** True when the watcher goes on from what it has; false after a list of its own, and for looks at the past. */
  readonly isResumed: boolean;
  readonly at: number;
}

export interface WatchEventRecord {
  readonly type: 'event';
  readonly session: number;
  readonly event: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'INITIAL' | 'INITIAL_END';
  /** Empty for bookmarks. */
  readonly key: string;
  readonly revision: number;
  readonly value: string;
  readonly at: number;
}

export interface WatchEnd {
  readonly type: 'watch-end';
  readonly session: number;
  readonly why: 'expired' | 'ended' | 'broken' | 'refused';
  readonly at: number;
}

export interface FaultRecord {
  readonly type: 'fault';
  readonly name: string;
  readonly detail: string;
  readonly at: number;
}

/** A server that ended though nothing killed it. */
export interface ServerExit {
  readonly type: 'exit';
  readonly server: number;
  readonly output: string;
  readonly at: number;
}

export interface History {
  append(record: HistoryRecord): void;
  /** Writes what is still in memory to the file. */
  flush(): void;
}

const linesAtOnce = 500;

export function openHistory(path: string): History {
  let lines: string[] = [];
  writeFileSync(path, '');
  const flush = (): void => {
    appendFileSync(path, lines.join(''));
    lines = [];
  };
  return {
    append(record) {
      lines.push(`${JSON.stringify(record)}\n`);
      if (lines.length >= linesAtOnce) flush();
    },
    flush,
  };
}

export const readHistory = (path: string): readonly HistoryRecord[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as HistoryRecord);

/** The records of one type. */
export const recordsOf = <T extends HistoryRecord['type']>(history: readonly HistoryRecord[], type: T) =>
  history.filter((record): record is Extract<HistoryRecord, { type: T }> => record.type === type);

export const colorOf = (value: string): string => value.slice(value.lastIndexOf('-') + 1);

export const resourceOf = (key: string): string => key.slice(0, key.indexOf('/'));

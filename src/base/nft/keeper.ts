import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { isListingOf, type NftFrame, type NftRules, writeChange, writeTable } from './rules.ts';
import { type RunProgram, removeNftTable, runProgram } from './run-program.ts';

export interface NftKeeperOptions<Wanted> {
  readonly frame: NftFrame;
  /** The state that the table should have now. */
  readonly read: () => Wanted;
  readonly rulesOf: (wanted: Wanted) => NftRules;
  /** Called after each transaction; `before` is undefined when the whole table was made. Must not reject. */
  readonly onApplied?: (before: Wanted | undefined, after: Wanted) => Promise<void>;
  readonly onTransaction?: (transaction: { readonly seconds: number; readonly isRefused: boolean }) => void;
  readonly run?: RunProgram;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps one table of the kernel as it should be. */
export interface NftKeeper<Wanted> {
  /** Asks for a transaction. Resolves after its first try: true when the state that was read then is in force. */
  apply(): Promise<boolean>;
  /** The state in force; undefined when the kernel may have anything. */
  readonly applied: Wanted | undefined;
  /** Ends the work, and removes the table. */
  stop(): Promise<void>;
}

/** Between two transactions: a rollout of many pods is some of them, and an endpoint that ends still answers for longer than that. */
const minIntervalMs = 100;
const retryMs = 5_000;
/** Between two looks for changes by others. */
const lookMs = 30_000;

/**
 * Changes a table by one transaction for each batch of changes; it is never seen half done. The first transaction, and the one after a
 * refusal or a change by others, makes the whole table.
 */
export function createNftKeeper<Wanted>(options: NftKeeperOptions<Wanted>): NftKeeper<Wanted> {
  const { frame, read, rulesOf, run = runProgram, clock, log } = options;
  let applied: { readonly rules: NftRules; readonly state: Wanted } | undefined;
  let waiting: ((isInForce: boolean) => void)[] = [];
  let working: Promise<void> | undefined;
  let cancelTimer = (): void => undefined;
  let endedMs = Number.NEGATIVE_INFINITY;
  let isFailing = false;
  let stopped = false;
  let cancelLook = (): void => undefined;

  function schedule(delayMs: number): void {
    cancelTimer();
    cancelTimer = clock.after(delayMs, () => {
      if (working !== undefined || stopped) return;
      working = applyBatch().finally(() => {
        working = undefined;
        if (waiting.length > 0 && !stopped) schedule(minIntervalMs);
      });
    });
  }

  /** Never rejects. */
  async function applyBatch(): Promise<void> {
    const resolvers = waiting;
    waiting = [];
    const state = read();
    const startedMs = clock.monotonicMs();
    let isRefused = false;
    try {
      const rules = rulesOf(state);
      const before = applied;
      const text = before === undefined ? writeTable(frame, rules) : writeChange(frame, before.rules, rules);
      if (text !== '') {
        await run('nft', ['-f', '-'], text);
        endedMs = clock.monotonicMs();
      }
      applied = { rules, state };
      isFailing = false;
      await options.onApplied?.(before?.state, state);
    } catch (err) {
      isRefused = true;
      if (!isFailing) log.error({ err, table: frame.name }, 'Could not change rules of the kernel');
      isFailing = true;
      applied = undefined;
      endedMs = clock.monotonicMs();
      if (!stopped) schedule(retryMs);
    }
    options.onTransaction?.({ seconds: (clock.monotonicMs() - startedMs) / 1_000, isRefused });
    for (const resolve of resolvers) resolve(!isRefused);
  }

  async function look(): Promise<void> {
    if (working === undefined && applied !== undefined && waiting.length === 0) {
      const { rules } = applied;
      const isIntact = await run('nft', ['-j', 'list', 'table', 'ip', frame.name]).then(
        (listing) => isListingOf(listing, frame, rules),
        () => false,
      );
      // The listing may be older than a transaction that began meanwhile.
      if (!isIntact && applied?.rules === rules && working === undefined && !stopped) {
        log.warn({ table: frame.name }, 'Wrote rules of the kernel again, which somebody else had changed');
        applied = undefined;
        schedule(0);
      }
    }
    if (!stopped) scheduleLook();
  }
  const scheduleLook = (): void => {
    cancelLook = clock.after(lookMs, () => void look());
  };
  scheduleLook();

  return {
    apply() {
      if (stopped) return Promise.resolve(false);
      return new Promise((resolve) => {
        waiting.push(resolve);
        if (working === undefined) schedule(Math.max(0, endedMs + minIntervalMs - clock.monotonicMs()));
      });
    },
    get applied() {
      return applied?.state;
    },
    async stop() {
      stopped = true;
      cancelTimer();
      cancelLook();
      for (const resolve of waiting.splice(0)) resolve(false);
      await working;
      await removeNftTable(frame, run);
      applied = undefined;
    },
  };
}

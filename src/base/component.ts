/** A part with a life: `cli/compose` starts parts in order and stops them in reverse. No work in constructors. */
export interface Component {
  readonly name: string;
  /** Resolves when the part does its work (listening, synced). Aborting `signal` abandons the start. */
  start(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Finishes what is under way and releases what it holds. Safe to call when start failed, and twice. */
  stop(): Promise<void>;
}

import type { Forward, ProxyAbilities } from './table.ts';

/** Way in which connections to Services get to their endpoints. */
export interface ProxyBackend {
  readonly abilities: ProxyAbilities;
  /** Takes the forwards of a Service in place of those before. Resolves after the first try; what failed is tried again. */
  set(service: string, forwards: readonly Forward[]): Promise<void>;
  /** Keys of the forwards in force. */
  readonly serving: readonly string[];
  /** Ends everything, also connections that pass through this process. */
  stop(): Promise<void>;
}

/** Receives each address that a backend cannot serve, and why. */
export type ReportUnservable = (forward: Forward, err: NodeJS.ErrnoException) => void;

import { type EtcdClient, isOpen } from './client.ts';
import type { TxnAnswer } from './messages.ts';

interface OnceOnly {
  readonly key: string;
  readonly text: string;
  /** The client waits some seconds for each try. */
  readonly maxTries: number;
}

/**
 * Creates a key that nobody deletes or changes, or gives what is there. Without an answer it may have been written; the next try shows it
 * then, and cannot make a second one.
 */
export async function createOnce(client: EtcdClient, { key, text, maxTries }: OnceOnly): Promise<TxnAnswer> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await client.txn({ compare: [{ key, revision: 0 }], success: { put: { key, text } }, read: key });
    } catch (err) {
      if (!isOpen(err) || tries === maxTries) throw err;
      client.moveOn();
    }
  }
}

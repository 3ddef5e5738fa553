import { isStatusError } from '../machinery/status-error.ts';

/** The text for a condition or an Event. */
export const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

/** Nothing can be created in a namespace that is being deleted: not worth a retry or a word. */
export const isNamespaceTerminating = (err: unknown): boolean =>
  isStatusError(err) && err.details?.causes?.some(({ reason }) => reason === 'NamespaceTerminating') === true;

import { annotations } from '../../well-known.ts';

/** Bodies of merge patches by which commands and the page ask for something of an app. */

/**
 * Asks for a look now, at a source or an app; Flux's `reconcile`.
 *
 * @param token  another one than that of the request before: the time, RFC 3339
 */
export const syncRequest = (token: string) => ({ metadata: { annotations: { [annotations.reconcileRequestedAt]: token } } });

export interface Suspension {
  readonly by: string;
  readonly reason?: string | undefined;
  /** RFC 3339; without it the app rests until somebody resumes it. */
  readonly until?: string | undefined;
}

export const suspendRequest = ({ by, reason, until }: Suspension) => ({
  metadata: {
    annotations: { [annotations.suspendedBy]: by, [annotations.suspendReason]: reason ?? null, [annotations.suspendUntil]: until ?? null },
  },
  spec: { suspend: true },
});

/** Ends a suspension and a pin. */
export function resumeRequest() {
  const { suspendReason, suspendUntil, suspendedBy, hold, pin, heldBy, heldAt } = annotations;
  const notes = Object.fromEntries([suspendReason, suspendUntil, suspendedBy, hold, pin, heldBy, heldAt].map((name) => [name, null]));
  return { metadata: { annotations: notes }, spec: { suspend: null } };
}

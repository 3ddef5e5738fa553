import { annotations } from '../../well-known.ts';
import type { Kustomization } from './kustomization.ts';

/**
 * A commit that an app does not follow: it stays at (or goes back to) another one until a commit comes that changes the app. Kept in the
 * annotation `midship.dev/hold` as JSON, so that whoever looks at the app sees who did it and when.
 */
export interface Hold {
  /** The commit that is held back: 40 hex digits. */
  readonly held: string;
  /** The commit that stays in force: 40 hex digits; empty for the last one that was applied before. */
  readonly pinned: string;
  readonly by: string;
  /** RFC 3339. */
  readonly at: string;
  readonly reason?: string;
}

const isSha = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{40}$/.test(value);
const maxTextLength = 500;
const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, maxTextLength) : '');

export const formatHold = (hold: Hold): string => JSON.stringify(hold);

/** The hold of an app; a bare SHA holds that commit back. Undefined when there is none, or none that can be read. */
export function holdOf(app: Pick<Kustomization, 'metadata'>): Hold | undefined {
  const value = app.metadata.annotations?.[annotations.hold];
  if (value === undefined) return undefined;
  if (isSha(value)) return { held: value, pinned: '', by: '', at: '' };
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    // Anyone may write an annotation; what cannot be read holds nothing.
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { held, pinned, by, at, reason } = parsed as Readonly<Record<string, unknown>>;
  if (!isSha(held)) return undefined;
  return {
    held,
    pinned: isSha(pinned) ? pinned : '',
    by: text(by),
    at: text(at),
    ...(reason === undefined ? {} : { reason: text(reason) }),
  };
}

/** `Pinned by alice at 2026-01-02T03:04:05Z: too many pods`; the same words everywhere. */
export function describeHold({ by, at, reason, held }: Hold): string {
  const who = `Pinned${by === '' ? '' : ` by ${by}`}${at === '' ? '' : ` at ${at}`}`;
  return `${who}, ${held.slice(0, 7)} is held back${reason === undefined || reason === '' ? '' : `: ${reason}`}`;
}

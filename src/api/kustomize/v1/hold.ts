import type { KubeObject } from '../../../machinery/object.ts';
import { annotations } from '../../well-known.ts';

/** A commit that an app does not follow: it stays at, or goes back to, another one until a commit comes that changes the app. */
export interface Hold {
  /** The commit that is held back: 40 hex digits. */
  readonly held: string;
  /** The commit that runs meanwhile; empty for the newest of the app's history whose objects differ from those of the held one. */
  readonly pinned: string;
  readonly by: string;
  /** RFC 3339. */
  readonly at: string;
}

const isSha = (value: string | undefined): value is string => value !== undefined && /^[0-9a-f]{40}$/.test(value);
const maxTextLength = 200;

/** The annotations that say it; given to a merge patch. */
export function holdAnnotations({ held, pinned, by, at }: Hold): Readonly<Record<string, string>> {
  return {
    [annotations.hold]: held,
    ...(pinned === '' ? {} : { [annotations.pin]: pinned }),
    [annotations.heldBy]: by,
    [annotations.heldAt]: at,
  };
}

/** The hold of an app. Undefined when there is none: anyone may write an annotation, and one without a whole SHA holds nothing. */
export function holdOf({ metadata }: Pick<KubeObject, 'metadata'>): Hold | undefined {
  const {
    [annotations.hold]: held,
    [annotations.pin]: pinned,
    [annotations.heldBy]: by = '',
    [annotations.heldAt]: at = '',
  } = metadata.annotations ?? {};
  if (!isSha(held)) return undefined;
  return { held, pinned: isSha(pinned) ? pinned : '', by: by.slice(0, maxTextLength), at: at.slice(0, maxTextLength) };
}

/** `Pinned by alice at 2026-01-02T03:04:05Z, 3f2a9c1 is held back`; the same words everywhere. */
export function describeHold({ by, at, held, pinned }: Hold): string {
  const where = pinned === '' ? 'Pinned' : `Pinned to ${pinned.slice(0, 7)}`;
  return `${where}${by === '' ? '' : ` by ${by}`}${at === '' ? '' : ` at ${at}`}, ${held.slice(0, 7)} is held back`;
}

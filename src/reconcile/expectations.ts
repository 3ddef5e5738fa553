import type { Clock } from '../base/clock.ts';

/**
 * Writes that a controller has made and its cache does not show yet, by key of the owner. Acting on the older cache
 * would make them twice.
 *
 * Expectations that are not met after five minutes are given up: a notification was lost, and the cache is believed again.
 *
 * @see client-go's ControllerExpectations, whose rules these are
 */
export interface Expectations {
  /** Called before the requests go out, so that no answer can overtake it. */
  expectCreations(owner: string, count: number): void;
  /** `uids` of the objects that will be deleted. */
  expectDeletions(owner: string, uids: readonly string[]): void;
  creationObserved(owner: string): void;
  /** Also for one whose deletion failed; unknown ones are ignored. */
  deletionObserved(owner: string, uid: string): void;
  /** `count` creations failed or were not sent. */
  creationsFailed(owner: string, count: number): void;
  satisfied(owner: string): boolean;
  /**
   * Milliseconds until what is not met is given up; undefined when all is met. The owner has to be looked at then: an object that came and
   * went while a watch was broken is in no notification.
   */
  waitMs(owner: string): number | undefined;
  forget(owner: string): void;
}

const expiryMs = 5 * 60_000;

interface Expected {
  creations: number;
  readonly deletions: Set<string>;
  at: number;
}

/** Holds at most one entry for each owner; `forget` is called when an owner is gone. */
export function createExpectations(clock: Clock): Expectations {
  const byOwner = new Map<string, Expected>();

  const expectedOf = (owner: string): Expected => {
    let expected = byOwner.get(owner);
    if (expected === undefined) {
      expected = { creations: 0, deletions: new Set(), at: 0 };
      byOwner.set(owner, expected);
    }
    expected.at = clock.monotonicMs();
    return expected;
  };

  function waitMs(owner: string): number | undefined {
    const expected = byOwner.get(owner);
    if (expected === undefined || (expected.creations === 0 && expected.deletions.size === 0)) return undefined;
    const leftMs = expected.at + expiryMs - clock.monotonicMs();
    return leftMs < 0 ? undefined : leftMs + 1;
  }

  return {
    expectCreations(owner, count) {
      expectedOf(owner).creations += count;
    },
    expectDeletions(owner, uids) {
      const expected = expectedOf(owner);
      for (const uid of uids) expected.deletions.add(uid);
    },
    creationObserved(owner) {
      const expected = byOwner.get(owner);
      if (expected !== undefined && expected.creations > 0) expected.creations -= 1;
    },
    deletionObserved(owner, uid) {
      byOwner.get(owner)?.deletions.delete(uid);
    },
    creationsFailed(owner, count) {
      const expected = byOwner.get(owner);
      if (expected !== undefined) expected.creations = Math.max(0, expected.creations - count);
    },
    satisfied(owner) {
      if (waitMs(owner) !== undefined) return false;
      byOwner.delete(owner);
      return true;
    },
    waitMs,
    forget(owner) {
      byOwner.delete(owner);
    },
  };
}

/** The shape of a state, where there is room for one; its word is always beside it. */
export type Shape = 'ok' | 'progressing' | 'drift' | 'failed' | 'paused' | 'unknown';

interface StateWords {
  /** Beside the shape: a row, a badge, a title. */
  readonly word: string;
  /** After the name of one app. */
  readonly one: string;
  /** After a number of apps. */
  readonly many: string;
  readonly shape: Shape;
  /** True when the cluster runs what the branch says: such an app counts under "match Git", and `status --exit-code` is 0. */
  readonly matches: boolean;
  /** For the reference: when an app is in this state. */
  readonly meaning: string;
}

/**
 * The answers to "is this app what Git says?", worst first. Page, badge, terminal, `status`, `why`, `status.json` and
 * metrics take their words from this one vocabulary; docs/reference/states.md repeats the table.
 */
export const appStates = {
  NotApplied: {
    word: 'Not applied',
    one: 'is not applied',
    many: 'are not applied',
    shape: 'failed',
    matches: false,
    meaning: 'The newest commit, or the spec of the app, cannot be put in force. The revision before it stays in force.',
  },
  Broken: {
    word: 'Does not work',
    one: 'does not work',
    many: 'do not work',
    shape: 'failed',
    matches: false,
    meaning: 'The objects are applied, and at least one of them fails: an image, a crash, a probe, a deadline.',
  },
  Differs: {
    word: 'Differs',
    one: 'differs from Git',
    many: 'differ from Git',
    shape: 'drift',
    matches: false,
    meaning:
      'A field or an object in the cluster differs from Git and stays so. Reasons are a held correction, `midship.dev/drift: detect`, a suspended or pinned app, a prune that waits for approval.',
  },
  NoController: {
    word: 'No controller',
    one: 'has objects that nothing acts on',
    many: 'have objects that nothing acts on',
    shape: 'drift',
    matches: false,
    meaning: 'The objects are stored, and this version has no controller for the kind of at least one of them.',
  },
  Waiting: {
    word: 'Waiting',
    one: 'waits',
    many: 'wait',
    shape: 'progressing',
    matches: false,
    meaning: 'Another app comes first, or the source of the app is not there.',
  },
  OnTheWay: {
    word: 'On the way',
    one: 'is on the way',
    many: 'are on the way',
    shape: 'progressing',
    matches: false,
    meaning: 'A newer commit is not applied yet, or its objects are not ready yet.',
  },
  Unknown: {
    word: 'Unknown',
    one: 'is unknown',
    many: 'are unknown',
    shape: 'unknown',
    matches: false,
    meaning: 'Nobody has looked at the app yet, or Git cannot be read, so what it says now is not known.',
  },
  Held: {
    word: 'Held',
    one: 'is held, and is what Git says',
    many: 'are held',
    shape: 'paused',
    matches: true,
    meaning: 'Somebody suspended or pinned the app. It is what Git says now, and further commits do not reach it.',
  },
  Matches: {
    word: 'Matches Git',
    one: 'is what Git says, and works',
    many: 'match Git',
    shape: 'ok',
    matches: true,
    meaning: 'Every object is what the newest commit says, and works.',
  },
} as const satisfies Readonly<Record<string, StateWords>>;

export type VerdictState = keyof typeof appStates;

/** Worst first: the order of rows, segments and sentences. */
export const appStateNames = Object.keys(appStates) as readonly VerdictState[];

export const isMatch = (state: VerdictState): boolean => appStates[state].matches;

/** `4 apps match Git.`, `1 of 4 apps does not work, 1 differs from Git.`: the sentence over all apps. */
export function verdictOver(states: readonly VerdictState[]): string {
  const total = states.length === 1 ? '1 app' : `${states.length} apps`;
  const counted = appStateNames.flatMap((state) => {
    const count = states.filter((each) => each === state).length;
    return count === 0 ? [] : [{ state, count }];
  });
  const bad = counted.filter(({ state }) => !isMatch(state));
  if (bad.length > 0) {
    const parts = bad.map(({ state, count }, index) => {
      const { one, many } = appStates[state];
      return `${count}${index === 0 ? ` of ${total}` : ''} ${count === 1 ? one : many}`;
    });
    return `${parts.join(', ')}.`;
  }
  const held = counted.find(({ state }) => state === 'Held')?.count ?? 0;
  const verb = states.length === 1 ? 'matches' : 'match';
  return `${total} ${verb} Git${held === 0 ? '' : `, ${states.length === 1 ? 'and is held' : `${held} of them held`}`}.`;
}

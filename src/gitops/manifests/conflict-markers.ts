/**
 * The line, from 1, of the first conflict that git left in a text: a merge, or a revert, was committed before it was resolved. Undefined
 * when there is none. Lines that only look like one of the three markers are none.
 */
export function conflictLineOf(text: string): number | undefined {
  const ours = /^<{7} .*$/m.exec(text);
  if (ours === null) return undefined;
  const rest = text.slice(ours.index);
  const middle = /^={7}\r?$/m.exec(rest);
  if (middle === null || !/^>{7} /m.test(rest.slice(middle.index))) return undefined;
  return text.slice(0, ours.index).split('\n').length;
}

/** The message in place of a parser's error about the markers. */
export const conflictProblem = {
  message: 'has a merge conflict that was committed (<<<<<<<)',
  hint: 'Keep one of the two sides, take out the lines <<<<<<<, ======= and >>>>>>>, and commit.',
} as const;

/** A build that costs more than a build may: a few lines of a repository can ask for hours of work and gigabytes of text. */
export class TooMuchWork extends Error {
  constructor() {
    super('this is more work than one build may be');
  }
}

/** Rest of a build's allowance. A unit is about one visited node of an object, 100 to 500 ns. */
export interface Allowance {
  left: number;
}

/** Some seconds of a processor. 10,000 objects of 50 fields and a patch of each of them take a twentieth of it. */
export const allowanceOfBuild = 20_000_000;

/** Work of the running build: steps do not wait, so there is one at a time. */
let current: Allowance | undefined;

/** Runs a step of a build, which must not wait, at the cost of its allowance. */
export function atCostOf<T>(allowance: Allowance, step: () => T): T {
  const before = current;
  current = allowance;
  try {
    return step();
  } finally {
    current = before;
  }
}

/** Says what a step does next. @throws TooMuchWork when the allowance is used up */
export function spend(units: number): void {
  if (current === undefined) return;
  current.left -= units;
  if (current.left < 0) throw new TooMuchWork();
}

/** Says that text of so many characters is made next, all of which is in memory until the build ends: 40 million at most. */
export const spendText = (characters: number): void => spend(characters / 2);

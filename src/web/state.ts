import { appStates, type Shape, type VerdictState } from '../base/app-states.ts';

/** How things look on the page; each has a shape and a colour, and is never shown by colour alone. */
export type State = Shape;

export interface Shown {
  readonly state: State;
  /** The word that stands beside the shape. */
  readonly word: string;
}

export const shownOf = (state: VerdictState): Shown => ({ state: appStates[state].shape, word: appStates[state].word });

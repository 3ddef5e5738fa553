import { appStates, type Shape, type VerdictState } from '../base/contracts/app-states.ts';

/** Appearance of states on the page. Each has a shape and a colour, and colour alone never carries the meaning. */
export type State = Shape;

export interface Shown {
  readonly state: State;
  /** The word next to the shape. */
  readonly word: string;
}

export const shownOf = (state: VerdictState): Shown => ({ state: appStates[state].shape, word: appStates[state].word });

import { insteadOfWord } from '../api/unsupported-kinds.ts';
import { Failure } from './failure.ts';

/** Explains why no object of a kind of another engine is looked for. @throws Failure for a kind that is not supported, and for no other */
export function throwUnsupported(word: string): void {
  const found = insteadOfWord(word);
  if (found === undefined) return;
  throw new Failure(`not supported: ${found.kind}`, {
    why: 'Midship does not act on this kind, and an app that has one is not applied.',
    fix: found.instead,
  });
}

import type { AppOverview } from '../base/contracts/overview.ts';
import { type State, shownOf } from './state.ts';

const colours: Readonly<Record<State, string>> = {
  ok: '#0B7A5C',
  progressing: '#1A63C4',
  drift: '#9A5B00',
  failed: '#B4232C',
  paused: '#6A4FB3',
  unknown: '#5E6A75',
};

/** A picture of an app's state for a README. */
export function badgeOf(app: AppOverview): string {
  const { state, word } = shownOf(app.state);
  // Names of objects are letters, digits, dots and dashes: nothing to escape.
  const left = widthOf(app.name);
  const right = widthOf(word);
  const label = `${app.name}: ${word}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + right}" height="20" role="img" aria-label="${label}"><title>${label}</title><rect width="${left}" height="20" rx="3" fill="#16202B"/><rect x="${left - 3}" width="${right + 3}" height="20" rx="3" fill="${colours[state]}"/><rect x="${left - 3}" width="3" height="20" fill="${colours[state]}"/><g fill="#fff" text-anchor="middle" font-family="system-ui,sans-serif" font-size="11"><text x="${(left - 3) / 2}" y="14">${app.name}</text><text x="${left + right / 2}" y="14">${word}</text></g></svg>\n`;
}

/** Roughly, since the font of the reader is not known. */
const widthOf = (text: string): number => Math.round(text.length * 6.6) + 14;

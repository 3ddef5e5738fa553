/**
 * The parser knows maps, but no construction of messages: `Object.spec{replicas: 3}`. It reads a call instead, with names and values
 * in turns, `Object.spec(replicas, 3)`: as long as the original, so that every position stays what it is.
 */
export interface WithoutMessages {
  readonly source: string;
  /** Positions at which the calls that replace messages open. */
  readonly openings: ReadonlySet<number>;
}

interface Bracket {
  readonly closes: string;
  readonly isMessage: boolean;
  /** `?` that wait for their `:`. */
  conditionals: number;
}

const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };
/** No message begins behind these words. */
const keywords = new Set(['in', 'true', 'false', 'null']);

/** A source without messages comes back as it is; what is wrong with one is for the parser to say. */
export function withoutMessages(source: string): WithoutMessages {
  if (!/[\w`]\s*\{/.test(source)) return { source, openings: none };
  const text = [...Array(source.length).keys()].map((at) => source.charAt(at));
  const openings = new Set<number>();
  const brackets: Bracket[] = [];
  let previous = '';
  for (let at = 0; at < source.length; ) {
    const token = tokenAt(source, at);
    const top = brackets.at(-1);
    if (token.kind === 'blank') {
      at += token.length;
      continue;
    }
    const char = source.charAt(at);
    if (token.kind === 'sign') {
      if (closing[char] !== undefined) {
        const isMessage = char === '{' && /^[A-Za-z_]/.test(previous) && !keywords.has(previous);
        brackets.push({ closes: closing[char], isMessage, conditionals: 0 });
        if (isMessage) {
          text[at] = '(';
          openings.add(at);
        }
      } else if (top !== undefined && char === top.closes) {
        brackets.pop();
        if (top.isMessage) text[at] = ')';
      } else if (top !== undefined && char === '?' && previous !== '.' && previous !== '[') top.conditionals += 1;
      else if (top !== undefined && char === ':') {
        if (top.conditionals > 0) top.conditionals -= 1;
        else if (top.isMessage) text[at] = ',';
      }
    }
    previous = source.slice(at, at + token.length);
    at += token.length;
  }
  return openings.size === 0 ? { source, openings: none } : { source: text.join(''), openings };
}

const none: ReadonlySet<number> = new Set();

interface Token {
  readonly kind: 'blank' | 'text' | 'word' | 'sign';
  readonly length: number;
}

const blank = /(?:\s|\/\/[^\n]*)+/y;
const quoted = /[rRbB]{0,2}("""|'''|"|')/y;
const word = /[A-Za-z_]\w*/y;

function tokenAt(source: string, at: number): Token {
  const space = matchAt(blank, source, at);
  if (space !== undefined) return { kind: 'blank', length: space.length };
  const opening = matchAt(quoted, source, at);
  if (opening !== undefined) return { kind: 'text', length: textLength(source, at, opening) };
  const name = matchAt(word, source, at);
  return name === undefined ? { kind: 'sign', length: 1 } : { kind: 'word', length: name.length };
}

function matchAt(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/** To the end of the source for a text that is not closed. */
function textLength(source: string, at: number, opening: string): number {
  const isRaw = /^[rRbB]*[rR]/.test(opening);
  const mark = opening.replace(/^[rRbB]+/, '');
  for (let end = at + opening.length; end < source.length; end += 1) {
    if (!isRaw && source.charAt(end) === '\\') end += 1;
    else if (source.startsWith(mark, end)) return end + mark.length - at;
  }
  return source.length - at;
}

import { RE2JS, RE2JSException } from 're2js';
import { BoundedMap } from '../base/bounded-map.ts';

/**
 * Regular expressions that users write: RE2's syntax, matched in time linear to the text, so that no pattern can stall the server.
 */
export interface Pattern {
  /** Instructions that it was compiled to: what it costs, in memory and in time to compile. */
  readonly size: number;
  /** True when the pattern matches anywhere in `text`. */
  test(text: string): boolean;
  /** The first match; undefined when there is none. */
  find(text: string): string | undefined;
  /** Matches from left to right, at most `limit` of them. */
  findAll(text: string, limit: number): readonly string[];
}

/** The text is not a pattern; the message is that of RE2. */
export class PatternError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PatternError';
  }
}

/** Longer patterns are refused: compiling costs time and memory by length. */
const maxPatternLength = 16_384;
/** Instructions of a compiled pattern; counted repetitions multiply, so that a short pattern can be a large program. */
const maxProgramSize = 20_000;

const compiled = new BoundedMap<string, Pattern>(500);

/**
 * Compiles a pattern, or returns it from a cache of the last 500.
 *
 * @throws PatternError when it cannot be read or would be too large
 */
export function compilePattern(source: string): Pattern {
  const known = compiled.get(source);
  if (known !== undefined) return known;
  const pattern = patternOf(source);
  compiled.set(source, pattern);
  return pattern;
}

function patternOf(source: string): Pattern {
  if (source.length > maxPatternLength) throw new PatternError('expression too large');
  let expression: RE2JS;
  try {
    expression = RE2JS.compile(source);
  } catch (err) {
    if (err instanceof RE2JSException) throw new PatternError(err.message);
    // Nesting beyond the stack of the parser.
    if (err instanceof RangeError) throw new PatternError('expression nests too deeply');
    throw err;
  }
  const size = expression.programSize();
  if (size > maxProgramSize) throw new PatternError('expression too large');
  return {
    size,
    test: (text) => expression.test(text),
    find(text) {
      const matcher = expression.matcher(text);
      return matcher.find() ? (matcher.group() ?? undefined) : undefined;
    },
    findAll(text, limit) {
      const matcher = expression.matcher(text);
      const found: string[] = [];
      while (found.length < limit && matcher.find()) found.push(matcher.group() ?? '');
      return found;
    },
  };
}

import type { CelFunction } from './compiler.ts';
import { type CelType, parseType } from './types.ts';

type Run = CelFunction['run'];

/** `fn('size', 'list(A)', 'int', …)`: called without a receiver. */
export const fn = (name: string, args: string, result: string, run: Run): CelFunction => ({
  name,
  member: false,
  args: typesOf(args),
  result: parseType(result),
  run,
});

/** `method('startsWith', 'string, string', 'bool', …)`: the first argument is before the dot. */
export const method = (name: string, args: string, result: string, run: Run): CelFunction => ({
  ...fn(name, args, result, run),
  member: true,
});

/** Types between commas that are in no parentheses. */
function typesOf(text: string): readonly CelType[] {
  const types: string[] = [];
  let depth = 0;
  let current = '';
  for (const char of text) {
    if (char === '(') depth += 1;
    if (char === ')') depth -= 1;
    if (char === ',' && depth === 0) {
      types.push(current);
      current = '';
    } else current += char;
  }
  if (current.trim() !== '') types.push(current);
  return types.map(parseType);
}

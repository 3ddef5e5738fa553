import { parseYamlDocuments } from '../../../machinery/yaml.ts';

/** The text of a scalar as a file has it. */
export const textOfScalar = (value: unknown): string =>
  value === null || value === undefined ? '' : typeof value === 'object' ? '' : String(value);

const oneScalar = { maxBytes: 1_000, maxDepth: 2, maxAliases: 0, maxDocuments: 1, booleans: 'true-false' } as const;

/** Value of an unquoted text in a file: `80` is a number, `true` a boolean. */
export function resolveScalar(text: string): unknown {
  if (text === '') return null;
  if (!/^[-+.0-9]+[-+.0-9a-fA-FxoeE_]*$|^(true|True|TRUE|false|False|FALSE|null|Null|NULL|~)$/.test(text) || text.length > 100) return text;
  if (/^(---|\.\.\.|-)$/.test(text)) return text;
  return parseYamlDocuments(text, oneScalar)[0]?.value ?? null;
}

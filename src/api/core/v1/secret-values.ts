import type { DynamicObject, KubeObject } from '../../../machinery/object.ts';
import { parseYamlDocuments, YamlError } from '../../../machinery/yaml.ts';

/** Values of one Secret that are looked for; the rest of a larger one is not. */
const maxValuesOfSecret = 500;
/** Lines of a value that are looked for one by one, as in a key of several lines. */
const maxLines = 100;
const minLineLength = 8;
const limits = { maxBytes: 1_000, maxDepth: 2, maxAliases: 0, maxDocuments: 1 };

/** Gives the forms that a value may have in a message: as it is, in base64, escaped, and as YAML reads it without quotation marks. */
export function formsOf(value: string): readonly string[] {
  const forms = new Set<string>();
  const add = (form: string): void => {
    if (form === '') return;
    forms.add(form);
    forms.add(JSON.stringify(form).slice(1, -1));
    // As Preact writes it into a page.
    forms.add(form.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;'));
  };
  add(value);
  add(value.trim());
  // As a variable has it.
  add(value.replaceAll('\n', ''));
  const base64 = Buffer.from(value).toString('base64').replace(/=+$/, '');
  // Base64 of less than three bytes is a word of four letters, which may be anywhere.
  if (value.length >= 3) forms.add(base64);
  // Without halves of characters, which have no such form.
  add(encodeURIComponent(Buffer.from(value).toString('utf8')));
  for (const line of value.split('\n', maxLines)) if (line.trim().length >= minLineLength) add(line.trim());
  const number = numberOf(value);
  if (number !== undefined) add(number);
  return [...forms];
}

/** A number as it is printed once the value was taken for one: `0644` is 420. */
function numberOf(value: string): string | undefined {
  if (!/^[-+.\w]{1,40}$/.test(value)) return undefined;
  try {
    const read = parseYamlDocuments(value, limits)[0]?.value;
    return typeof read === 'number' ? String(read) : undefined;
  } catch (err) {
    if (err instanceof YamlError) return undefined;
    throw err;
  }
}

const known = new WeakMap<KubeObject, readonly string[]>();

/** All forms of all values of a Secret, as the server or a manifest has it; empty for other kinds. */
export function secretValuesIn(object: KubeObject): readonly string[] {
  if (object.kind !== 'Secret' || object.apiVersion !== 'v1') return [];
  let forms = known.get(object);
  if (forms === undefined) {
    forms = plainValuesOf(object as DynamicObject).flatMap(formsOf);
    known.set(object, forms);
  }
  return forms;
}

function plainValuesOf({ data, stringData }: DynamicObject): readonly string[] {
  const encoded = entriesOf(data).map(([, value]) =>
    typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : String(value),
  );
  // A text that is no base64 was meant as the value itself.
  const raw = entriesOf(data).flatMap(([, value]) => (typeof value === 'string' ? [value] : []));
  return [...encoded, ...raw, ...entriesOf(stringData).map(([, value]) => String(value))];
}

const entriesOf = (map: unknown): readonly (readonly [string, unknown])[] =>
  typeof map === 'object' && map !== null ? Object.entries(map).slice(0, maxValuesOfSecret) : [];

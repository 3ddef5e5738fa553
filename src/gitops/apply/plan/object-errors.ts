import { annotations } from '../../../api/well-known.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { StatusError } from '../../../machinery/status-error.ts';
import { createLocators } from '../../../machinery/yaml.ts';
import { maxFileBytes } from '../../manifests/documents.ts';
import type { BuildError } from '../../manifests/manifest.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { describeObject } from '../objects/object-id.ts';
import type { DesiredObject } from './plan.ts';
import type { Redaction } from './secret-values.ts';
import { nearestField, wrongQuantities } from './spelling.ts';

/** The server refuses a change of an object that it would take as a new one, because a fixed field has another value. */
export class FixedFieldError extends StatusError {
  override readonly name = 'FixedFieldError';
  constructor({ code, reason, message, details }: StatusError) {
    super({ code, reason, message, ...(details === undefined ? {} : { details }) });
  }
}

/** The server refuses the change of an immutable field, as Kubernetes, webhooks and rules of definitions say it. */
export const isImmutable = (err: StatusError): boolean =>
  /immutable|may not (be )?change|cannot change|updates to .* forbidden/i.test(err.message);

/**
 * One error for each field the server named, with the line and column of the field in its file.
 *
 * No error holds a value of a Secret, though the server repeats values.
 */
export async function errorsOf(
  { manifest, object }: DesiredObject,
  err: StatusError,
  { revision, redaction: { text: named, quoted } }: { readonly revision: Pick<KnownRevision, 'source'>; readonly redaction: Redaction },
): Promise<readonly BuildError[]> {
  const hint =
    err instanceof FixedFieldError || isImmutable(err)
      ? `It cannot be changed in place: give the object a new name, or annotate it with ${annotations.fluxForce}: enabled to have it deleted and created again`
      : undefined;
  const unknown = [...err.message.matchAll(/(unknown|duplicate) field "([^"]+)"/g)].map(([text, what, field = '']) => ({
    field,
    message: quoted(text),
    ...(what === 'unknown' ? spellingOf(object, field) : {}),
  }));
  const undeclared = [...err.message.matchAll(/\.(\S+): field not declared in schema/g)].map(([, path = '']) => {
    const field = indexPath(object, path);
    return { field, message: `unknown field "${named(field)}"`, ...spellingOf(object, field) };
  });
  const mistyped = [...err.message.matchAll(/ \.(\S+): expected ([a-z]+)/g)].map(([, path = '', type = '']) => {
    const field = indexPath(object, path);
    return { field, message: `${named(field)} must be ${typeNames[type] ?? type}` };
  });
  const causes = (err.details?.causes ?? []).map(({ field = '', message = '' }) => ({
    field,
    // An error about the object as a whole has no field to name.
    message: `${field === '[]' ? '' : `${named(field)}: `}${field === '[]' ? sizeText(object, message) : quoted(withChangedFields(withoutLongValue(message)))}`,
  }));
  const amounts = (err.message.includes('quantities must match') ? wrongQuantities(object) : []).map((field) => ({
    field,
    message: `${named(field)} must be a quantity, such as 500m, 2 or 128Mi`,
  }));
  const kinds: readonly (readonly FieldFinding[])[] = [unknown, undeclared, mistyped, amounts, causes];
  const [found = []] = kinds.filter(({ length }) => length > 0);
  const base = { file: manifest.file, line: manifest.line, ...(hint === undefined ? {} : { hint }) };
  const who = named(describeObject(object));
  if (found.length === 0) return [{ ...base, message: `${who}: ${quoted(err.message)}` }];
  const locators = await locatorsOf(manifest.blob, revision);
  const locate = locators?.(manifest.line);
  return found.map(({ field, message, hint }) => ({
    ...base,
    ...(hint === undefined ? {} : { hint }),
    ...locate?.(field),
    message: `${who}: ${message}`,
  }));
}

interface FieldFinding {
  readonly field: string;
  readonly message: string;
  readonly hint?: string;
}

function spellingOf(object: DynamicObject, field: string): Pick<FieldFinding, 'hint'> {
  const meant = nearestField(object, field);
  return meant === undefined ? {} : { hint: `Did you mean ${meant}?` };
}

/** `Too long` of a whole object, with how much it is and how much it may be. */
function sizeText({ kind, ...content }: DynamicObject, message: string): string {
  const [, most] = /^Too long: may not be more than (\d+) bytes/.exec(message) ?? [];
  if (most === undefined) return message;
  const { data = {}, binaryData = {}, stringData = {} } = content as Partial<Record<string, Readonly<Record<string, unknown>>>>;
  const bytes = [data, binaryData, stringData]
    .flatMap(Object.values)
    .reduce((sum: number, value) => sum + Buffer.byteLength(String(value)), 0);
  return `holds ${mebibytes(bytes)} of data, and a ${kind} holds ${mebibytes(Number(most))} at most: split it, or keep the data elsewhere`;
}

const mebibytes = (bytes: number): string => `${Number((bytes / 1024 / 1024).toFixed(1))} MiB`;

/** Words for the types of a schema, as server-side apply names them. */
const typeNames: Readonly<Record<string, string>> = {
  numeric: 'a number without quotes',
  string: 'a text: put it in quotes',
  boolean: 'true or false without quotes',
  map: 'a map',
  list: 'a list',
};

/** A longer value says nothing that the file does not say better. */
const maxValueLength = 200;

/** Without the object or list that an error quotes, when that is long: a pod template has thousands of characters. */
const withoutLongValue = (message: string): string =>
  message.replace(/^Invalid value: ([{[].*[}\]]): /s, (quoted, value: string) => (value.length > maxValueLength ? '' : quoted));

/** Fields that are named of those that an update would change. */
const maxChangedFields = 5;

/** Names the fields that differ in place of the lines that compare two Go structures: below `spec: Forbidden: …` they fill a page. */
function withChangedFields(message: string): string {
  const [text = '', ...lines] = message.split('\n');
  const names = new Set<string>();
  let depth = Number.POSITIVE_INFINITY;
  for (const line of lines) {
    const [, indent = '', name] = /^[-+](\s*)"?([A-Z]\w*)"?:/.exec(line) ?? [];
    // Fields of a value that changed as a whole say no more.
    if (name === undefined || indent.length > depth) continue;
    names.add(name);
    depth = /[[{]$/.test(line) ? indent.length : Number.POSITIVE_INFINITY;
  }
  if (names.size === 0) return message;
  // `DNSPolicy` is `dnsPolicy` in a manifest.
  const fields = [...names].map((name) => name.replace(/^[A-Z]+(?=[A-Z][a-z])|^[A-Z]/, (start) => start.toLowerCase()));
  const more = fields.length - maxChangedFields;
  return `${text}; changed: ${fields.slice(0, maxChangedFields).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Text of the last requested file: a generator repeats a mistake in all of the thousand objects of its file. */
let last: { readonly blob: string; readonly locators: WeakRef<ReturnType<typeof createLocators>> } | undefined;

/** The place is a help, not the message: without the file, undefined, the document's own line has to do. */
async function locatorsOf(blob: string, { source }: Pick<KnownRevision, 'source'>): Promise<ReturnType<typeof createLocators> | undefined> {
  const known = last?.blob === blob ? last.locators.deref() : undefined;
  if (known !== undefined) return known;
  try {
    const locators = createLocators(Buffer.from(await source.readBlob(blob, maxFileBytes)).toString('utf8'));
    last = { blob, locators: new WeakRef(locators) };
    return locators;
  } catch {
    return undefined;
  }
}

/** Puts places for keys in the name of a field by server-side apply: `spec.containers[0].foo` for `spec.containers[name="web"].foo`. */
function indexPath(object: DynamicObject, path: string): string {
  let value: unknown = object;
  let result = '';
  for (const [, name, key] of path.matchAll(/\.?([^.[\]]+)|\[([^\]]*)\]/g)) {
    if (name !== undefined) {
      value = (value as Readonly<Record<string, unknown>> | undefined)?.[name];
      result += result === '' ? name : `.${name}`;
      continue;
    }
    const wanted = Object.fromEntries((key ?? '').split(',').map((pair) => pair.split('=')));
    const items: readonly unknown[] = Array.isArray(value) ? value : [];
    const index = items.findIndex((item) =>
      Object.entries(wanted).every(([field, text]) => JSON.stringify((item as Readonly<Record<string, unknown>>)[field]) === text),
    );
    value = items[index];
    result += `[${index === -1 ? key : index}]`;
  }
  return result;
}

import { readFileSync } from 'node:fs';

/**
 * The protobuf form of Kubernetes' own kinds, as `src/api/protobuf.json` has it: field numbers, and how JSON spells each field.
 * `decode.ts` reads bodies by it, and `encode.ts` writes answers.
 */

/** Name of the message of a kind, for `decodeMessage`; undefined when its layout is not known. */
export function messageOf({
  group,
  version,
  kind,
}: {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}): string | undefined {
  const { kinds } = protobufTable();
  const id = `${group}/${version}/${kind}`;
  return Object.hasOwn(kinds, id) ? kinds[id] : undefined;
}

/** As `scripts/gen-protobuf.mjs` writes it; the forms are explained there. */
interface ProtobufTable {
  readonly kinds: Readonly<Record<string, string>>;
  readonly messages: Readonly<Record<string, Readonly<Record<string, readonly [name: string, form: string, message?: string]>>>>;
}

let table: ProtobufTable | undefined;

function protobufTable(): ProtobufTable {
  table ??= JSON.parse(readFileSync(new URL('../../../api/protobuf.json', import.meta.url), 'utf8')) as ProtobufTable;
  return table;
}

/** A message: its fields by number, and its name as errors show it. */
export interface Layout {
  readonly goType: string;
  readonly fields: readonly (Field | undefined)[];
}

export interface Field {
  readonly number: number;
  readonly name: string;
  readonly label: 'optional' | 'repeated' | 'map';
  readonly form: Form;
  /** The zero value, or an empty message, means that the field is absent. */
  readonly zeroIsAbsent: boolean;
  /** Type of a message; resolved lazily, so that types may contain themselves. */
  layout(): Layout;
}

const scalarForms = ['string', 'bool', 'int32', 'int64', 'double', 'bytes'] as const;
export const eitherForms = ['message-or-list', 'message-or-bool', 'message-or-strings'] as const;
const messageForms = ['message', 'inline', 'list', 'time', 'micro-time', 'quantity', 'int-or-string', 'json', ...eitherForms] as const;
/** For the envelope only: bytes that stay bytes. */
export type Form = (typeof scalarForms)[number] | (typeof messageForms)[number] | 'raw';

const isForm = (form: string): form is Form => ([...scalarForms, ...messageForms] as readonly string[]).includes(form);

const layouts = new Map<string, Layout>();

export function layoutOf(name: string): Layout {
  let layout = layouts.get(name);
  if (layout === undefined) {
    const entries = protobufTable().messages[name];
    if (entries === undefined) throw new Error(`there is no protobuf message ${name}`);
    layout = compileLayout(name.slice(name.lastIndexOf('.') + 1), entries);
    layouts.set(name, layout);
  }
  return layout;
}

function compileLayout(goType: string, entries: ProtobufTable['messages'][string]): Layout {
  const fields: (Field | undefined)[] = [];
  for (const [number, [name, coded, message]] of Object.entries(entries)) {
    const [, labelPrefix, form = '', suffix] = /^(\[\]|\{\})?([a-z0-9-]+)(\?)?$/.exec(coded) ?? [];
    if (!isForm(form)) throw new Error(`field ${name} of protobuf message ${goType} has the unknown form ${coded}`);
    let layout: Layout | undefined;
    fields[Number(number)] = {
      number: Number(number),
      name,
      label: labelPrefix === '[]' ? 'repeated' : labelPrefix === '{}' ? 'map' : 'optional',
      form,
      zeroIsAbsent: suffix === '?',
      layout: () => {
        layout ??= layoutOf(message ?? '');
        return layout;
      },
    };
  }
  return { goType, fields };
}

/** Messages with a fixed layout. */
function fixedLayout(goType: string, fields: readonly FixedField[]): Layout {
  const byNumber: (Field | undefined)[] = [];
  for (const [number, name, form, layout = nothing, label = 'optional'] of fields) {
    byNumber[number] = { number, name, label, form, zeroIsAbsent: false, layout: () => (typeof layout === 'function' ? layout() : layout) };
  }
  return { goType, fields: byNumber };
}

type FixedField = readonly [number: number, name: string, form: Form, layout?: Layout | (() => Layout), label?: Field['label']];

const nothing: Layout = { goType: '', fields: [] };
export const timestamp = fixedLayout('Timestamp', [
  [1, 'seconds', 'int64'],
  [2, 'nanos', 'int32'],
]);
export const intOrString = fixedLayout('IntOrString', [
  [1, 'type', 'int64'],
  [2, 'intVal', 'int32'],
  [3, 'strVal', 'string'],
]);
export const quantity = fixedLayout('Quantity', [[1, 'string', 'string']]);
export const rawJson = fixedLayout('RawExtension', [[1, 'raw', 'raw']]);
export const typeMeta = fixedLayout('TypeMeta', [
  [1, 'apiVersion', 'string'],
  [2, 'kind', 'string'],
]);
export const envelope = fixedLayout('Unknown', [
  [1, 'typeMeta', 'inline', typeMeta],
  [2, 'raw', 'raw'],
]);
/** A message of answers, whose empty texts and zeros mean absence. */
const answerLayout = (goType: string, fields: readonly FixedField[]): Layout => {
  const layout = fixedLayout(goType, fields);
  return { goType, fields: layout.fields.map((field) => field && { ...field, zeroIsAbsent: field.form !== 'message' }) };
};

const listMeta = answerLayout('ListMeta', [
  [1, 'selfLink', 'string'],
  [2, 'resourceVersion', 'string'],
  [3, 'continue', 'string'],
  [4, 'remainingItemCount', 'int64'],
]);

/** The list of a kind whose objects have the layout `item`. */
export const listLayout = (item: Layout): Layout =>
  fixedLayout('List', [
    [1, 'metadata', 'message', listMeta],
    [2, 'items', 'message', item, 'repeated'],
  ]);

const objectMeta = (): Layout => layoutOf('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta');
/** Any object without spec and status. */
export const partialMetadata = fixedLayout('PartialObjectMetadata', [[1, 'metadata', 'message', objectMeta]]);

const statusCause = answerLayout('StatusCause', [
  [1, 'reason', 'string'],
  [2, 'message', 'string'],
  [3, 'field', 'string'],
]);
const statusDetails = answerLayout('StatusDetails', [
  [1, 'name', 'string'],
  [2, 'group', 'string'],
  [3, 'kind', 'string'],
  [4, 'causes', 'message', statusCause, 'repeated'],
  [5, 'retryAfterSeconds', 'int32'],
  [6, 'uid', 'string'],
]);
/** The answer to a request that failed, or whose object is gone. */
const status = answerLayout('Status', [
  [1, 'metadata', 'message', listMeta],
  [2, 'status', 'string'],
  [3, 'message', 'string'],
  [4, 'reason', 'string'],
  [5, 'details', 'message', statusDetails],
  [6, 'code', 'int32'],
]);

/** The layout of an answer of this kind, as far as it has a protobuf form. Lists are those of kinds that have one. */
export function answerLayoutOf(apiVersion: string, kind: string): Layout | undefined {
  const id = `${apiVersion}/${kind}`;
  const known = answerLayouts.get(id);
  if (known !== undefined) return known;
  const layout = findLayout(apiVersion, kind);
  // Only kinds of the table are kept, which are a few hundred.
  if (layout !== undefined) answerLayouts.set(id, layout);
  return layout;
}

const answerLayouts = new Map<string, Layout>([['v1/Status', status]]);
for (const version of ['v1', 'v1beta1']) {
  answerLayouts.set(`meta.k8s.io/${version}/PartialObjectMetadata`, partialMetadata);
  answerLayouts.set(`meta.k8s.io/${version}/PartialObjectMetadataList`, listLayout(partialMetadata));
}

function findLayout(apiVersion: string, kind: string): Layout | undefined {
  const [version = '', group = ''] = apiVersion.split('/').reverse();
  const name = messageOf({ group, version, kind });
  if (name !== undefined) return layoutOf(name);
  const item = kind.endsWith('List') ? messageOf({ group, version, kind: kind.slice(0, -'List'.length) }) : undefined;
  return item === undefined ? undefined : listLayout(layoutOf(item));
}

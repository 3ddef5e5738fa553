// Writes src/api/protobuf.json: the field numbers of the protobuf form of Kubernetes' built-in types, for decoding request bodies.
//
//   node scripts/gen-protobuf.mjs [--go-root DIR] [--schemas FILE] [--out FILE] [--verbose]
//
// Input: the generated.proto files in Debian's golang-k8s-api-dev and golang-k8s-apimachinery-dev. Facts only are taken: names, numbers,
// types. The file src/api/schemas.json gives the JSON spelling of a field and the meaning of its absence. The fields in
// scripts/protobuf-facts.mjs are newer than Debian. `npm run generate` runs it after gen-schemas.mjs.
//
// The output is deterministic and has one line per message:
//
//   "kinds":    "GROUP/VERSION/KIND" -> name of the message, as of its schema
//   "messages": name -> field number -> [JSON name, form, name of the message]
//
// A form is one of these. Before it, `[]` marks repeated fields and `{}` maps with string keys. After it, `?` says that
// the zero value or the empty message means absence.
//
//   string, bool, int32, int64, double, bytes, message
//   time, micro-time, quantity, int-or-string, json                types with a JSON form of their own
//   message-or-list, message-or-bool, message-or-strings           the same around a message
//   inline                                                         fields that JSON has in the outer object
//   list                                                           a message that JSON has as the list of its only field
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { newerFields, omittedZeros } from './protobuf-facts.mjs';

const { values: options } = parseArgs({
  options: {
    'go-root': { type: 'string', default: '/usr/share/gocode/src/k8s.io' },
    schemas: { type: 'string', default: fileURLToPath(new URL('../src/api/schemas.json', import.meta.url)) },
    out: { type: 'string', default: fileURLToPath(new URL('../src/api/protobuf.json', import.meta.url)) },
    verbose: { type: 'boolean', default: false },
  },
});
const note = options.verbose ? (text) => process.stderr.write(`${text}\n`) : () => {};

const schemas = JSON.parse(readFileSync(options.schemas, 'utf8'));

// ------------------------------------------------------------------------------------------------------------------------ .proto files

/** `k8s.io.api.core.v1` to `io.k8s.api.core.v1`, as upstream names its definitions. */
const definitionPrefix = (protoPackage) => protoPackage.replace(/^k8s\.io\./, 'io.k8s.').replaceAll('_', '-');

/** Name of the definition -> fields: `{ label, type, key, name, number }`, types as names of definitions or scalars. */
const messages = new Map();

const scalars = new Set(['string', 'bool', 'int32', 'int64', 'double', 'bytes']);

function loadProtoFiles(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) loadProtoFiles(path);
    else if (entry.name === 'generated.proto') parseProto(readFileSync(path, 'utf8'), path);
  }
}

/** The files are flat: messages of fields, no nested types, no oneof. Anything else is an error. */
function parseProto(text, path) {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const protoPackage = /^package ([\w.]+);$/m.exec(code)?.[1];
  if (protoPackage === undefined) throw new Error(`${path}: no package`);
  const prefix = definitionPrefix(protoPackage);
  const resolve = (type) => (scalars.has(type) ? type : type.startsWith('.') ? definitionPrefix(type.slice(1)) : `${prefix}.${type}`);
  for (const [, name, body] of code.matchAll(/^message (\w+) \{([^}]*)\}/gm)) {
    const fields = body
      .split(';')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .map((line) => {
        const map = /^map<string, ([\w.]+)> (\w+) = (\d+)$/.exec(line);
        if (map !== null) return { label: 'map', type: resolve(map[1]), name: map[2], number: Number(map[3]) };
        const field = /^(optional|repeated) ([\w.]+) (\w+) = (\d+)$/.exec(line);
        if (field === null) throw new Error(`${path}: ${name}: cannot read "${line}"`);
        return { label: field[1], type: resolve(field[2]), name: field[3], number: Number(field[4]) };
      });
    const id = `${prefix}.${name}`;
    const known = messages.get(id) ?? [];
    messages.set(id, [...known, ...fields.filter((field) => !known.some((other) => isSameField(other, field, id)))]);
  }
}

/** True when a newer fact has become an older one. */
function isSameField(known, field, message) {
  if (known.number !== field.number && known.name !== field.name) return false;
  const isSame = ['number', 'name', 'label', 'type'].every((key) => known[key] === field[key]);
  if (!isSame) throw new Error(`${message}: ${field.name} = ${field.number} is at odds with ${known.name} = ${known.number}`);
  return true;
}

// -------------------------------------------------------------------------------------------------------------------------- the table

/** Messages whose JSON form is not that of their fields. */
const ownForms = new Map([
  ['io.k8s.apimachinery.pkg.apis.meta.v1.Time', 'time'],
  ['io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime', 'micro-time'],
  ['io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1', 'json'],
  ['io.k8s.apimachinery.pkg.runtime.RawExtension', 'json'],
  ['io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON', 'json'],
  ['io.k8s.apimachinery.pkg.api.resource.Quantity', 'quantity'],
  ['io.k8s.apimachinery.pkg.util.intstr.IntOrString', 'int-or-string'],
]);

/** Messages that are one of two things in JSON, a schema or something else. */
const eitherForms = new Map(
  Object.entries({ Array: 'message-or-list', Bool: 'message-or-bool', StringArray: 'message-or-strings' }).map(([other, form]) => [
    `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOr${other}`,
    { form, of: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps' },
  ]),
);

const table = new Map();

/**
 * Adds the message and all that it refers to.
 *
 * @param properties  of the schema that spells its fields; an inlined message that has none is spelled by the outer one's
 */
function addMessage(name, properties = propertiesOf(name)) {
  if (table.has(name)) return;
  const fields = messages.get(name);
  if (fields === undefined) throw new Error(`${name}: no such message`);
  if (properties === undefined) throw new Error(`${name}: its schema has no properties`);
  const entries = {};
  table.set(name, entries);
  for (const field of fields) {
    const entry = entryOf(field, name, properties);
    if (entry !== undefined) entries[field.number] = entry;
  }
}

const isOmittedZero = (owner, jsonName) => omittedZeros[owner.split('.').slice(-3).join('.')]?.split(' ').includes(jsonName) === true;

/** An empty message needs no schema that spells its fields. */
const propertiesOf = (name) => schemas[name]?.properties ?? (messages.get(name)?.length === 0 ? {} : undefined);

function entryOf(field, owner, properties) {
  const jsonName = spellingOf(properties, field.name);
  if (jsonName === undefined) return inlineEntryOf(field, owner, properties);
  const schema = properties[jsonName];
  const values = { map: schema.additionalProperties, repeated: schema.items, optional: schema }[field.label];
  if (values === undefined) throw new Error(`${owner}.${jsonName}: the schema is not that of a ${field.label} field`);
  const either = eitherForms.get(field.type);
  const form = either?.form ?? formOf(field.type, values);
  const message = either?.of ?? (form === 'message' ? field.type : undefined);
  if (message !== undefined) addMessage(message);
  // Typed clients send the zero value for what their user left out, and the server then puts the default there.
  const hasDefault = scalars.has(form) && Boolean(schema.default);
  const zeroIsAbsent =
    form === 'message' ? isEmptyObject(schema.default) : schema['x-omit-zero'] === true || hasDefault || isOmittedZero(owner, jsonName);
  const prefix = { map: '{}', repeated: '[]', optional: '' }[field.label];
  const suffix = field.label === 'optional' && zeroIsAbsent ? '?' : '';
  return [jsonName, `${prefix}${form}${suffix}`, ...(message === undefined ? [] : [message])];
}

/** A message all of whose fields JSON has in the outer object, or a field that is no longer served. */
function inlineEntryOf(field, owner, properties) {
  if (!isInline(field, properties)) {
    note(`${owner}.${field.name}: not in the schema`);
    return undefined;
  }
  addMessage(field.type, schemas[field.type]?.properties ?? properties);
  return [field.name, 'inline', field.type];
}

function isInline({ label, type }, properties) {
  const fields = label === 'optional' ? messages.get(type) : undefined;
  return fields?.every((field) => spellingOf(properties, field.name) !== undefined || isInline(field, properties)) === true;
}

/** `$ref` is `ref` there, and `x-kubernetes-list-type` is `xKubernetesListType`. */
const spellingOf = (properties, name) =>
  Object.keys(properties).find((property) => property.replaceAll(/[$-]/g, '').toLowerCase() === name.toLowerCase());

const isEmptyObject = (value) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function formOf(type, values) {
  if (scalars.has(type)) return type;
  const own = ownForms.get(type);
  if (own !== undefined) return own;
  const schema = values.$ref === undefined ? values : schemas[values.$ref.slice('#/components/schemas/'.length)];
  if (schema?.type !== 'array') return 'message';
  const inner = messages.get(type);
  if (inner?.length !== 1 || inner[0].number !== 1 || inner[0].label !== 'repeated' || inner[0].type !== 'string') {
    throw new Error(`${type}: a list in JSON, but not a message of repeated strings`);
  }
  return 'list';
}

// ------------------------------------------------------------------------------------------------------------------------- the output

const answersOnly = /\.(API(Group|GroupList|ResourceList|Versions)|WatchEvent|Status)$/;

loadProtoFiles(options['go-root']);
for (const text of newerFields) parseProto(text, 'scripts/protobuf-facts.mjs');
const kinds = {};
for (const [name, schema] of Object.entries(schemas)) {
  const gvks = schema['x-kubernetes-group-version-kind'] ?? [];
  // Lists and documents of discovery are answers, never bodies.
  if (gvks.length === 0 || schema.properties?.items !== undefined || answersOnly.test(name)) continue;
  if (!messages.has(name)) {
    note(`${name}: has no protobuf form in ${options['go-root']}`);
    continue;
  }
  addMessage(name);
  // DeleteOptions go with every group: the first represents all.
  const { group, version, kind } = gvks[0];
  kinds[`${group}/${version}/${kind}`] = name;
}
const sorted = (entries) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
const lines = sorted(table).map(([name, entries]) => `${JSON.stringify(name)}:${JSON.stringify(entries)}`);
const kindLines = sorted(Object.entries(kinds)).map(([gvk, name]) => `${JSON.stringify(gvk)}:${JSON.stringify(name)}`);
const output = `{\n"kinds":{\n${kindLines.join(',\n')}\n},\n"messages":{\n${lines.join(',\n')}\n}\n}\n`;
writeFileSync(options.out, output);
process.stdout.write(`${options.out}: ${kindLines.length} kinds, ${lines.length} messages, ${Math.round(output.length / 1024)} KiB\n`);

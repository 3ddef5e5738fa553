// Writes src/api/schemas.json: the field names, types, required fields, defaults, enums, patch and list facts of
// Kubernetes' built-in types.
//
//   node scripts/gen-schemas.mjs [--go-root DIR] [--client-node DIR] [--out FILE] [--verbose]
//
// Input, all of it facts in other people's sources, none of their prose:
// - the Go types of Debian's golang-k8s-api-dev and golang-k8s-apimachinery-dev (json tags, patch tags, +markers);
// - the structured-merge-diff schema in golang-k8s-client-go-dev, which the list facts are checked against;
// - with --client-node, the models of an unpacked @kubernetes/client-node, for fields, types and groups newer than Debian's. Its files are
//   read as text and never imported. Without it those are left out.
// - scripts/schema-facts.mjs: what neither source says (list facts of newer types) and our own descriptions.
//
// `npm run generate` runs it with the models that the committed file was made from; without --client-node the output would lose what is
// newer than Debian's packages.
//
// The output is deterministic and has one line per type, so that differences between versions are readable.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { definitionPrefix, openGoSources } from './go-sources.mjs';
import { descriptions, newerFacts, untypedSchemas } from './schema-facts.mjs';

const { values: options } = parseArgs({
  options: {
    'go-root': { type: 'string', default: '/usr/share/gocode/src/k8s.io' },
    'client-node': { type: 'string' },
    out: { type: 'string', default: fileURLToPath(new URL('../src/api/schemas.json', import.meta.url)) },
    verbose: { type: 'boolean', default: false },
  },
});
const goRoot = options['go-root'];
const { loadPackage, lookUp } = openGoSources(goRoot);
const note = options.verbose ? (text) => process.stderr.write(`${text}\n`) : () => {};

/** Groups and versions that are served; `source` is where a type of this version takes facts from that only an older version has. */
const servedVersions = [
  { path: 'core/v1' },
  { path: 'admissionregistration/v1', source: 'admissionregistration/v1alpha1' },
  { path: 'apps/v1' },
  { path: 'authentication/v1' },
  { path: 'authorization/v1' },
  { path: 'autoscaling/v1' },
  { path: 'autoscaling/v2' },
  { path: 'batch/v1' },
  { path: 'certificates/v1' },
  { path: 'coordination/v1' },
  { path: 'discovery/v1' },
  { path: 'events/v1' },
  { path: 'flowcontrol/v1' },
  { path: 'networking/v1', source: 'networking/v1beta1' },
  { path: 'node/v1' },
  { path: 'policy/v1' },
  { path: 'rbac/v1' },
  { path: 'resource/v1', source: 'resource/v1beta1' },
  { path: 'scheduling/v1' },
  { path: 'storage/v1', source: 'storage/v1beta1' },
];

const metaPackage = 'k8s.io/apimachinery/pkg/apis/meta/v1';
const metaName = (type) => `io.k8s.apimachinery.pkg.apis.meta.v1.${type}`;
const refTo = (name) => ({ $ref: `#/components/schemas/${name}` });

/** Types whose JSON form is not that of their Go fields. */
const customTypes = new Map([
  [`${metaPackage}.Time`, { type: 'string', format: 'date-time' }],
  [`${metaPackage}.MicroTime`, { type: 'string', format: 'date-time' }],
  [`${metaPackage}.Duration`, { type: 'string' }],
  [`${metaPackage}.FieldsV1`, { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }],
  ['k8s.io/apimachinery/pkg/runtime.RawExtension', { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }],
  ['k8s.io/apimachinery/pkg/api/resource.Quantity', { type: 'string', format: 'quantity' }],
  ['k8s.io/apimachinery/pkg/util/intstr.IntOrString', { format: 'int-or-string', 'x-kubernetes-int-or-string': true }],
]);

const builtins = {
  string: { type: 'string' },
  bool: { type: 'boolean' },
  int: { type: 'integer', format: 'int32' },
  int32: { type: 'integer', format: 'int32' },
  int64: { type: 'integer', format: 'int64' },
  uint8: { type: 'integer', format: 'byte' },
  byte: { type: 'integer', format: 'byte' },
  float64: { type: 'number', format: 'double' },
};
const zeroes = { string: '', boolean: false, integer: 0, number: 0 };

const schemas = new Map();
/** Names found in fields and not yet built. */
const pending = [];

/**
 * The schema of a type expression, and what its Go zero value is: `struct`, `scalar`, `nil` (slice, map, pointer) or `custom` (null).
 */
function schemaOf(expression, owner) {
  if (expression.startsWith('*')) return { ...schemaOf(expression.slice(1), owner), zero: 'nil' };
  if (expression === '[]byte') return { schema: { type: 'string', format: 'byte' }, zero: 'nil' };
  if (expression.startsWith('[]')) {
    return { schema: { type: 'array', items: schemaOf(expression.slice(2), owner).schema }, zero: 'nil' };
  }
  const map = expression.match(/^map\[[\w.]+\](.*)$/);
  if (map !== null) {
    return { schema: { type: 'object', additionalProperties: schemaOf(map[1], owner).schema }, zero: 'nil' };
  }
  if (builtins[expression] !== undefined) return { schema: { ...builtins[expression] }, zero: 'scalar' };
  const { goPackage, name, type } = lookUp(expression, owner);
  const custom = customTypes.get(`${goPackage}.${name}`);
  const definition = `${definitionPrefix(goPackage)}.${name}`;
  if (custom !== undefined) {
    schemas.set(definition, { ...custom });
    return { schema: refTo(definition), zero: 'custom', format: custom.format };
  }
  if (type.alias !== undefined) {
    const aliased = schemaOf(type.alias, { goPackage, imports: type.imports });
    if (type.markers.enum === undefined) return aliased;
    return { ...aliased, schema: { ...aliased.schema, enum: enumValues(goPackage, name) } };
  }
  if (!schemas.has(definition)) {
    schemas.set(definition, undefined);
    pending.push({ definition, goPackage, name });
  }
  return { schema: refTo(definition), zero: 'struct' };
}

function enumValues(goPackage, name) {
  const values = new Set();
  for (const constant of loadPackage(goPackage).constants.values()) if (constant.type === name) values.add(constant.value);
  return [...values].sort();
}

function buildStruct(goPackage, name) {
  const { type } = lookUp(name, { goPackage, imports: new Map() });
  const schema = { type: 'object' };
  const properties = {};
  const required = [];
  addMembers(goPackage, type, properties, required);
  if (required.length > 0) schema.required = required;
  if (Object.keys(properties).length > 0) schema.properties = properties;
  if (type.markers.structType?.[0] === 'atomic') schema['x-kubernetes-map-type'] = 'atomic';
  return schema;
}

function addMembers(goPackage, type, properties, required) {
  const owner = { goPackage, imports: type.imports };
  for (const member of type.members) {
    const [jsonName = '', ...jsonFlags] = (member.tags.json ?? '').split(',');
    if (jsonFlags.includes('inline')) {
      const inlined = lookUp(member.type, owner);
      addMembers(inlined.goPackage, inlined.type, properties, required);
      continue;
    }
    if (jsonName === '-' || jsonName === '') continue;
    const omitEmpty = jsonFlags.includes('omitempty');
    properties[jsonName] = fieldSchema(member, owner, omitEmpty);
    const optional = member.markers.required === undefined && (member.markers.optional !== undefined || omitEmpty);
    if (!optional) required.push(jsonName);
  }
}

/** A field: its type, and what belongs to the field and not to the type. */
function fieldSchema(member, owner, omitEmpty) {
  const { schema, zero, format } = schemaOf(member.type, owner);
  const field = { ...schema };
  const zeroDefault = defaultOfZero(schema, zero, format, omitEmpty);
  if (zeroDefault !== undefined) field.default = zeroDefault;
  const marked = member.markers.default?.[0];
  if (marked !== undefined) field.default = markedDefault(marked, owner.goPackage);
  // Pointers keep their zero values; plain scalars and byte strings lose them when encoded.
  const plain = zero === 'scalar' || schema.format === 'byte';
  if (plain && omitEmpty && field.default === undefined) field['x-omit-zero'] = true;
  const markers = member.markers;
  if (markers.listType !== undefined && field.type === 'array') field['x-kubernetes-list-type'] = markers.listType[0];
  if (markers.listMapKey !== undefined) field['x-kubernetes-list-map-keys'] = [...markers.listMapKey];
  const mapType = markers.mapType ?? markers.structType;
  if (mapType !== undefined) field['x-kubernetes-map-type'] = mapType[0];
  const strategy = member.tags.patchStrategy ?? markers.patchStrategy?.[0];
  const mergeKey = member.tags.patchMergeKey ?? markers.patchMergeKey?.[0];
  if (mergeKey !== undefined) field['x-kubernetes-patch-merge-key'] = mergeKey;
  if (strategy !== undefined) field['x-kubernetes-patch-strategy'] = strategy;
  return field;
}

/** Printed value of an absent field that the encoder does not leave out. */
function defaultOfZero(schema, zero, format, omitEmpty) {
  if (zero === 'struct') return {};
  if (zero === 'scalar') return omitEmpty ? undefined : zeroes[schema.type];
  if (zero === 'custom') {
    if (format === 'quantity') return '0';
    return format === 'date-time' ? null : undefined;
  }
  return omitEmpty ? undefined : null;
}

function markedDefault(text, goPackage) {
  const reference = text.match(/^ref\((\w+)\)$/);
  return reference === null ? JSON.parse(text) : loadPackage(goPackage).constants.get(reference[1]).value;
}

/** Kinds of a package: the structs that carry TypeMeta. */
function kindsOf(goPackage) {
  const notServed = /Options$|^(RangeAllocation|SerializedReference|PodStatusResult|TypeMeta)$/;
  return [...loadPackage(goPackage).types.values()]
    .filter((type) => type.members?.some((member) => member.tags.json === ',inline' && member.type.endsWith('TypeMeta')))
    .map((type) => type.name)
    .filter((name) => !notServed.test(name));
}

function build(goPackage, name) {
  const definition = `${definitionPrefix(goPackage)}.${name}`;
  if (schemas.get(definition) !== undefined) return definition;
  schemas.set(definition, buildStruct(goPackage, name));
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (schemas.get(next.definition) === undefined) schemas.set(next.definition, buildStruct(next.goPackage, next.name));
  }
  return definition;
}

const gvk = (group, version, kind) => [{ group, version, kind }];
const gvkKey = 'x-kubernetes-group-version-kind';

function addGoKinds() {
  for (const { path } of servedVersions) {
    const goPackage = `k8s.io/api/${path}`;
    const { group } = loadPackage(goPackage);
    for (const kind of kindsOf(goPackage)) {
      const definition = build(goPackage, kind);
      schemas.get(definition)[gvkKey] = gvk(group, path.split('/')[1], kind);
    }
  }
  for (const kind of ['APIGroup', 'APIGroupList', 'APIResourceList', 'APIVersions', 'DeleteOptions', 'Status', 'WatchEvent']) {
    schemas.get(build(metaPackage, kind))[gvkKey] = gvk('', 'v1', kind);
  }
  build(metaPackage, 'Patch');
  build('k8s.io/apimachinery/pkg/version', 'Info');
  // Since 1.34 an unset creation time is left out; other times are still written as null.
  delete schemas.get(metaName('ObjectMeta')).properties.creationTimestamp.default;
}

// ------------------------------------------------------------------------------------------------- structured-merge-diff, as a check

/** The list facts of client-go's own table: `type.field` to `{ type, keys }`. */
function mergeDiffLists() {
  const text = readFileSync(join(goRoot, 'client-go/applyconfigurations/internal/internal.go'), 'utf8');
  const lists = new Map();
  let type = '';
  let field = '';
  let list;
  for (const line of text.slice(text.indexOf('types:')).split('\n')) {
    const named = line.match(/^- name: (.*)$/);
    const member = line.match(/^ {4}- name: (.*)$/);
    if (named !== null) type = named[1];
    else if (member !== null) field = member[1];
    if (named !== null || member !== null) list = undefined;
    else if (/^ {8}list:$/.test(line)) {
      list = { type: 'atomic', keys: [] };
      lists.set(`${type}.${field}`, list);
    } else if (list !== undefined) {
      const relation = line.match(/^ {10}elementRelationship: (\w+)$/);
      const key = line.match(/^ {10}- (\w+)$/);
      if (relation !== null) list.type = relation[1] === 'associative' ? 'set' : relation[1];
      if (key !== null) {
        list.type = 'map';
        list.keys.push(key[1]);
      }
    }
  }
  return lists;
}

/** Two readings of the same facts: where they differ one of them was misread, and nothing is written. */
function checkLists() {
  const wrong = [];
  const lists = mergeDiffLists();
  if (lists.size < 300) throw new Error(`only ${lists.size} lists found in the merge schema`);
  for (const [name, { type, keys }] of lists) {
    const dot = name.lastIndexOf('.');
    const field = schemas.get(name.slice(0, dot))?.properties?.[name.slice(dot + 1)];
    if (field === undefined) continue;
    const ours = field['x-kubernetes-list-type'] ?? 'atomic';
    const ourKeys = field['x-kubernetes-list-map-keys'] ?? [];
    if (ours !== type || String([...ourKeys].sort()) !== String([...keys].sort())) {
      wrong.push(`${name}: ${ours} ${ourKeys} in the Go types, ${type} ${keys} in the merge schema`);
    }
  }
  if (wrong.length > 0) throw new Error(`list facts differ:\n${wrong.join('\n')}`);
}

// ------------------------------------------------------------------------------------------------------- newer fields: client-node

/** Packages that only client-node has; their definitions live under these prefixes. */
const clientNodeOnly = [
  { api: 'ApiextensionsV1Api', prefix: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1', group: 'apiextensions.k8s.io' },
  { api: 'ApiregistrationV1Api', prefix: 'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1', group: 'apiregistration.k8s.io' },
];
const apiFile = {
  'core/v1': 'CoreV1Api',
  'flowcontrol/v1': 'FlowcontrolApiserverV1Api',
  'rbac/v1': 'RbacAuthorizationV1Api',
};
const groupOfResource = { 'resource/v1': 'resource.k8s.io' };

/** Class names start with a word for the group where the bare name would be ambiguous: `CoreV1Event`. */
const prefixOfWord = (word) =>
  word === '' ? undefined : (clientNodeOnly.find(({ api }) => api.startsWith(word))?.prefix ?? `io.k8s.api.${word.toLowerCase()}.v1`);

function overlayClientNode(folder) {
  const models = join(folder, 'dist/gen/models');
  const definitionOf = new Map();
  const queue = [];

  const visit = (className, prefix) => {
    const known = definitionOf.get(className);
    if (known !== undefined) return known;
    const [, word, bare] = className.match(/^(\w*?)V\d+(?:(?:alpha|beta)\d+)?([A-Z]\w*)$/);
    const named = prefixOfWord(word);
    const homes = named === undefined ? [prefix, 'io.k8s.api.core.v1', 'io.k8s.apimachinery.pkg.apis.meta.v1'] : [named];
    const home = homes.find((candidate) => schemas.has(`${candidate}.${bare}`)) ?? homes[0];
    const definition = `${home}.${bare}`;
    definitionOf.set(className, definition);
    queue.push({ className, definition, prefix: home });
    return definition;
  };

  const versions = servedVersions.map(({ path }) => {
    const [group, version] = path.split('/');
    const api = apiFile[path] ?? `${group[0].toUpperCase()}${group.slice(1)}${version.toUpperCase()}Api`;
    const goPackage = `k8s.io/api/${path}`;
    return { api, prefix: definitionPrefix(goPackage), group: loadPackage(goPackage).group ?? groupOfResource[path], version };
  });
  for (const { api, prefix, group, version = 'v1' } of [...versions, ...clientNodeOnly.map((only) => ({ ...only, version: 'v1' }))]) {
    const text = readFileSync(join(folder, 'dist/gen/apis', `${api}.d.ts`), 'utf8');
    for (const className of new Set([...text.matchAll(/\bbody: (\w*V\d\w+)/g)].map((match) => match[1]))) {
      // Bodies of subresources belong to other groups; their kinds are read there.
      const kind = className.replace(/^\w*?V\d+/, '');
      if (['TokenRequest', 'Scale', 'Eviction'].includes(kind) && schemas.get(`${prefix}.${kind}`) === undefined) continue;
      const definition = visit(className, prefix);
      if (schemas.has(definition)) continue;
      schemas.set(definition, { type: 'object', properties: {}, [gvkKey]: gvk(group, version, kind) });
      const list = `${className}List`;
      if (existsSync(join(models, `${list}.js`))) {
        schemas.set(`${definition}List`, { type: 'object', properties: {}, [gvkKey]: gvk(group, version, `${kind}List`) });
        visit(list, prefix);
      }
    }
  }
  for (const kind of ['V1Status', 'V1DeleteOptions', 'V1APIGroup', 'V1APIResourceList'])
    visit(kind, 'io.k8s.apimachinery.pkg.apis.meta.v1');
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) overlayType(models, next, visit);
}

function overlayType(models, { className, definition, prefix }, visit) {
  const attributes = readAttributes(readFileSync(join(models, `${className}.js`), 'utf8'));
  const declared = readFileSync(join(models, `${className}.d.ts`), 'utf8');
  const existing = schemas.get(definition);
  const schema = existing ?? { type: 'object', properties: {} };
  if (existing === undefined) {
    schemas.set(definition, schema);
    note(`new type   ${definition}`);
  }
  schema.properties ??= {};
  const names = new Set(attributes.map((attribute) => attribute.baseName));
  for (const name of Object.keys(schema.properties)) {
    if (names.has(name)) continue;
    note(`gone       ${definition}.${name}`);
    delete schema.properties[name];
  }
  const required = [];
  for (const { name, baseName, type, format } of attributes) {
    const optional = declared.includes(`'${name}'?:`);
    if (!optional) required.push(baseName);
    const reference = (reached) => refTo(visit(reached, prefix));
    // Also for known fields: this is how the types behind them are found.
    const newer = newerType(type, format, reference);
    if (schema.properties[baseName] === undefined) {
      schema.properties[baseName] = newerField(newer, !optional, definition, baseName);
      if (existing !== undefined) note(`new field  ${definition}.${baseName} ${JSON.stringify(schema.properties[baseName])}`);
    }
  }
  if (String(required.sort()) !== String([...(schema.required ?? [])].sort())) {
    if (existing !== undefined && schema.required !== undefined) note(`required   ${definition}: ${schema.required} -> ${required}`);
    if (required.length > 0) schema.required = required;
    else delete schema.required;
  }
  if (Object.keys(schema.properties).length === 0) delete schema.properties;
}

const readAttributes = (text) =>
  [...text.matchAll(/\{\s*"name": "(.*)",\s*"baseName": "(.*)",\s*"type": "(.*)",\s*"format": "(.*)"\s*\}/g)].map(
    ([, name, baseName, type, format]) => ({ name, baseName, type, format }),
  );

function newerType(type, format, reference) {
  const array = type.match(/^(?:Array|Set)<(.*)>$/);
  if (array !== null) return { type: 'array', items: newerType(array[1], format, reference) };
  const map = type.match(/^\{ \[key: string\]: (.*); \}$/);
  if (map !== null) return { type: 'object', additionalProperties: newerType(map[1], format, reference) };
  switch (type) {
    case 'string':
      return format === 'byte' ? { type: 'string', format } : { type: 'string' };
    case 'boolean':
      return { type: 'boolean' };
    case 'number':
      return { type: format.startsWith('int') ? 'integer' : 'number', ...(format === '' ? {} : { format }) };
    case 'Date':
      return refTo(metaName('Time'));
    case 'V1MicroTime':
      return refTo(metaName('MicroTime'));
    case 'IntOrString':
      return refTo('io.k8s.apimachinery.pkg.util.intstr.IntOrString');
    case 'any':
      return {};
    case 'object':
      return { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    default:
      return reference(type);
  }
}

function newerField(type, required, definition, name) {
  const field = { ...type };
  if (required && field.default === undefined) {
    if (field.$ref !== undefined && customByName(field.$ref) === undefined) field.default = {};
    else if (zeroes[field.type] !== undefined) field.default = zeroes[field.type];
  }
  // Every kind and list holds its metadata by value, and so its spec and status.
  const isKind = schemas.get(definition)?.[gvkKey] !== undefined;
  if (isKind && ['metadata', 'spec', 'status'].includes(name) && field.$ref !== undefined) field.default = {};
  return field;
}

const customByName = (ref) => {
  const definition = ref.slice('#/components/schemas/'.length);
  for (const [name, schema] of customTypes) if (`${definitionPrefix(name)}` === definition) return schema;
  return undefined;
};

/** Facts of fields that Debian's version does not have: from an older version of the same type, then from our table. */
function addNewerFacts() {
  for (const { path, source } of servedVersions) {
    if (source === undefined) continue;
    const prefix = definitionPrefix(`k8s.io/api/${path}`);
    const sourcePackage = `k8s.io/api/${source}`;
    for (const kind of kindsOf(sourcePackage)) build(sourcePackage, kind);
    for (const [definition, schema] of schemas) {
      if (!definition.startsWith(`${prefix}.`)) continue;
      const name = definition.slice(prefix.length + 1);
      const older = schemas.get(`${definitionPrefix(sourcePackage)}.${name}`);
      if (older !== undefined && !loadPackage(`k8s.io/api/${path}`).types.has(name)) copyFacts(schema, older);
    }
    for (const definition of [...schemas.keys()])
      if (definition.startsWith(`${definitionPrefix(sourcePackage)}.`)) schemas.delete(definition);
  }
  for (const [path, facts] of Object.entries(newerFacts)) {
    const [definition, field] = path.split('#');
    const schema = schemas.get(definition);
    const target = field === undefined ? schema : schema?.properties?.[field];
    if (target !== undefined) Object.assign(target, facts);
    else if (options['client-node'] !== undefined) throw new Error(`fact about ${path}: there is no such field`);
  }
}

function copyFacts(schema, older) {
  if (older['x-kubernetes-map-type'] !== undefined) schema['x-kubernetes-map-type'] = older['x-kubernetes-map-type'];
  for (const [name, field] of Object.entries(older.properties ?? {})) {
    const target = schema.properties?.[name];
    if (target === undefined) continue;
    const { type, items, properties, additionalProperties, $ref, ...facts } = field;
    // A Quantity is a plain string in client-node.
    if ($ref?.endsWith('.Quantity')) Object.assign(target, { $ref, type: undefined });
    if (additionalProperties?.$ref?.endsWith('.Quantity')) target.additionalProperties = additionalProperties;
    Object.assign(target, facts);
  }
}

// ----------------------------------------------------------------------------------------------------------------------- the output

function addDescriptions() {
  for (const [path, description] of Object.entries(descriptions)) {
    const [definition, field] = path.split('#');
    const target = field === undefined ? schemas.get(definition) : schemas.get(definition)?.properties?.[field];
    if (target === undefined) throw new Error(`description of ${path}: there is no such field`);
    target.description = description;
  }
}

/** A required field that is missing is an error of the object, and better seen as missing than as null. */
function dropNullsOfRequired() {
  for (const schema of schemas.values()) {
    for (const name of schema.required ?? []) if (schema.properties[name].default === null) delete schema.properties[name].default;
  }
}

/** Keys in a fixed order. */
function tidy(value) {
  if (Array.isArray(value)) return value.map(tidy);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) => [key, tidy(value[key])]),
  );
}

/** A reference to a type that was not built would fail at run time. */
function checkReferences() {
  const walk = (value, path) => {
    if (typeof value !== 'object' || value === null) return;
    if (typeof value.$ref === 'string' && schemas.get(value.$ref.slice('#/components/schemas/'.length)) === undefined) {
      throw new Error(`${path}: ${value.$ref} is not built`);
    }
    for (const [key, child] of Object.entries(value)) walk(child, `${path}.${key}`);
  };
  for (const [name, schema] of schemas) walk(schema, name);
}

addGoKinds();
checkLists();
if (options['client-node'] !== undefined) {
  overlayClientNode(options['client-node']);
  for (const [name, schema] of Object.entries(untypedSchemas)) schemas.set(name, schema);
}
addNewerFacts();
dropNullsOfRequired();
addDescriptions();
checkReferences();
const lines = [...schemas.keys()].sort().map((name) => `${JSON.stringify(name)}:${JSON.stringify(tidy(schemas.get(name)))}`);
writeFileSync(options.out, `{\n${lines.join(',\n')}\n}\n`);
process.stdout.write(`${options.out}: ${lines.length} types, ${Math.round(lines.join(',\n').length / 1024)} KiB\n`);

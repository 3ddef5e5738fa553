import { parseYamlDocuments } from '../../src/machinery/yaml.ts';
import { isObject, type Json, type JsonObject, type RecordedAnswer } from './transcript.ts';
import { metadataOf, textOf } from './transcript-objects.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
  /** For a watch. */
  readonly events?: readonly Json[];
}

/** True when the recordings do not show the state of the object of this name. */
type IsUnknown = (name: string) => boolean;

/** Differences of the two answers; empty when they agree. Names, times, uids, versions and addresses may differ. */
export function differencesOf(recorded: RecordedAnswer, answer: Answer, isUnknown: IsUnknown = () => false): readonly string[] {
  const found: string[] = [];
  if (recorded.status !== answer.status) found.push(`status: ${recorded.status}, here ${answer.status} ${answer.text.slice(0, 200)}`);
  const headers = recorded.noHeaders === true ? [] : (['content-type', 'warning', 'retry-after', 'location'] as const);
  for (const header of headers) {
    const expected = expectedHeader(recorded, header);
    const actual = cleanText(answer.headers[header] ?? '');
    if (expected !== undefined && expected !== actual) found.push(`${header}: ${expected}, here ${actual}`);
  }
  if (recorded.status === answer.status) found.push(...bodyDifferences(recorded, answer, isUnknown));
  return found;
}

function expectedHeader({ headers, status }: RecordedAnswer, name: string): string | undefined {
  const value = headers[name];
  if (name !== 'content-type') return cleanText(value ?? '');
  return value === undefined || status === 304 ? undefined : value;
}

function bodyDifferences(recorded: RecordedAnswer, answer: Answer, isUnknown: IsUnknown): readonly string[] {
  if (recorded.events !== undefined) return eventDifferences(recorded, answer, isUnknown);
  const dropped = isObject(recorded.body) && recorded.body.kind === 'Status' ? [] : (recorded.dropped ?? []);
  const body = without(dropped, recorded.body);
  if (body === undefined || body === null || body === '' || isUnrecorded(body)) return [];
  if (body === 'accepted') return [];
  const answered = without(dropped, parsedOf(answer));
  if (typeof body === 'string') {
    // The header says that both are protobuf, whose bytes were not kept.
    if (body.startsWith('k8s\0')) return [];
    const other = isObject(answered) && !answer.headers['content-type']?.includes('yaml') ? textOf(answered.kind) : undefined;
    // Some answers were kept by their kind alone, or by their message.
    if (other === body || (isObject(answered) && answered.message === body)) return [];
    const yaml = answer.headers['content-type']?.includes('yaml') === true ? yamlOf(body) : undefined;
    if (yaml !== undefined && answered !== undefined) return compare(yaml, answered);
    // Measurements are named alike and not equal.
    if (body.startsWith('# HELP ') && answer.text.startsWith('# HELP ')) return [];
    return cleanText(body) === cleanText(answer.text)
      ? []
      : [`text: ${JSON.stringify(body.slice(0, 200))}, here ${JSON.stringify(answer.text.slice(0, 200))}`];
  }
  if (answered === undefined) return [`body: ${shown(body)}, here text ${answer.text.slice(0, 100)}`];
  const comparable = withoutUnknownCells(withoutOwnersOfQuestion(body), isUnknown);
  const other = withoutUnknownCells(answered, isUnknown);
  if (recorded.decoded !== true) return compare(comparable, other);
  const found: string[] = [];
  valueDifferences(clean(withoutEmptyMetadata(comparable)), clean(other), '', found, true);
  return found;
}

/** In protobuf an empty structure of a review says what its absence says. */
function withoutEmptyMetadata(body: Json): Json {
  if (!isObject(body) || !isObject(body.metadata) || Object.keys(body.metadata).length > 0) return body;
  const { metadata: _, ...rest } = body;
  return rest;
}

/** The real server notes owners even in reviews, which nobody stores. */
function withoutOwnersOfQuestion(body: JsonObject | readonly Json[] | number | boolean): Json {
  if (!isObject(body) || !textOf(body.kind).endsWith('Review')) return body as Json;
  const { managedFields: _, ...metadata } = metadataOf(body);
  return { ...body, metadata };
}

/** Cells of objects in an unknown state are compared by the name alone. */
function withoutUnknownCells(body: Json, isUnknown: IsUnknown): Json {
  if (!isObject(body) || !Array.isArray(body.rows)) return body;
  const rows = (body.rows as readonly Json[]).map((row) => {
    if (!isObject(row) || !Array.isArray(row.cells) || !isUnknown(nameOfRow(row))) return row;
    const { conditions: _, ...rest } = row;
    return { ...rest, cells: [nameOfRow(row)] };
  });
  return { ...body, rows };
}

const nameOfRow = ({ object, cells }: JsonObject): string => {
  const { name } = metadataOf(object);
  if (typeof name === 'string') return name;
  return isObject(object) ? textOf(object.name) : textOf(Array.isArray(cells) ? cells[0] : undefined);
};

function without(paths: readonly string[], body: Json | undefined): Json | undefined {
  return paths.reduce((value, path) => withoutPath(value, path.split('/')), body);
}

function withoutPath(value: Json | undefined, [field = '', ...below]: readonly string[]): Json | undefined {
  const name = field.replaceAll('~1', '/');
  if (!isObject(value) || value[name] === undefined) return value;
  const { [name]: part, ...rest } = value;
  const left = below.length === 0 ? undefined : withoutPath(part, below);
  return left === undefined ? rest : { ...rest, [name]: left };
}

const isUnrecorded = (body: Json): boolean =>
  isObject(body) &&
  (body.base64 !== undefined ||
    body.binaryBytes !== undefined ||
    body.note !== undefined ||
    (body.length !== undefined && Object.keys(body).length === 1));

function parsedOf({ headers, text }: Answer): Json | undefined {
  if (headers['content-type']?.includes('yaml') === true) return yamlOf(text);
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function yamlOf(text: string): Json | undefined {
  const [document] = parseYamlDocuments(text, { maxBytes: 10_000_000, maxDepth: 50, maxAliases: 0, maxDocuments: 1 });
  return document?.value as Json | undefined;
}

function eventDifferences({ events = [], status, isBeginning }: RecordedAnswer, answer: Answer, isUnknown: IsUnknown): readonly string[] {
  if (status !== 200) return [];
  const expected = withoutTimedBookmarks(events.map(({ ev }) => ev));
  const all = withoutTimedBookmarks(answer.events ?? []);
  const answered = isBeginning === true ? all.slice(0, expected.length) : all;
  // Events in protobuf were counted, not kept.
  if (expected.every((event) => !isObject(event))) return [];
  const found: string[] = [];
  if (expected.length !== answered.length)
    found.push(`events: ${expected.map(nameOfEvent).join(', ')}; here ${answered.map(nameOfEvent).join(', ')}`);
  for (const [index, event] of expected.entries()) {
    const other = answered[index];
    if (other === undefined) continue;
    const inEvent: string[] = [];
    valueDifferences(clean(eventWithoutUnknownCells(event, isUnknown)), clean(eventWithoutUnknownCells(other, isUnknown)), '', inEvent);
    found.push(...inEvent.map((difference) => `event ${index}${difference}`));
  }
  return found;
}

/** Bookmarks come when the clock says; only those that mark the end of the state have their place among other events. */
function withoutTimedBookmarks(events: readonly Json[]): readonly Json[] {
  const others = events.filter((event) => !isTimedBookmark(event));
  return others.length === 0 ? events : others;
}

const isTimedBookmark = (event: Json): boolean =>
  isObject(event) &&
  event.type === 'BOOKMARK' &&
  isObject(event.object) &&
  event.object.kind !== 'Table' &&
  metadataOf(event.object).annotations === undefined;

/** A bookmark is its metadata; the real server adds the empty fields of its types. */
const withoutEmptyFields = (event: JsonObject): JsonObject => {
  const { object } = event;
  if (event.type !== 'BOOKMARK' || !isObject(object) || object.kind === 'Table') return event;
  return { ...event, object: { kind: object.kind ?? '', apiVersion: object.apiVersion ?? '', metadata: object.metadata ?? {} } };
};

const eventWithoutUnknownCells = (event: Json, isUnknown: IsUnknown): Json =>
  isObject(event) && event.object !== undefined
    ? { ...withoutEmptyFields(event), object: withoutUnknownCells(withoutEmptyFields(event).object ?? null, isUnknown) }
    : event;

const nameOfEvent = (event: Json): string =>
  `${isObject(event) ? textOf(event.type) : ''} ${textOf(metadataOf(isObject(event) ? event.object : undefined).name)}`.trim();

/** Structural comparison after what may differ was made the same. */
function compare(recorded: Json, answered: Json): readonly string[] {
  const found: string[] = [];
  if (isReduced(recorded)) partDifferences(recorded, answered, found);
  else valueDifferences(clean(recorded), clean(answered), '', found);
  return found;
}

/** Some answers are kept only in part: by fields of interest, names of items, or a summary. */
const isReduced = (body: Json): boolean =>
  !isObject(body) ||
  body.summarised === true ||
  body.kind === undefined ||
  Object.keys(body).every((field) => field === 'kind' || field === 'apiVersion') ||
  typeof body.items === 'number' ||
  typeof body.n === 'number' ||
  // An object that was created has a uid; reviews and the like have no name.
  (typeof metadataOf(body).name === 'string' &&
    metadataOf(body).uid === undefined &&
    body.status !== 'Failure' &&
    body.kind !== 'Eviction') ||
  (body.apiVersion === undefined && body.kind !== 'Table' && body.kind !== 'APIVersions' && body.kind !== 'APIResourceList');

/** Names of the recording's own remarks. */
const remarks = new Set([
  'rv',
  'summarised',
  'see',
  'bytes',
  'itemsTotal',
  'rowsTotal',
  'sample',
  'samplePaths',
  'sampleSchemas',
  'samplePatch',
]);

function partDifferences(recorded: Json, answered: Json, found: string[]): void {
  if (Array.isArray(recorded)) {
    if (recorded.every((item) => typeof item === 'string')) {
      const names =
        isObject(answered) && Array.isArray(answered.items) ? answered.items.map((item) => textOf(metadataOf(item).name)) : undefined;
      if (JSON.stringify(recorded) !== JSON.stringify(names))
        found.push(`names: ${recorded.join(' ')}, here ${names?.join(' ') ?? 'no list'}`);
      return;
    }
    if (!somewhere(answered, (value) => agrees(recorded, value))) found.push(`nowhere: ${shown(recorded)}`);
    return;
  }
  if (!isObject(recorded)) {
    if (!agrees(recorded, answered)) found.push(`${shown(recorded)}, here ${shown(answered)}`);
    return;
  }
  const parts = isObject(answered) && answered.openapi !== undefined ? openApiParts(answered) : {};
  const entry = entryNamed(answered, recorded);
  if (entry !== undefined) {
    partDifferences(recorded, entry, found);
    return;
  }
  for (const [field, value] of Object.entries(recorded)) {
    if (field === 'n' && typeof value === 'number' && isObject(answered) && Array.isArray(answered.items)) {
      if (answered.items.length !== value) found.push(`items: ${value}, here ${answered.items.length}`);
      continue;
    }
    if (remarks.has(field) || (recorded.summarised === true && typeof value === 'number')) continue;
    if (field === 'keys' && Array.isArray(value) && isObject(answered)) {
      if (JSON.stringify(value) !== JSON.stringify(Object.keys(answered)))
        found.push(`keys: ${value.join(' ')}, here ${Object.keys(answered).join(' ')}`);
      continue;
    }
    const part = parts[field];
    const matches =
      part !== undefined
        ? [part]
        : isObject(answered) && Object.hasOwn(answered, field)
          ? [answered[field] ?? null]
          : valuesOf(answered, field);
    if (matches.some((match) => agreesInPart(value, match, field))) continue;
    found.push(`${field}: ${shown(value)}, here ${matches.map(shown).slice(0, 2).join(' or ') || 'absent'}`);
  }
}

/** Parts of an OpenAPI document that were kept by names of the recording's own. */
function openApiParts(document: JsonObject): Readonly<Record<string, Json | undefined>> {
  const at = (...path: readonly string[]): Json | undefined =>
    path.reduce<Json | undefined>((value, key) => (isObject(value) ? value[key] : undefined), document);
  const core = (name: string, ...path: readonly string[]) => at('components', 'schemas', `io.k8s.api.core.v1.${name}`, ...path);
  const pods = '/api/v1/namespaces/{namespace}/pods';
  return {
    pod: core('Pod'),
    service: core('Service'),
    servicePort: core('ServicePort'),
    serviceSpecPorts: core('ServiceSpec', 'properties', 'ports'),
    postPods: at('paths', pods, 'post'),
    connectExec: at('paths', `${pods}/{name}/exec`),
  };
}

/** One entry of a long list was kept, without its path. */
function entryNamed(answered: Json, recorded: JsonObject): Json | undefined {
  const { name } = metadataOf(recorded);
  if (recorded.kind !== undefined || typeof name !== 'string' || !isObject(answered) || !Array.isArray(answered.items)) return undefined;
  return answered.items.find((item: Json) => metadataOf(item).name === name);
}

function agreesInPart(recorded: Json, answered: Json, field: string): boolean {
  if (Array.isArray(recorded) && recorded.every((item) => typeof item === 'string') && isObject(answered)) {
    return recorded.every((key) => Object.hasOwn(answered, key));
  }
  if (typeof recorded === 'number' && isObject(answered)) return true;
  if (typeof recorded === 'number' && Array.isArray(answered)) return field !== 'items' || answered.length === recorded;
  if (field === 'paths' && Array.isArray(recorded) && Array.isArray(answered)) return recorded.every((path) => answered.includes(path));
  const found: string[] = [];
  valueDifferences(clean(recorded, field), clean(answered, field), '', found, true);
  return found.length === 0;
}

const agrees = (recorded: Json, answered: Json): boolean => {
  const found: string[] = [];
  valueDifferences(clean(recorded), clean(answered), '', found);
  return found.length === 0;
};

function somewhere(value: Json, matches: (value: Json) => boolean): boolean {
  if (matches(value)) return true;
  return typeof value === 'object' && value !== null && Object.values(value).some((child: Json) => somewhere(child, matches));
}

function valuesOf(value: Json, field: string): readonly Json[] {
  if (typeof value !== 'object' || value === null) return [];
  // Types are compared by the last part of their names.
  const own = isObject(value)
    ? Object.keys(value)
        .filter((key) => key === field || key.endsWith(`.${field}`))
        .map((key) => value[key] ?? null)
    : [];
  return [...own, ...Object.values(value).flatMap((child: Json) => valuesOf(child, field))];
}

const maxDifferences = 6;
const redacted = new Set(['<jwt>', '<pem>', '<base64-pem>', '<redacted>']);

function valueDifferences(recorded: Json, answered: Json, path: string, found: string[], inPart = false): void {
  if (found.length >= maxDifferences || Object.is(recorded, answered)) return;
  // Credentials were taken out of the recordings.
  if (typeof recorded === 'string' && typeof answered === 'string' && redacted.has(recorded) && answered !== '') return;
  if (Array.isArray(recorded) && Array.isArray(answered)) {
    if (recorded.length !== answered.length && !inPart)
      found.push(`${path}: ${recorded.length} entries ${namesOf(recorded)}, here ${answered.length} ${namesOf(answered)}`);
    for (const [index, item] of recorded.entries()) {
      const other = answered[index];
      if (other !== undefined) valueDifferences(item, other, `${path}[${index}]`, found, inPart);
      else if (inPart) found.push(`${path}[${index}]: absent`);
    }
    return;
  }
  if (!isObject(recorded) || !isObject(answered)) {
    found.push(`${path}: ${shown(recorded)}, here ${shown(answered)}`);
    return;
  }
  const expected = asRecorded(recorded, answered);
  for (const field of new Set([...Object.keys(recorded), ...Object.keys(expected)])) {
    const here = `${path}.${field}`;
    const value = recorded[field];
    const other = expected[field];
    if (value === undefined) {
      if (!inPart) found.push(`${here}: absent, here ${shown(other ?? null)}`);
    } else if (other === undefined) found.push(`${here}: ${shown(value)}, here absent`);
    else valueDifferences(value, other, here, found, inPart);
  }
}

/** `answered` without what the recording leaves out: who owns fields, the tail of long lists. */
function asRecorded(recorded: JsonObject, answered: JsonObject): JsonObject {
  let result = answered;
  if (answered.managedFields !== undefined && recorded.managedFields === undefined) {
    const { managedFields: _, ...rest } = result;
    result = rest;
  }
  if (isObject(recorded.object) && Array.isArray(recorded.cells) && recorded.object.metadata === undefined && isObject(result.object)) {
    // For rows of long tables the name was kept.
    const { kind, apiVersion } = result.object;
    result = { ...result, object: { kind: kind ?? '', apiVersion: apiVersion ?? '', name: metadataOf(result.object).name ?? '' } };
  }
  const { items } = result;
  if (Array.isArray(items) && Array.isArray(recorded.items) && recorded.items.some((item: Json) => typeof item === 'string')) {
    result = { ...result, items: items.map(nameOfItem) };
  }
  if (Array.isArray(items) && typeof recorded.items === 'number') result = { ...result, items: items.length };
  for (const [field, total] of [
    ['items', 'itemsTotal'],
    ['rows', 'rowsTotal'],
  ] as const) {
    const kept = recorded[field];
    if (recorded[total] === undefined || !Array.isArray(kept) || !Array.isArray(result[field])) continue;
    const names = kept.map(nameOfItem);
    const items = (result[field] as readonly Json[]).filter((item) => names.includes(nameOfItem(item)));
    result = { ...result, [field]: items.slice(0, kept.length), [total]: recorded[total] };
  }
  return result;
}

const nameOfItem = (item: Json): string => {
  if (typeof item === 'string') return item;
  return isObject(item) && item.cells !== undefined ? nameOfRow(item) : textOf(metadataOf(item).name);
};

const namesOf = (items: readonly Json[]): string =>
  `(${items
    .map((item) => nameOfItem(item) || (isObject(item) ? textOf(item.name) : ''))
    .join(' ')
    .slice(0, 120)})`;

const shown = (value: Json): string => (JSON.stringify(value) ?? 'nothing').slice(0, 160);

// ---------------------------------------------------------------------------------------------------------------- what may differ

/** Additions of a downstream distribution: a source in the token volume of every pod, and a right of everybody. */
const isDownstream = (value: Json): boolean =>
  isObject(value) &&
  ((isObject(value.configMap) && textOf(value.configMap.name).startsWith('openshift-')) ||
    JSON.stringify(value.nonResourceURLs) === '["/.well-known","/.well-known/*"]');

const versionFields = new Set([
  'gitVersion',
  'gitCommit',
  'gitTreeState',
  'buildDate',
  'goVersion',
  'compiler',
  'platform',
  'kubeletVersion',
  'kubeProxyVersion',
]);
const addressFields = new Set(['clusterIP', 'podIP', 'hostIP', 'ip', 'serverAddress', 'healthCheckNodePort', 'nodePort']);
const addressLists = new Set(['clusterIPs']);
/** Prose that belongs to the real server's sources. */
const proseOwners = new Set(['columnDefinitions']);

function clean(value: Json, field = '', owner: JsonObject | undefined = undefined): Json {
  if (typeof value === 'string') return cleanString(value, field, owner);
  if (typeof value === 'number') return addressFields.has(field) || field === 'remainingItemCount' ? `<${field}>` : value;
  if (Array.isArray(value)) {
    if (addressLists.has(field)) return value.map(() => '<address>');
    const items = value.filter((item: Json) => !isDownstream(item));
    // Owners are sorted by their times, which are to the second and not those of the recording.
    if (field === 'managedFields') return items.map((item: Json) => clean(item)).sort((a, b) => (ownerOf(a) < ownerOf(b) ? -1 : 1));
    // Rules are added up, and their order says nothing.
    if (field === 'resourceRules' || field === 'nonResourceRules') return sortedByText(items.map((item: Json) => clean(item)));
    return items.map((item: Json) => (proseOwners.has(field) && isObject(item) ? clean({ ...item, description: '' }) : clean(item)));
  }
  if (!isObject(value)) return value;
  const isDescribed = isSchema(value) || isParameter(value);
  // Protobuf is read here and never written, which documents say, too.
  const kept = Object.entries(value).filter(
    ([name]) => !(isDescribed && name === 'description') && !name.startsWith('application/vnd.kubernetes.protobuf'),
  );
  return withSortedCauses(Object.fromEntries(kept.map(([name, child]) => [name, clean(child, name, value)])));
}

/** Manager of an entry of `managedFields`. */
const ownerOf = (entry: Json): string =>
  isObject(entry) ? [entry.manager, entry.operation, entry.subresource ?? '', entry.apiVersion].map(textOf).join(' ') : '';

/** Parameters are, too, as fields are below. */
const isParameter = ({ name, in: where }: JsonObject): boolean => typeof name === 'string' && (where === 'query' || where === 'path');

/** Fields are described in our own words. */
const isSchema = ({ description, type, allOf, $ref, jsonPath }: JsonObject): boolean =>
  typeof description === 'string' && jsonPath === undefined && (typeof type === 'string' || allOf !== undefined || $ref !== undefined);

/** The real server finds what is wrong with a custom resource, and with whom an apply conflicts, in an order that is another each time. */
function withSortedCauses(status: JsonObject): JsonObject {
  const { details, message, reason } = status;
  if (reason === 'Conflict' && isObject(details) && Array.isArray(details.causes)) {
    return { ...status, details: { ...details, causes: sortedByText(details.causes as readonly Json[]) } };
  }
  if (reason !== 'Invalid' || !isObject(details) || !Array.isArray(details.causes) || !/\.(?!.*k8s\.io$)/.test(textOf(details.group))) {
    return status;
  }
  const causes = sortedByText(details.causes as readonly Json[]);
  const [head = '', tail] = textOf(message).split(' is invalid: [');
  const texts = [
    ...new Set((causes as readonly Json[]).map((cause) => (isObject(cause) ? `${textOf(cause.field)}: ${textOf(cause.message)}` : ''))),
  ];
  // All that the message has besides the causes is their order.
  const isJoined = tail !== undefined && texts.every((text) => tail.includes(text)) && texts.join(', ').length + 1 === tail.length;
  return { ...status, details: { ...details, causes }, message: isJoined ? `${head} is invalid: [${texts.join(', ')}]` : (message ?? '') };
}

const sortedByText = (items: readonly Json[]): Json => [...items].sort((a, b) => (sortedText(a) < sortedText(b) ? -1 : 1));

/** Custom resources have their fields by name, others as their types name them. */
const sortedText = (item: Json): string =>
  JSON.stringify(item, (_, value: Json) =>
    isObject(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value,
  );

function cleanString(text: string, field: string, owner: JsonObject | undefined): Json {
  if (field === 'resourceVersion' && text !== '') return '<revision>';
  if (field === 'continue' && text !== '') return '<continue>';
  if (versionFields.has(field)) return '<version>';
  if (addressFields.has(field) && text !== 'None' && text !== '') return '<address>';
  if (field === 'name' && owner?.generateName !== undefined) return '<generated>';
  if (field === 'storageVersionHash') return '<hash>';
  if (field === 'uid' && text !== '') return '<uid>';
  return cleanText(text);
}

function cleanText(text: string): string {
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uid>')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/g, '<time>')
    .replace(/Gen_[a-z0-9]{5}/g, 'Gen_<generated>')
    .replace(/kube-api-access-[a-z0-9]{5}/g, 'kube-api-access-<generated>')
    .replace(/(current: |in record \(|resource version: )\d+( \(\d+\))?/g, '$1<revision>')
    .replace(/hash=[0-9A-F]+/g, 'hash=<hash>')
    .replace(/\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b/g, '<address>')
    .replace(/-----BEGIN [A-Z ]+-----[\s\S]*-----END [A-Z ]+-----\n?/g, '<pem>')
    .replace(/^(<invalid>|\d+[smhdy]|\d+[dhmy]\d+[smhd])( \(x\d+ over [^)]+\))?$/, '<age>');
}

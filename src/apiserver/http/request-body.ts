import type { PatchType } from '../../client/client.ts';
import { checkItems, DecodeError } from '../../machinery/field-validation.ts';
import { jsonTypeOf } from '../../machinery/go-text.ts';
import { JsonError, parseJson } from '../../machinery/json.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf, parseApiVersion } from '../../machinery/resource.ts';
import { badRequest, invalid, StatusError } from '../../machinery/status-error.ts';
import { parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import type { DuplicateField } from '../kube-api.ts';
import { type ApiRequest, isCustomKind } from './api-request.ts';
import { decodeMessage, deleteOptionsMessage, type ProtobufBody, ProtobufError, readProtobufBody } from './protobuf/decode.ts';
import { messageOf } from './protobuf/layouts.ts';

/** Reading what clients send: JSON, YAML, protobuf, and the forms of PATCH. Everything else is 415, CBOR included. */

/** The real server's limit, so that what it takes we take. */
export const maxBodyBytes = 3 * 1024 * 1024;

export interface ObjectBody {
  readonly object: KubeObject;
  readonly duplicateFields: readonly DuplicateField[];
}

/** Largest number of reported duplicates and unknown fields. */
const maxDuplicateKeys = 20;

/** Largest number of keys of an object: copying one with hundreds of thousands takes longer than reading it. */
const maxFields = 1_000;

/** Longest part of a body in an error. */
const maxShownBytes = 4_096;

/** The Go type into which the real server decodes the kind of a body. */
const goTypeMeta = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }';

/** Without parameters, in lower case; empty when absent. */
export const mediaTypeOf = (contentType: string | undefined): string => (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';

/**
 * The object in the body of POST or PUT. Kind and version may be left out for Kubernetes' own kinds and are then those of the path;
 * other ones are refused.
 *
 * @throws StatusError 400 when it is not an object of that kind, 415 for an unknown media type
 */
export function readObject(request: ApiRequest): ObjectBody {
  const expected = expectedKind(request);
  const { value, duplicateFields } = readValue(request, expected);
  if (value !== null && (typeof value !== 'object' || Array.isArray(value))) {
    throw notJsonObject(expected.kind, `json: cannot unmarshal ${jsonTypeOf(value)} into Go value of type ${goTypeMeta}`, request.body);
  }
  const given = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (Object.keys(given).length > maxFields) throw badRequest(`the object has more than the ${maxFields} fields that are supported`);
  const { kind, apiVersion } = checkedKind(given, expected, request);
  const metadata = given.metadata ?? {};
  if (typeof metadata !== 'object' || Array.isArray(metadata)) {
    throw cannotBeHandled(
      expected,
      `json: cannot unmarshal ${jsonTypeOf(metadata)} into Go struct field ${expected.kind}.metadata of type v1.ObjectMeta`,
    );
  }
  // Kind and version come first, as on the wire.
  return { object: { ...given, kind, apiVersion, metadata } as unknown as KubeObject, duplicateFields };
}

/** The document of a PATCH; what may be in it depends on the type and is checked where it is applied. */
export function readPatch(request: ApiRequest, type: PatchType): ReadValue {
  const patch = parsePatch(textOf(request.body), type);
  try {
    // The operations of a JSON patch have a bound of their own.
    if (type === 'json') return { ...patch, duplicateFields: [...patch.duplicateFields, ...unknownMembers(patch.value)] };
    checkItems(patch.value);
    return patch;
  } catch (err) {
    if (err instanceof DecodeError) throw badRequest(`error decoding patch: ${err.message}`);
    throw err;
  }
}

const operationMembers: readonly string[] = ['op', 'path', 'from', 'value'];

/** Members of operations that mean nothing, such as a `vlaue`; a bounded number of them. */
function unknownMembers(patch: unknown): readonly DuplicateField[] {
  const found: DuplicateField[] = [];
  for (const [index, operation] of (Array.isArray(patch) ? patch : []).entries()) {
    for (const member of typeof operation === 'object' && operation !== null ? Object.keys(operation) : []) {
      if (operationMembers.includes(member)) continue;
      if (found.length === maxDuplicateKeys) return found;
      found.push({ jsonPatch: `json patch unknown field ${JSON.stringify(`[${index}].${member}`)}` });
    }
  }
  return found;
}

function parsePatch(text: string, type: PatchType): ReadValue {
  try {
    if (type !== 'apply' || /^\s*\{/.test(text)) return parseJson(text);
  } catch (err) {
    if (!(err instanceof JsonError)) throw err;
    if (type !== 'apply') throw badRequest(`error decoding patch: ${err.message}`);
  }
  let read: ReadValue;
  try {
    read = readYaml(text);
  } catch (err) {
    if (err instanceof YamlError) throw badRequest(`error decoding YAML: error converting YAML to JSON: ${err.message}`);
    throw err;
  }
  const { value } = read;
  if (value === null || (typeof value === 'object' && !Array.isArray(value))) return read;
  const why = `json: cannot unmarshal ${jsonTypeOf(value)} into Go value of type map[string]interface {}`;
  throw badRequest(`error decoding YAML: error unmarshaling JSON: while decoding JSON: ${why}`);
}

/** DeleteOptions, when there are some. */
export function readDeleteBody(request: ApiRequest): unknown {
  return request.body === undefined || request.body.length === 0 ? undefined : readValue(request, deleteOptionsKind).value;
}

const deleteOptionsKind: ExpectedKind = { group: '', version: 'v1', kind: 'DeleteOptions' };

interface ExpectedKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

function expectedKind({ kind, target }: ApiRequest): ExpectedKind {
  return kind.subresources.find(({ name }) => name === target.subresource)?.body ?? kind;
}

function checkedKind(
  given: Readonly<Record<string, unknown>>,
  expected: ExpectedKind,
  { kind, body }: ApiRequest,
): { readonly kind: string; readonly apiVersion: string } {
  const apiVersion = apiVersionOf(expected);
  const givenKind = given.kind ?? '';
  const givenVersion = given.apiVersion ?? '';
  if (typeof givenKind !== 'string' || typeof givenVersion !== 'string') {
    const field = typeof givenKind === 'string' ? 'apiVersion' : 'kind';
    throw notJsonObject(
      expected.kind,
      `json: cannot unmarshal ${jsonTypeOf(given[field])} into Go struct field .${field} of type string`,
      body,
    );
  }
  if (isCustomKind(kind) && expected === kind && (givenKind === '' || givenVersion === '')) {
    const missing = givenKind === '' ? "Object 'Kind' is missing" : "Object 'apiVersion' is missing";
    throw unrecognized(expected.kind, `${missing} in '${body?.toString('utf8', 0, maxShownBytes) ?? ''}'`, body);
  }
  const isVersion = givenVersion === '' || givenVersion === apiVersion || isOlderVersion(givenVersion, expected);
  if (isVersion && (givenKind === '' || givenKind === expected.kind)) return { kind: expected.kind, apiVersion };
  if (isCustomKind(kind) && expected === kind) {
    if (!isVersion)
      throw badRequest(`the API version in the data (${givenVersion}) does not match the expected API version (${apiVersion})`);
    const { name } = (given.metadata ?? {}) as { readonly name?: unknown };
    throw invalid(kind, typeof name === 'string' ? name : '', [
      { type: 'FieldValueInvalid', field: 'kind', message: `Invalid value: ${JSON.stringify(givenKind)}: must be ${expected.kind}` },
    ]);
  }
  const found = { ...(givenVersion === '' ? expected : parseApiVersion(givenVersion)), kind: givenKind === '' ? expected.kind : givenKind };
  const why = isRegistered(found)
    ? `converting (${found.version}.${found.kind}) to (${expected.group === '' ? 'core' : expected.group}.${expected.kind}): unknown conversion`
    : `no kind "${found.kind}" is registered for version "${apiVersionOf(found)}" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`;
  throw cannotBeHandled(found, why, expected.kind);
}

/** True when Kubernetes itself defines the kind. */
const isRegistered = (kind: ExpectedKind): boolean => messageOf(kind) !== undefined;

/** Old clients evict with the version of before the group was stable. */
const isOlderVersion = (apiVersion: string, { kind }: ExpectedKind): boolean => kind === 'Eviction' && apiVersion === 'policy/v1beta1';

const cannotBeHandled = ({ kind, version }: ExpectedKind, why: string, as = kind): StatusError =>
  badRequest(`${kind} in version "${version}" cannot be handled as a ${as}: ${why}`);

interface ReadValue {
  readonly value: unknown;
  readonly duplicateFields: readonly DuplicateField[];
}

function readValue(request: ApiRequest, expected: ExpectedKind): ReadValue {
  switch (mediaTypeOf(request.raw.headers['content-type'])) {
    case '':
    case 'application/json':
      try {
        return parseJson(textOf(request.body));
      } catch (err) {
        if (err instanceof JsonError) throw notJsonObject(expected.kind, err.message, request.body);
        throw err;
      }
    case 'application/yaml':
      try {
        return readYaml(textOf(request.body));
      } catch (err) {
        if (err instanceof YamlError) throw badRequest(`error converting YAML to JSON: ${err.message}`);
        throw err;
      }
    case 'application/vnd.kubernetes.protobuf':
      return { value: readProtobuf(request, expected), duplicateFields: [] };
    default:
      throw unsupportedMediaType(['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf']);
  }
}

/** Decodes the object when it is of the expected kind; of any other it returns what it says it is, for the caller to refuse. */
function readProtobuf({ body, kind: target }: ApiRequest, expected: ExpectedKind): unknown {
  const { apiVersion, kind, raw } = openProtobuf(body, expected.kind);
  const isDeletion = expected === deleteOptionsKind;
  const given = { apiVersion: apiVersion === '' ? apiVersionOf(expected) : apiVersion, kind: kind === '' ? expected.kind : kind };
  // Every group has DeleteOptions, all with the same fields.
  const isKnownVersion = isDeletion || given.apiVersion === apiVersionOf(expected) || isOlderVersion(given.apiVersion, expected);
  if (given.kind !== expected.kind || !isKnownVersion) return given;
  if (isCustomKind(target) && !isDeletion) {
    const why =
      'object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message';
    throw cannotBeHandled(expected, why);
  }
  const message = isDeletion ? deleteOptionsMessage : messageOf(expected);
  if (message === undefined) throw unsupportedMediaType(['application/json', 'application/yaml']);
  try {
    return { ...given, ...decodeMessage(message, raw) };
  } catch (err) {
    if (err instanceof ProtobufError) throw cannotBeHandled(expected, err.message);
    throw err;
  }
}

function openProtobuf(body: Buffer | undefined, kind: string): ProtobufBody {
  try {
    return readProtobufBody(body);
  } catch (err) {
    if (err instanceof ProtobufError) throw unrecognized(kind, err.message, body);
    throw err;
  }
}

const unsupportedMediaType = (accepted: readonly string[]): StatusError =>
  new StatusError({
    code: 415,
    reason: 'UnsupportedMediaType',
    message: `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  });

/** One document; the limits keep alias bombs and deep nesting out, the size is bounded by the body already. */
function readYaml(text: string): ReadValue {
  const duplicateFields: DuplicateField[] = [];
  const [first] = parseYamlDocuments(text, {
    maxBytes: maxBodyBytes,
    maxDepth: 100,
    maxAliases: 100,
    maxDocuments: 1,
    onDuplicateKey: (key, line) => {
      if (duplicateFields.length < maxDuplicateKeys)
        duplicateFields.push({ yaml: `line ${line}: key ${JSON.stringify(key)} already set in map` });
    },
  });
  return { value: first?.value ?? null, duplicateFields };
}

const textOf = (body: Buffer | undefined): string => body?.toString('utf8') ?? '';

const unrecognized = (kind: string, why: string, body: Buffer | undefined): StatusError =>
  badRequest(`the object provided is unrecognized (must be of type ${kind}): ${why} (${summaryOf(body)})`);

const notJsonObject = (kind: string, why: string, body: Buffer | undefined): StatusError =>
  unrecognized(kind, `couldn't get version/kind; json parse error: ${why}`, body);

/** The start of a body, as the real server shows it: what looks like JSON as text, anything else by its bytes. */
function summaryOf(body: Buffer | undefined): string {
  if (body === undefined || body.length === 0) return '<empty>';
  const start = body.subarray(0, 30).toString(body[0] === 0x7b ? 'utf8' : 'hex');
  return `${start}${body.length > 30 ? ' ...' : ''}`;
}

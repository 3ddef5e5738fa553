import { cannotBeHandled, checkItems, DecodeError, decoderFor, fieldComplaints } from '../../machinery/field-validation.ts';
import type { CustomKind, KindDefinition } from '../../machinery/kind.ts';
import type { DynamicObject, KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { SchemaSet } from '../../machinery/schema.ts';
import type { StatusError } from '../../machinery/status-error.ts';
import type { WriteRequest } from '../kube-api.ts';

/** A kind as far as it is read: bodies of subresources are of kinds that are stored nowhere. */
export type BodyKind = Pick<KindDefinition, 'group' | 'version' | 'kind' | 'schemaName' | 'custom'>;

/** The body of a client, to be read as an object of the kind. */
export interface Body {
  readonly request: Pick<WriteRequest, 'fieldValidation' | 'duplicateFields' | 'onWarning'>;
  readonly kind: BodyKind;
  readonly object: KubeObject;
  /** The stored object that `object` was made from: parts with the same reference are not looked at. */
  readonly before?: KubeObject | undefined;
  /** Makes the error for a body that does not decode: the error for a patch has other words than that for a whole object. */
  readonly refuse?: ((why: string) => StatusError) | undefined;
}

/** Turns what a client sent into an object of the kind: right kind and types, nothing unknown. */
export class BodyDecoder {
  readonly #schemas: SchemaSet;
  // Frozen specs that decoded to themselves once: the thousand pods of a template share one, and it need not be walked again.
  readonly #clean = new WeakMap<object, BodyKind>();

  constructor(schemas: SchemaSet) {
    this.#schemas = schemas;
  }

  /**
   * @throws StatusError `BadRequest` for another kind; `refuse` for a value of the wrong type, and in Strict mode for unknown or
   *   duplicate fields
   */
  decode({ request, kind, object, before, refuse }: Body): KubeObject {
    const refusal = refuse ?? ((why: string) => cannotBeHandled(kind, why));
    const typed = asKind(kind, object, refusal);
    const { spec } = typed as DynamicObject;
    const known = before ?? (isObject(spec) && this.#clean.get(spec) === kind ? { spec } : undefined);
    let decoded: KubeObject;
    let unknownFields: readonly string[];
    try {
      ({ object: decoded, unknownFields } =
        kind.custom === undefined
          ? decoderFor(this.#schemas, kind.schemaName).decode(typed, known)
          : this.#decodeCustom(kind.custom, typed, before));
    } catch (err) {
      if (err instanceof DecodeError) throw refusal(err.message);
      throw err;
    }
    // For an update the stored object implies it.
    if (before === undefined && isObject(spec) && Object.isFrozen(spec) && (decoded as DynamicObject).spec === spec)
      this.#clean.set(spec, kind);
    this.#complain(request, unknownFields, refusal);
    return decoded;
  }

  /** Metadata is read as that of every object; of the rest the types are a matter of validation. */
  #decodeCustom(custom: CustomKind, object: KubeObject, before: KubeObject | undefined): ReturnType<CustomKind['prune']> {
    // A schema may let anything in, and rules are evaluated for each item.
    checkItems(object);
    const reader = decoderFor(this.#schemas, objectMeta);
    const { object: metadata, unknownFields } = reader.decode(object.metadata, before?.metadata);
    const typed = metadata === object.metadata ? object : { ...object, metadata };
    const pruned = custom.prune(typed, before, (embedded) => reader.decode(embedded));
    if (unknownFields.length === 0) return pruned;
    return { object: pruned.object, unknownFields: [...unknownFields.map((path) => `metadata.${path}`), ...pruned.unknownFields] };
  }

  #complain(request: Body['request'], unknownFields: readonly string[], refusal: (why: string) => StatusError): void {
    const { fieldValidation = 'Warn', duplicateFields = [], onWarning } = request;
    if (fieldValidation === 'Ignore' || (unknownFields.length === 0 && duplicateFields.length === 0)) return;
    const paths = duplicateFields.filter((field) => typeof field === 'string');
    const keys = duplicateFields.flatMap((field) => (typeof field !== 'string' && 'yaml' in field ? [field.yaml] : []));
    const members = duplicateFields.flatMap((field) => (typeof field !== 'string' && 'jsonPatch' in field ? [field.jsonPatch] : []));
    const complaints = [...members, ...fieldComplaints(unknownFields, paths)];
    if (fieldValidation === 'Strict') {
      // The reader of YAML has its own heading.
      const all = keys.length === 0 ? complaints : [`yaml: unmarshal errors:\n  ${keys.join('\n  ')}`, ...complaints];
      throw refusal(`strict decoding error: ${all.join(', ')}`);
    }
    for (const complaint of [...keys, ...complaints]) onWarning?.call(request, complaint);
  }
}

const objectMeta = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

/** Clients may leave out kind and apiVersion: the path says them. */
function asKind(kind: BodyKind, object: KubeObject, refuse: (why: string) => StatusError): KubeObject {
  const apiVersion = apiVersionOf(kind);
  const { metadata } = object;
  if (object.kind === kind.kind && object.apiVersion === apiVersion && isObject(metadata)) return object;
  const givenKind = object.kind ?? '';
  const givenVersion = object.apiVersion ?? '';
  if (givenKind !== '' && givenKind !== kind.kind) {
    throw cannotBeHandled(
      { version: kind.version, kind: kind.kind },
      `converting (${kind.version}.${givenKind}) to (${kind.kind}): unknown conversion`,
    );
  }
  if (givenVersion !== '' && givenVersion !== apiVersion) {
    const scheme = 'k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30';
    throw refuse(
      `no kind ${JSON.stringify(kind.kind)} is registered for version ${JSON.stringify(givenVersion)} in scheme ${JSON.stringify(scheme)}`,
    );
  }
  return { ...object, kind: kind.kind, apiVersion, metadata: isObject(metadata) ? metadata : ({} as KubeObject['metadata']) };
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

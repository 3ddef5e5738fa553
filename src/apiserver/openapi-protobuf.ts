import { varintOf } from '../base/varint.ts';

/**
 * Writes the protobuf form of OpenAPI documents. Before 1.35, kubectl accepts no other form of version 2. Its `apply` of a
 * List and its look-ups of a schema by name need that version. Both versions are written from the JSON document. The
 * tables omit fields that Kubernetes' documents never have.
 *
 * @see gnostic-models, `openapiv2/OpenAPIv2.proto` and `openapiv3/OpenAPIv3.proto`: names and numbers of the fields
 */

/** Writes from the end to the start, so that the length of a message is known when its head is written. */
class BackwardWriter {
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #start = this.#buffer.length;

  /** Bytes written so far. */
  get length(): number {
    return this.#buffer.length - this.#start;
  }

  text(value: string): void {
    const size = Buffer.byteLength(value);
    this.#reserve(size);
    this.#start -= size;
    this.#buffer.write(value, this.#start);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#start -= 8;
    this.#buffer.writeDoubleLE(value, this.#start);
  }

  /** @param value  not negative, an integer up to 2^53 */
  varint(value: number): void {
    const bytes = varintOf(value);
    this.#reserve(bytes.length);
    this.#start -= bytes.length;
    this.#buffer.set(bytes, this.#start);
  }

  tag(field: number, wireType: 0 | 1 | 2): void {
    this.varint(field * 8 + wireType);
  }

  /** A field of bytes or a message: what `content` writes, with its length and number. */
  delimited(field: number, content: () => void): void {
    const end = this.length;
    content();
    this.varint(this.length - end);
    this.tag(field, 2);
  }

  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(this.#start));
  }

  #reserve(size: number): void {
    if (size <= this.#start) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.length + size));
    const start = grown.length - this.length;
    this.#buffer.copy(grown, start, this.#start);
    this.#buffer = grown;
    this.#start = start;
  }
}

/** Writes `value` as field `number`; nothing when it is not of the field's type. */
type Field = (writer: BackwardWriter, number: number, value: unknown) => void;
type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

const text: Field = (writer, number, value) => {
  if (typeof value === 'string') writer.delimited(number, () => writer.text(value));
};

const flag: Field = (writer, number, value) => {
  if (typeof value !== 'boolean') return;
  writer.varint(value ? 1 : 0);
  writer.tag(number, 0);
};

const integer: Field = (writer, number, value) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) return;
  writer.varint(value);
  writer.tag(number, 0);
};

const double: Field = (writer, number, value) => {
  if (typeof value !== 'number') return;
  writer.double(value);
  writer.tag(number, 1);
};

/** Any value, as YAML: of which JSON is a part. */
const any: Field = (writer, number, value) => {
  if (value !== undefined) writer.delimited(number, () => text(writer, 2, `${JSON.stringify(value)}\n`));
};

const repeated =
  (field: Field): Field =>
  (writer, number, value) => {
    if (!Array.isArray(value)) return;
    for (let index = value.length - 1; index >= 0; index -= 1) field(writer, number, value[index]);
  };

interface Fields {
  readonly [jsonName: string]: readonly [number: number, field: Field];
}

/** @param extensions  number of the field that takes what begins with `x-` */
const message = (fields: Fields, extensions?: number): Field => {
  const entries = Object.entries(fields).sort(([, [a]], [, [b]]) => b - a);
  return (writer, number, value) => {
    if (!isObject(value)) return;
    writer.delimited(number, () => {
      if (extensions !== undefined) {
        const names = Object.keys(value).filter((name) => name.startsWith('x-'));
        for (const name of names.reverse()) namedValue(writer, extensions, { name, value: value[name] });
      }
      for (const [name, [fieldNumber, field]] of entries) {
        if (Object.hasOwn(value, name)) field(writer, fieldNumber, value[name]);
      }
    });
  };
};

/** A message with one field, `number`, that is the value itself. */
const wrapped =
  (inner: number, field: Field): Field =>
  (writer, number, value) =>
    writer.delimited(number, () => field(writer, inner, value));

/** A JSON object whose names are data: a list of names with values. */
const named =
  (field: Field, entries = 1): Field =>
  (writer, number, value) => {
    if (!isObject(value)) return;
    writer.delimited(number, () => {
      for (const name of Object.keys(value).reverse()) {
        writer.delimited(entries, () => {
          field(writer, 2, value[name]);
          text(writer, 1, name);
        });
      }
    });
  };

/** Looked up when used: schemas hold schemas. */
const later =
  (field: () => Field): Field =>
  (writer, number, value) =>
    field()(writer, number, value);

const namedValue: Field = (writer, number, value) => {
  const { name, value: given } = value as { readonly name: string; readonly value: unknown };
  writer.delimited(number, () => {
    any(writer, 2, given);
    text(writer, 1, name);
  });
};

const texts = repeated(text);
const strings = wrapped(1, texts);
const security = repeated(named(strings));

/** Validation keywords, which both versions have under the same names. */
const limits = (first: number): Fields => ({
  multipleOf: [first, double],
  maximum: [first + 1, double],
  exclusiveMaximum: [first + 2, flag],
  minimum: [first + 3, double],
  exclusiveMinimum: [first + 4, flag],
  maxLength: [first + 5, integer],
  minLength: [first + 6, integer],
  pattern: [first + 7, text],
  maxItems: [first + 8, integer],
  minItems: [first + 9, integer],
  uniqueItems: [first + 10, flag],
  maxProperties: [first + 11, integer],
  minProperties: [first + 12, integer],
  required: [first + 13, texts],
  enum: [first + 14, repeated(any)],
});

// ----------------------------------------------------------------------------------------------------------------------- version 2

const schema2: Field = message(
  {
    $ref: [1, text],
    format: [2, text],
    title: [3, text],
    description: [4, text],
    default: [5, any],
    ...limits(6),
    additionalProperties: [21, later(() => additional2)],
    type: [22, later(() => oneOrMore)],
    items: [23, later(() => wrapped(1, schema2))],
    allOf: [24, later(() => repeated(schema2))],
    properties: [25, later(() => named(schema2))],
    externalDocs: [29, message({ description: [1, text], url: [2, text] }, 3)],
    example: [30, any],
  },
  31,
);
const oneOrMore: Field = (writer, number, value) => strings(writer, number, Array.isArray(value) ? value : [value]);
const additional2: Field = (writer, number, value) =>
  (typeof value === 'boolean' ? wrapped(2, flag) : wrapped(1, schema2))(writer, number, value);

/** Parameters in the query and in the path differ by one field, which moves all after it. */
const simpleParameter = (type: number): Field =>
  message({
    required: [1, flag],
    in: [2, text],
    description: [3, text],
    name: [4, text],
    type: [type, text],
    uniqueItems: [type + 14, flag],
  });
const bodyParameter = message({ description: [1, text], name: [2, text], in: [3, text], required: [4, flag], schema: [5, schema2] }, 6);
const queryParameter = simpleParameter(6);
const pathParameter = simpleParameter(5);
const parameter2: Field = (writer, number, value) => {
  const where = isObject(value) ? value.in : undefined;
  const one =
    where === 'body' ? wrapped(1, bodyParameter) : wrapped(2, where === 'path' ? wrapped(4, pathParameter) : wrapped(3, queryParameter));
  wrapped(1, one)(writer, number, value);
};
const operation2 = message(
  {
    tags: [1, texts],
    summary: [2, text],
    description: [3, text],
    operationId: [5, text],
    produces: [6, texts],
    consumes: [7, texts],
    parameters: [8, repeated(parameter2)],
    responses: [9, named(wrapped(1, message({ description: [1, text], schema: [2, wrapped(1, schema2)] }, 5)))],
    schemes: [10, texts],
    deprecated: [11, flag],
    security: [12, security],
  },
  13,
);
const pathItem2 = message(
  {
    get: [2, operation2],
    put: [3, operation2],
    post: [4, operation2],
    delete: [5, operation2],
    options: [6, operation2],
    head: [7, operation2],
    patch: [8, operation2],
    parameters: [9, repeated(parameter2)],
  },
  10,
);
const apiKey = message({ type: [1, text], name: [2, text], in: [3, text], description: [4, text] }, 5);
const document2 = message(
  {
    swagger: [1, text],
    info: [2, message({ title: [1, text], version: [2, text], description: [3, text] }, 7)],
    paths: [8, named(pathItem2, 2)],
    definitions: [9, named(schema2)],
    security: [12, security],
    securityDefinitions: [13, named(wrapped(2, apiKey))],
  },
  16,
);

// ----------------------------------------------------------------------------------------------------------------------- version 3

const reference: Field = message({ $ref: [1, text], summary: [2, text], description: [3, text] });
const orReference =
  (field: Field): Field =>
  (writer, number, value) =>
    (isObject(value) && typeof value.$ref === 'string' ? wrapped(2, reference) : wrapped(1, field))(writer, number, value);

const schema3: Field = later(() => orReference(ownSchema3));
const schemas3 = later(() => repeated(schema3));
const ownSchema3: Field = message(
  {
    nullable: [1, flag],
    example: [7, any],
    deprecated: [8, flag],
    title: [9, text],
    ...limits(10),
    type: [25, text],
    allOf: [26, schemas3],
    oneOf: [27, schemas3],
    anyOf: [28, schemas3],
    not: [29, later(() => ownSchema3)],
    items: [30, wrapped(1, schema3)],
    properties: [31, named(schema3)],
    additionalProperties: [32, later(() => additional3)],
    default: [33, later(() => default3)],
    description: [34, text],
    format: [35, text],
  },
  36,
);
const additional3: Field = (writer, number, value) =>
  (typeof value === 'boolean' ? wrapped(2, flag) : wrapped(1, schema3))(writer, number, value);
/** Objects and lists have no form here; that there is a default is all that is said of them. */
const default3: Field = (writer, number, value) =>
  writer.delimited(number, () => {
    if (typeof value === 'number') double(writer, 1, value);
    else if (typeof value === 'boolean') flag(writer, 2, value);
    else if (typeof value === 'string') text(writer, 3, value);
  });

const content3 = named(message({ schema: [1, schema3], example: [2, any] }, 5));
const parameter3 = orReference(
  message(
    { name: [1, text], in: [2, text], description: [3, text], required: [4, flag], deprecated: [5, flag], schema: [10, schema3] },
    14,
  ),
);
const operation3 = message(
  {
    tags: [1, texts],
    summary: [2, text],
    description: [3, text],
    operationId: [5, text],
    parameters: [6, repeated(parameter3)],
    requestBody: [7, orReference(message({ description: [1, text], content: [2, content3], required: [3, flag] }, 4))],
    responses: [8, named(orReference(message({ description: [1, text], content: [3, content3] }, 5)), 2)],
    deprecated: [10, flag],
    security: [11, security],
  },
  13,
);
const pathItem3 = message(
  {
    get: [4, operation3],
    put: [5, operation3],
    post: [6, operation3],
    delete: [7, operation3],
    options: [8, operation3],
    head: [9, operation3],
    patch: [10, operation3],
    parameters: [13, repeated(parameter3)],
  },
  14,
);
const securityScheme3 = orReference(message({ type: [1, text], description: [2, text], name: [3, text], in: [4, text] }, 9));
const document3 = message(
  {
    openapi: [1, text],
    info: [2, message({ title: [1, text], description: [2, text], version: [6, text] }, 7)],
    paths: [4, named(pathItem3)],
    components: [5, message({ schemas: [1, named(schema3)], securitySchemes: [7, named(securityScheme3)] }, 10)],
    security: [6, security],
  },
  9,
);

// ------------------------------------------------------------------------------------------------------------------------ documents

const encode = (document: Field, value: unknown): Buffer => {
  const writer = new BackwardWriter();
  document(writer, 1, value);
  const whole = writer.finish();
  // The document is no field of anything: without its number and length.
  return whole.subarray(1 + lengthOfVarint(whole, 1));
};

function lengthOfVarint(bytes: Buffer, from: number): number {
  let at = from;
  while (((bytes[at] ?? 0) & 0x80) !== 0) at += 1;
  return at - from + 1;
}

export const encodeOpenApiV2 = (document: unknown): Buffer => encode(document2, document);
export const encodeOpenApiV3 = (document: unknown): Buffer => encode(document3, document);

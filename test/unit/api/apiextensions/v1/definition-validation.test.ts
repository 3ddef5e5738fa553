import { describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import type { CustomResourceDefinition, CustomResourceVersion } from '../../../../../src/api/apiextensions/v1/definition.ts';

type Spec = CustomResourceDefinition['spec'];

const version = (change: Partial<CustomResourceVersion> = {}): CustomResourceVersion => ({
  name: 'v1',
  served: true,
  storage: true,
  schema: { openAPIV3Schema: { type: 'object' } },
  ...change,
});

function definition(change: Partial<Spec> = {}, names: Partial<Spec['names']> = {}): CustomResourceDefinition {
  const given: CustomResourceDefinition = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'widgets', kind: 'Widget', ...names },
      versions: [version()],
      ...change,
    },
  };
  return customResourceDefinitions.defaults?.(given) ?? given;
}

const complaints = (given: CustomResourceDefinition, before?: CustomResourceDefinition): readonly string[] =>
  (customResourceDefinitions.validate?.(given, before) ?? []).map(({ field, message }) => `${field}: ${message}`);

const schemaComplaints = (spec: unknown, change: Partial<CustomResourceVersion> = {}): readonly string[] =>
  complaints(
    definition({ versions: [version({ schema: { openAPIV3Schema: { type: 'object', properties: { spec } } } as never, ...change })] }),
  ).map((text) => text.replace('spec.validation.openAPIV3Schema.properties[spec]', '@'));

describe('a definition', () => {
  it('is complete with group, scope, plural, kind and a version', () => {
    const { spec } = definition();
    expect(spec.names).toEqual({ plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' });
    expect(spec.conversion).toEqual({ strategy: 'None' });
    expect(complaints(definition())).toEqual([]);
  });

  const label =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

  it.each<[string, CustomResourceDefinition, readonly string[]]>([
    [
      'without a dot in its group',
      { ...definition({ group: 'example' }), metadata: { name: 'widgets.example' } },
      ['spec.group: Invalid value: "example": should be a domain with at least one dot'],
    ],
    [
      'of another name',
      { ...definition(), metadata: { name: 'x' } },
      ['metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'],
    ],
    ['without scope', definition({ scope: '' as never }), ['spec.scope: Required value']],
    [
      'of another scope',
      definition({ scope: 'Galaxy' as never }),
      ['spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'],
    ],
    [
      'with a kind like its list',
      definition({}, { listKind: 'Widget' }),
      ['spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same'],
    ],
    ['with a short name in capitals', definition({}, { shortNames: ['W'] }), [`spec.names.shortNames[0]: Invalid value: "W": ${label}`]],
    [
      'with a kind that is no word',
      definition({}, { kind: 'My.Kind', singular: 'x', listKind: 'MyList' }),
      [`spec.names.kind: Invalid value: "My.Kind": may have mixed case, but should otherwise match: ${label}`],
    ],
    [
      'without a schema',
      definition({ versions: [{ name: 'v1', served: true, storage: true }] }),
      ['spec.versions[0].schema.openAPIV3Schema: Required value'],
    ],
    [
      'with a version that is no label',
      definition({ versions: [version({ name: '1' })] }),
      [`spec.versions[0].name: Invalid value: "1": ${label}`],
    ],
    [
      'without a stored version',
      definition({ versions: [version({ storage: false })] }),
      [
        'spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null}]: must have exactly one version marked as storage version',
      ],
    ],
    [
      'with a warning about what is not deprecated',
      definition({ versions: [version({ deprecationWarning: 'x' })] }),
      ['spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions'],
    ],
    [
      'with columns that cannot be',
      definition({
        versions: [
          version({
            additionalPrinterColumns: [
              { name: '', type: 'thing', jsonPath: 'spec' },
              { name: 'a', type: 'string', jsonPath: '.a..b' },
            ],
          }),
        ],
      }),
      [
        'spec.additionalPrinterColumns[0].name: Required value',
        'spec.additionalPrinterColumns[0].type: Invalid value: "thing": must be one of boolean,date,integer,number,string',
        'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .',
        'spec.additionalPrinterColumns[1].JSONPath: Invalid value: ".a..b": recursive descent is not supported',
      ],
    ],
    [
      'with a scale that is elsewhere',
      definition({ versions: [version({ subresources: { scale: { specReplicasPath: '.status.replicas', statusReplicasPath: '' } } })] }),
      [
        'spec.subresources.scale.statusReplicasPath: Required value',
        'spec.subresources.scale.specReplicasPath: Invalid value: ".status.replicas": should be a json path under .spec',
      ],
    ],
    [
      'that keeps unknown fields everywhere',
      definition({ preserveUnknownFields: true }),
      [
        'spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead',
      ],
    ],
    [
      'with half a webhook',
      definition({ conversion: { strategy: 'Webhook' } }),
      [
        'spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook',
        'spec.conversion.conversionReviewVersions: Required value',
      ],
    ],
    [
      'in a group of the project',
      { ...definition({ group: 'x.k8s.io' }), metadata: { name: 'widgets.x.k8s.io' } },
      [
        'metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111',
      ],
    ],
  ])('%s is refused', (_, given, expected) => {
    expect(complaints(given)).toEqual(expected);
  });

  it('that is established keeps its kind and scope, and versions in which something is stored', () => {
    const before = {
      ...definition(),
      status: { conditions: [{ type: 'Established', status: 'True' }], acceptedNames: definition().spec.names, storedVersions: ['v1'] },
    } as CustomResourceDefinition;
    const changed = definition(
      { scope: 'Cluster', versions: [version({ name: 'v2' })] },
      { kind: 'Gadget', listKind: 'GadgetList', singular: 'widget' },
    );
    expect(complaints({ ...changed, status: { ...(before.status as object), storedVersions: ['v1', 'v2'] } as never }, before)).toEqual([
      'spec.scope: Invalid value: "Cluster": field is immutable',
      'spec.names.kind: Invalid value: "Gadget": field is immutable',
      expect.stringContaining(
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version',
      ),
    ]);
  });
});

describe('a schema', () => {
  it.each<[string, unknown, readonly string[]]>([
    ['without a type', {}, ['@.type: Required value: must not be empty for specified object fields']],
    ['of a list without items', { type: 'array' }, ['@.items: Required value: must be specified']],
    [
      'of items without a type',
      { type: 'array', items: {} },
      ['@.items.type: Required value: must not be empty for specified array items'],
    ],
    [
      'of an unknown type',
      { type: 'thing' },
      ['@.type: Unsupported value: "thing": supported values: "array", "boolean", "integer", "number", "object", "string"'],
    ],
    [
      'with types in alternatives',
      { type: 'string', anyOf: [{ type: 'string' }] },
      ['@.anyOf[0].type: Forbidden: must be empty to be structural'],
    ],
    ['of two types', { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'integer' }, { type: 'string' }] }, []],
    ['with a reference', { type: 'object', $ref: '#/x' }, ['@.$ref: Forbidden: $ref is not supported']],
    [
      'of fields and members',
      { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: { type: 'string' } },
      ['@.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive'],
    ],
    [
      'with unique items',
      { type: 'array', uniqueItems: true, items: { type: 'string' } },
      ['@.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic'],
    ],
    [
      'with a pattern that is none',
      { type: 'string', pattern: '(' },
      [expect.stringMatching(/^@\.pattern: Invalid value: "\(": must be a valid regular expression, but isn't: /)],
    ],
    [
      'with a pattern that looks behind',
      { type: 'string', pattern: '(?<=a)b' },
      [expect.stringContaining('must be a valid regular expression')],
    ],
    [
      'of a keyed list without keys',
      { type: 'array', 'x-kubernetes-list-type': 'map', items: { type: 'object' } },
      ['@.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map'],
    ],
    [
      'of a keyed list whose key may be absent',
      {
        type: 'array',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['k'],
        items: { type: 'object', properties: { k: { type: 'string' } } },
      },
      [
        '@.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property',
      ],
    ],
    [
      'of a set of objects',
      { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'object' } },
      ['@.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set'],
    ],
    [
      'of another list type',
      { type: 'array', 'x-kubernetes-list-type': 'bag', items: { type: 'string' } },
      ['@.x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map"'],
    ],
    [
      'that does not keep unknown fields',
      { type: 'object', 'x-kubernetes-preserve-unknown-fields': false },
      ['@.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined'],
    ],
    [
      'of an embedded resource without fields',
      { type: 'object', 'x-kubernetes-embedded-resource': true },
      [
        '@.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields',
      ],
    ],
    [
      'with a default of another type',
      { type: 'integer', default: 'x' },
      ['@.default: Invalid value: "string": @.default in body must be of type integer: "string"'],
    ],
    [
      'with a default that has unknown fields',
      { type: 'object', default: { a: 1 } },
      ['@.default: Invalid value: {"a":1}: must not have unknown fields: a'],
    ],
    [
      'with an empty rule',
      { type: 'string', 'x-kubernetes-validations': [{ rule: ' ' }] },
      ['@.x-kubernetes-validations[0].rule: Required value: rule is not specified'],
    ],
    [
      'with a rule about what there is not',
      { type: 'object', properties: { a: { type: 'string' } }, 'x-kubernetes-validations': [{ rule: 'self.b > 1' }] },
      [
        '@.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.b \\u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field \'b\'\n | self.b > 1\n | ....^',
      ],
    ],
    [
      'with a rule whose message breaks',
      { type: 'string', 'x-kubernetes-validations': [{ rule: 'true', message: 'a\nb' }] },
      ['@.x-kubernetes-validations[0].message: Invalid value: "a\\nb": message must not contain line breaks'],
    ],
    [
      'with a rule that points nowhere',
      { type: 'object', properties: {}, 'x-kubernetes-validations': [{ rule: 'true', fieldPath: '.x' }] },
      ['@.x-kubernetes-validations[0].fieldPath: Invalid value: ".x": fieldPath must be a valid path'],
    ],
    [
      'with a rule about a change that cannot be followed',
      { type: 'array', maxItems: 9, items: { type: 'string', maxLength: 9, 'x-kubernetes-validations': [{ rule: 'self == oldSelf' }] } },
      [
        '@.items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within @',
      ],
    ],
    [
      'with an old value that no rule looks at',
      { type: 'string', 'x-kubernetes-validations': [{ rule: 'true', optionalOldSelf: true }] },
      ['@.x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule'],
    ],
  ])('%s', (_, schema, expected) => {
    const shown = schemaComplaints(schema).map((text) => text.replaceAll('spec.validation.openAPIV3Schema.properties[spec]', '@'));
    expect(shown).toEqual(expected);
  });

  it('at the root is an object, and says nothing about metadata but names', () => {
    const root = (openAPIV3Schema: unknown) => complaints(definition({ versions: [version({ schema: { openAPIV3Schema } as never })] }));
    expect(root({ type: 'string' })).toEqual(['spec.validation.openAPIV3Schema.type: Invalid value: "string": must be object at the root']);
    expect(root({ type: 'object', properties: { metadata: { type: 'object', properties: { labels: { type: 'object' } } } } })).toEqual([
      'spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified',
    ]);
    expect(root({ type: 'object', properties: { metadata: { type: 'object' } } })).toEqual([]);
    expect(root({ type: 'object', nullable: true })).toEqual([
      'spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root',
    ]);
  });

  it('is named with its version when only one of several versions is wrong', () => {
    const wrong = version({ name: 'v2', storage: false, schema: { openAPIV3Schema: { type: 'object', properties: { spec: {} } } } });
    expect(complaints(definition({ versions: [version(), wrong] }))).toEqual([
      'spec.versions[1].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields',
    ]);
  });

  it('decides which fields can be selected by', () => {
    const fields = (...paths: readonly string[]) =>
      schemaComplaints(
        { type: 'object', properties: { a: { type: 'string' }, o: { type: 'object' } } },
        { selectableFields: paths.map((jsonPath) => ({ jsonPath })) },
      );
    expect(fields('.spec.a')).toEqual([]);
    expect(fields('.spec.b', '.spec.o', '.spec.a', '.spec.a')).toEqual([
      'spec.selectableFields[0].jsonPath: Invalid value: ".spec.b": is an invalid path: does not refer to a valid field',
      'spec.selectableFields[1].jsonPath: Invalid value: ".spec.o": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.',
      'spec.selectableFields[3].jsonPath: Duplicate value: ".spec.a"',
    ]);
  });

  it('that is a bomb is answered: deep, wide, and full of faults', () => {
    let deep: unknown = { type: 'string' };
    for (let level = 0; level < 400; level += 1) deep = { type: 'object', properties: { x: deep } };
    expect(schemaComplaints(deep)).toEqual([]);
    const wide = {
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`f${index}`, { type: 'string' }])),
    };
    expect(schemaComplaints(wide)).toEqual([]);
    const faulty = { type: 'object', properties: Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`f${index}`, {}])) };
    expect(schemaComplaints(faulty).length).toBeLessThanOrEqual(110);
    const many = (schemaOf: (index: number) => unknown) => ({
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`f${index}`, schemaOf(index)])),
    });
    expect(schemaComplaints(many((index) => ({ type: 'string', pattern: `^(a${index}+){1,20}$` })))).toEqual([
      expect.stringMatching(/pattern: Forbidden: the patterns of the schema are too large together$/),
    ]);
    const rule = { type: 'string', 'x-kubernetes-validations': [{ rule: 'self.size() > 1' }] };
    expect(schemaComplaints(many(() => rule))).toEqual([
      expect.stringMatching(/x-kubernetes-validations: Forbidden: a schema must have at most 2000 rules$/),
    ]);
    const names = JSON.parse('{"type": "object", "properties": {"__proto__": {"type": "string"}, "constructor": {"type": "string"}}}');
    expect(schemaComplaints(names)).toEqual([]);
  });

  it.each([
    null,
    1,
    'x',
    [],
    { type: 1 },
    { properties: 1 },
    { properties: { a: null } },
    { items: 'x' },
    { required: 1 },
    { anyOf: 1 },
    { 'x-kubernetes-validations': 1 },
  ])('that is no schema (%j) is refused, not a crash', (schema) => {
    expect(schemaComplaints(schema).length).toBeGreaterThan(0);
    expect(schemaComplaints({ type: 'array', items: schema }).length).toBeGreaterThan(0);
  });

  it('is stored without nulls and without keys that no schema has', () => {
    const items = { type: 'object', description: null, odd: 1, properties: { a: { type: 'string', pattern: null, default: null } } };
    const given = version({ schema: { openAPIV3Schema: { type: 'object', properties: { list: { type: 'array', items } } } as never } });
    expect(definition({ versions: [given] }).spec.versions[0]?.schema?.openAPIV3Schema?.properties?.list).toEqual({
      type: 'array',
      items: { type: 'object', properties: { a: { type: 'string', default: null } } },
    });
    const clean = definition();
    expect(customResourceDefinitions.defaults?.(clean)).toBe(clean);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLocators, formatYaml, locate, parseYamlDocuments, YamlError } from '../../../src/machinery/yaml.ts';

const limits = { maxBytes: 100_000, maxDepth: 20, maxAliases: 50, maxDocuments: 10 };
const read = (text: string): unknown => parseYamlDocuments(text, limits)[0]?.value;
const errorOf = (text: string, extra: object = {}): YamlError => {
  try {
    parseYamlDocuments(text, { ...limits, ...extra });
  } catch (err) {
    if (err instanceof YamlError) return err;
    throw err;
  }
  throw new Error(`read without an error: ${text}`);
};

describe('texts as kustomize reads them', () => {
  it.each([
    ['2020-01-01', '2020-01-01T00:00:00Z'],
    ['2020-1-2', '2020-01-02T00:00:00Z'],
    ['2001-12-14t21:59:43.10-05:00', '2001-12-14T21:59:43.1-05:00'],
    ['2020-01-01 10:00:00', '2020-01-01T10:00:00Z'],
    ['2020-02-30', '2020-02-30'],
    ['2020-01-01T10:00:00', '2020-01-01T10:00:00'],
    ['"2020-01-01"', '2020-01-01'],
  ])('has the time %s', (text, value) => {
    expect(parseYamlDocuments(`v: ${text}\n`, { ...limits, dates: 'times' })[0]?.value).toEqual({ v: value });
  });

  it('leaves values of a map of texts as they are written', () => {
    const texts = { maps: [['m', undefined, 't']] };
    const text = 'm: [{t: {a: 1.10, b: ~, c: 0644, 5: .inf}}]\nt: {a: 1.10}\n';
    const value = { m: [{ t: { a: '1.10', b: '~', c: '0644', '5': '.inf' } }], t: { a: 1.1 } };
    expect(parseYamlDocuments(text, { ...limits, texts })[0]?.value).toEqual(value);
    expect(parseYamlDocuments('m: [{t: {b: ~, c: 1}}]\n', { ...limits, texts: { ...texts, butNull: true } })[0]?.value).toEqual({
      m: [{ t: { b: null, c: '1' } }],
    });
  });

  it('refuses keys that are no strings', () => {
    expect(errorOf('a: {1: b}\n', { keys: 'strings' })).toMatchObject({
      line: 1,
      column: 5,
      reason: expect.stringContaining('1 is not a string'),
    });
  });
});

describe('scalars', () => {
  // Results of sigs.k8s.io/yaml, which kubectl reads with, for the same texts.
  it.each([
    ['y', true],
    ['Yes', true],
    ['on', true],
    ['NO', false],
    ['off', false],
    ['tRue', 'tRue'],
    ['~', null],
    ['', null],
    ['Null', null],
    ['0', 0],
    ['0644', 420],
    ['-0644', -420],
    ['08', 8],
    ['0o14', 12],
    ['0b101', 5],
    ['0x1F', 31],
    ['-0x1f', -31],
    ['0xg', '0xg'],
    ['1_000', 1000],
    ['1e3', 1000],
    ['1.', 1],
    ['.5', 0.5],
    ['+.5', 0.5],
    ['1e400', '1e400'],
    ['1:30', '1:30'],
    ['2001-01-01', '2001-01-01'],
    ['2001-12-14t21:59:43.10-05:00', '2001-12-14t21:59:43.10-05:00'],
    ['9007199254740991', 9007199254740991],
    ['1.2.3', '1.2.3'],
    ['=', '='],
    ['!!str 12', '12'],
    ['!!float 1', 1],
    ['!!binary aGVsbG8=', 'hello'],
    ['!foo bar', 'bar'],
    ['"12"', '12'],
    ["'yes'", 'yes'],
    ['a #c', 'a'],
    ['|\n  a\n  b\n', 'a\nb\n'],
    ['>\n  a\n  b\n', 'a b\n'],
  ])('%j reads as %j', (text, expected) => {
    expect(read(`v: ${text}\n`)).toEqual({ v: expected });
  });

  it('makes strings of keys', () => {
    expect(read('0644: a\ntrue: b\n1.5: c\n')).toEqual({ '420': 'a', true: 'b', '1.5': 'c' });
  });

  it.each([
    ['v: .inf', 'unsupported value'],
    ['v: .nan', 'unsupported value'],
    ['v: 9007199254740993', 'a number cannot be held exactly'],
    ['v: !!int "x"', 'cannot decode !!str as a !!int'],
    ['v: !!binary "?"', 'invalid base64'],
    ['? {a: 1}\n: 2', 'unsupported map key'],
    ['~: 1', 'unsupported map key'],
  ])('refuses %j', (text, reason) => {
    expect(errorOf(text).reason).toContain(reason);
  });
});

describe('documents', () => {
  it('are separated, with their lines; empty ones are left out', () => {
    const text = '# head\n---\na: 1\n---\n# nothing\n---\n\n- x\n...\n---\n';
    expect(parseYamlDocuments(text, limits)).toEqual([
      { value: { a: 1 }, line: 3 },
      { value: ['x'], line: 8 },
    ]);
    expect(parseYamlDocuments('', limits)).toEqual([]);
    expect(parseYamlDocuments('# only a comment', limits)).toEqual([]);
  });

  it('can be JSON', () => {
    expect(read('{"a": {"b": [1, null, "x"]}}')).toEqual({ a: { b: [1, null, 'x'] } });
  });

  it('keep a key named __proto__ as an ordinary one', () => {
    const value = read('__proto__: {polluted: true}');
    expect(Object.keys(value as object)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  });
});

describe('reasons of errors', () => {
  it.each([
    '*hunter2secret',
    '! hunter2secret',
    '!<hunter2secret {> a',
    '!hunter2secret! a',
    '!!int hunter2secret',
    '99551199995511999955',
  ])('never repeat a value: %s', (value) => {
    let message = '';
    try {
      parseYamlDocuments(`kind: Secret\nstringData:\n  password: ${value}\n`, {
        maxBytes: 1000,
        maxDepth: 20,
        maxAliases: 50,
        maxDocuments: 1,
      });
    } catch (err) {
      message = String(err);
    }
    expect(message).not.toMatch(/hunter2secret|9955119999/);
  });
});

describe('aliases and merge keys', () => {
  it('repeat values', () => {
    expect(read('a: &x {p: 1}\nb: *x\nc: [*x]')).toEqual({ a: { p: 1 }, b: { p: 1 }, c: [{ p: 1 }] });
  });

  it('merge maps, the written keys first, then the earlier map', () => {
    const text = 'a: &x {p: 1, q: 1}\nb: &y {q: 2, r: 2}\nc:\n  p: 0\n  <<: [*x, *y]\n';
    expect(read(text)).toMatchObject({ c: { p: 0, q: 1, r: 2 } });
    expect(read('a: &x {p: 1}\nb:\n  <<: *x\n  p: 2\n')).toMatchObject({ b: { p: 2 } });
    expect(read('"<<": {a: 1}')).toEqual({ '<<': { a: 1 } });
  });

  it('are refused when unknown, recursive, too many or too much', () => {
    expect(errorOf('a: *x').reason).toBe('unknown anchor referenced: a text that begins with * needs quotation marks');
    expect(errorOf('a: &x [*x]').reason).toBe('anchor value contains itself');
    expect(errorOf(`a: &x 1\nb: [${'*x, '.repeat(51)}]`).reason).toBe('has more than 50 aliases');
    const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 6; level += 1) bomb.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(9)}]`);
    expect(errorOf(bomb.join('\n')).reason).toBe('document contains excessive aliasing');
    const deep = ['a0: &a0 [[[[[[x]]]]]]'];
    for (let level = 1; level < 6; level += 1) deep.push(`a${level}: &a${level} [[[[[[*a${level - 1}]]]]]]`);
    expect(errorOf(deep.join('\n')).reason).toBe('is nested deeper than 20 levels');
  });
});

describe('errors', () => {
  it('name file, line and column', () => {
    expect(errorOf('a: 1\nb:\n  c: 1\n  c: 2\n', { filename: 'apps/web.yaml' })).toMatchObject({
      file: 'apps/web.yaml',
      line: 4,
      column: 3,
      reason: 'key "c" already set in map',
      message: 'apps/web.yaml:4:3: key "c" already set in map',
    });
    expect(errorOf('a: 1\n- b\n')).toMatchObject({ line: 2, message: expect.stringMatching(/^yaml: line 2: /) });
    expect(errorOf('a:\n\tb: 1')).toMatchObject({ line: 2 });
    expect(errorOf('1: a\n"1": b')).toMatchObject({ line: 2, column: 1 });
  });

  it('are raised at every limit', () => {
    expect(errorOf('a: 1', { maxBytes: 3 }).reason).toBe('is larger than 3 bytes');
    expect(errorOf('é', { maxBytes: 1 }).reason).toBe('is larger than 1 bytes');
    expect(errorOf('['.repeat(30))).toBeInstanceOf(YamlError);
    expect(errorOf('--- 1\n'.repeat(11)).reason).toBe('has more than 10 documents');
  });

  it('are YamlErrors whatever the text', () => {
    const piece = fc.constantFrom(
      'a',
      ': ',
      '- ',
      '\n',
      '  ',
      '&x ',
      '*x',
      '<<: ',
      '[',
      ']',
      '{',
      '}',
      ', ',
      '"',
      "'",
      '|',
      '!!str ',
      '0644',
      '? ',
      '#',
      '---\n',
      '%',
      '\t',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        try {
          for (const { value } of parseYamlDocuments(pieces.join(''), limits)) JSON.stringify(value);
        } catch (err) {
          expect(err).toBeInstanceOf(YamlError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('locate', () => {
  const text = `# one
a: 1
---
kind: Pod
metadata:
  labels:
    app.example.com/name: x
spec:
  containers:
  - name: a
    image: one
  - name: b
    image: two
`;

  it.each([
    ['', 4, 1],
    ['spec.containers[1].image', 13, 5],
    ['spec.containers[1]', 12, 5],
    ['spec.containers[1].ports[0].name', 12, 5],
    ['metadata.labels.app.example.com/name', 7, 5],
    ['metadata.labels[app.example.com/name]', 7, 5],
    ['metadata.name', 5, 1],
    ['nothing', 4, 1],
  ])('finds %j at %i:%i', (path, line, column) => {
    expect(locate(text, path, 4)).toEqual({ line, column });
  });

  it('points at the first document when asked for it', () => {
    expect(locate(text, 'a', 2)).toEqual({ line: 2, column: 1 });
  });

  it('reads the wanted document alone, so that thousands of errors in one file are reported in time', () => {
    const documents = 5_000;
    const locators = createLocators('kind: A\nb:\n  c: [1, 2]\n---\n'.repeat(documents));
    const places = Array.from({ length: documents }, (_, index) => locators(1 + 4 * index)('b.c[1]'));
    expect(places).toEqual(Array.from({ length: documents }, (_, index) => ({ line: 3 + 4 * index, column: 10 })));
  }, 20_000);

  it('ends a document at dashes that begin a line, though it is in the middle of a text', () => {
    const block = 'a: |\n  one\n  ---\n  two\nb: {c: 1}\n--- {d: 2}\n---\ne: 3\n';
    expect([locate(block, 'b.c', 1), locate(block, 'd', 6), locate(block, 'e', 8)]).toEqual([
      { line: 5, column: 5 },
      { line: 6, column: 6 },
      { line: 8, column: 1 },
    ]);
  });
});

describe('formatYaml', () => {
  // Lines of `kustomize build` of the same values.
  it.each([
    ['1', '"1"'],
    ['0644', '"0644"'],
    ['1e3', '"1e3"'],
    ['0o17', '"0o17"'],
    ['1_000', '"1_000"'],
    ['.inf', '".inf"'],
    ['1:30', '"1:30"'],
    ['2020-01-01', '"2020-01-01"'],
    ['2020-01-01T00:00:00Z', '"2020-01-01T00:00:00Z"'],
    ['true', '"true"'],
    ['off', '"off"'],
    ['y', '"y"'],
    ['null', '"null"'],
    ['~', '"~"'],
    ['', '""'],
    ['*', "'*'"],
    ['- a', "'- a'"],
    ['x: y', "'x: y'"],
    ['x:', "'x:'"],
    ['@x', "'@x'"],
    ['#c', "'#c'"],
    ['a #b', "'a #b'"],
    ['{x}', "'{x}'"],
    [' lead', "' lead'"],
    ["it's: x", "'it''s: x'"],
    ['plain', 'plain'],
  ])('quotes %j as kustomize does', (value, text) => {
    expect(formatYaml({ k: value })).toBe(`k: ${text}\n`);
  });

  it('writes as kubectl does', () => {
    const value = { kind: 'List', items: [{ a: 1, b: ['x', { c: true }] }], empty: {}, none: [], left: undefined, text: 'a\nb\n' };
    expect(formatYaml(value)).toBe('kind: List\nitems:\n- a: 1\n  b:\n  - x\n  - c: true\nempty: {}\nnone: []\ntext: |\n  a\n  b\n');
  });

  it.each([
    'yes',
    'n',
    '0644',
    '1e3',
    '0O14',
    '0B11',
    '1_e3',
    '1:30',
    '2001-01-01',
    '~',
    '',
    '<<',
    '.inf',
    ' x',
    'a: b',
    '# x',
    '*a',
    '\u0007',
  ])('quotes the string %j', (text) => {
    expect(read(formatYaml({ v: text, [text]: 1 }))).toEqual({ v: text, [text]: 1 });
  });

  it('writes repeated objects in full', () => {
    const shared = { a: 1 };
    expect(formatYaml([shared, shared])).toBe('- a: 1\n- a: 1\n');
  });

  it('is read back as the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        // Integers that a double cannot hold exactly are refused on reading.
        fc.pre(!/\\u0000|e[+-]?\d{2}|-0|(^|[^.\d])\d{16,}(?![\d.])/.test(JSON.stringify(value)));
        expect(JSON.stringify(parseYamlDocuments(formatYaml({ value }), limits)[0]?.value)).toBe(JSON.stringify({ value }));
      }),
    );
  });
});

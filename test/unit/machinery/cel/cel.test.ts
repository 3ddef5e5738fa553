import { describe, expect, it } from 'vitest';
import { CelBudget, compileCel, maxStepsPerEvaluation } from '../../../../src/machinery/cel/cel.ts';
import type { CelMessages } from '../../../../src/machinery/cel/compiler.ts';
import { CelCompileError, CelCostError, CelEvaluationError } from '../../../../src/machinery/cel/errors.ts';
import { type CelType, dynType, intType, listOf, mapOf, objectOf, stringType } from '../../../../src/machinery/cel/types.ts';
import { toJson } from '../../../../src/machinery/cel/values.ts';

const self = {
  replicas: 3,
  minReplicas: 1,
  ratio: 1.5,
  name: 'web',
  tags: ['a', 'b', 'c'],
  ports: [80, 443, 8080],
  labels: { app: 'web', tier: 'front' },
  items: [
    { k: 'a', v: 1 },
    { k: 'b', v: 2 },
  ],
  'my-field': 'dashed',
  namespace: 'ns',
};

const evaluate = (source: string, value: unknown = self): unknown =>
  toJson(compileCel(source, { variables: { self: dynType } }).evaluate({ self: value }));

const selfType = objectOf('Self', {
  replicas: intType,
  ratio: { kind: 'double' },
  name: stringType,
  tags: listOf(stringType),
  ports: listOf(intType),
  labels: mapOf(stringType, stringType),
  started: { kind: 'timestamp' },
  timeout: { kind: 'duration' },
  'my-field': stringType,
  namespace: stringType,
  port: dynType,
});
const compileTyped = (source: string, result?: CelType['kind']) =>
  compileCel(source, { variables: { self: selfType }, ...(result === undefined ? {} : { result }) });
const complaintOf = (source: string): string => {
  try {
    compileTyped(source);
    return '';
  } catch (err) {
    if (err instanceof CelCompileError) return err.message;
    throw err;
  }
};
const failureOf = (source: string): string => {
  try {
    evaluate(source);
    return '';
  } catch (err) {
    if (err instanceof CelEvaluationError) return err.message;
    throw err;
  }
};

describe('expressions', () => {
  it.each([
    ['self.replicas >= self.minReplicas', true],
    ['self.minReplicas <= self.replicas && self.replicas <= 10', true],
    ["self.name == 'web' ? 1 : 2", 1],
    ['self.replicas / 2', 1],
    ['-self.replicas % 2', -1],
    ['self.ratio * 2.0 == 3.0', true],
    ['self.replicas < 3.5', true],
    ["'app' in self.labels", true],
    ["'z' in self.tags", false],
    ["self.labels['tier']", 'front'],
    ["has(self.labels.app) && !has(self.labels['app'].x) || true", true],
    ['has(self.nothing)', false],
    ['self.tags.all(t, t.size() == 1)', true],
    ["self.tags.exists(t, t == 'b')", true],
    ["self.tags.exists_one(t, t == 'b')", true],
    ['self.items.map(i, i.v)', [1, 2]],
    ['self.items.map(i, i.v > 1, i.k)', ['b']],
    ["self.items.filter(i, i.k != 'a').size()", 1],
    ["self.labels.all(key, key.matches('^[a-z]+$'))", true],
    ["self.labels.map(k, k + '=' + self.labels[k])", ['app=web', 'tier=front']],
    ['size(self.labels) == 2', true],
    ['[1, 2] + [3]', [1, 2, 3]],
    ["{'a': 1, 'b': [2]}", { a: 1, b: [2] }],
    ['dyn(1) == 1.0', true],
    ["dyn('1') == 1", false],
    ['self.items[1].v', 2],
    ['type(self.replicas) == int', true],
    ['type(self.name) == string && type(1.5) == double && type([]) == list', true],
    ['int("42") + int(1.9)', 43],
    ['string(self.replicas) + "x"', '3x'],
    ['cel.bind(n, self.replicas * 2, n + n)', 12],
    ['string(-9223372036854775808)', '-9223372036854775808'],
    ['1u + 2u == 3u', true],
    ['self.?missing.orValue("none")', 'none'],
    ['self.?name.orValue("none")', 'web'],
    ['self.?labels.?app.hasValue()', true],
    ['self.items[?5].hasValue()', false],
    ['optional.of(3).optMap(x, x + 1).value()', 4],
    ['optional.ofNonZeroValue("").hasValue()', false],
    // Two variables.
    ['self.ports.all(i, p, p > i)', true],
    ["self.labels.exists(k, v, k == 'app' && v == 'web')", true],
    ['self.tags.transformList(i, t, i > 0, t + string(i))', ['b1', 'c2']],
    ['self.labels.transformMap(k, v, v.upperAscii())', { app: 'WEB', tier: 'FRONT' }],
    ['self.labels.transformMapEntry(k, v, {v: k})', { web: 'app', front: 'tier' }],
    ['self.ports.existsOne(i, p, p == 443)', true],
  ])('%s', (source, expected) => {
    expect(evaluate(source)).toEqual(expected);
  });

  it.each([
    // Strings.
    ["'tacocat'.charAt(3)", 'o'],
    ["'hello mellow'.indexOf('ello', 2)", 7],
    ["'hello mellow'.lastIndexOf('ello', 6)", 1],
    ["['x', 'y'].join('-')", 'x-y'],
    ["'TacoCät'.lowerAscii()", 'tacocät'],
    ["'hello hello'.replace('he', 'we', 1)", 'wello hello'],
    ["'a,b,c'.split(',', 2)", ['a', 'b,c']],
    ["'tacocat'.substring(4)", 'cat'],
    ["'  x '.trim()", 'x'],
    ['"%s is %d and %.2f, %x%%".format(["a", 3, 1.5, 255])', 'a is 3 and 1.50, ff%'],
    ["'ö'.size()", 1],
    ["'abc 123 def 456'.find('[0-9]+')", '123'],
    ["'abc 123 def 456'.findAll('[0-9]+')", ['123', '456']],
    ["'abc 123 def 456'.findAll('[0-9]+', 1)", ['123']],
    ["'abc'.matches('b')", true],
    // Lists and sets.
    ['[1, 2, 2].isSorted()', true],
    ["['b', 'a'].isSorted()", false],
    ['[1, 3].sum()', 4],
    ['[1.5, 3.0].max()', 3],
    ['[2, 1].min()', 1],
    ['[1, 2, 1].indexOf(1)', 0],
    ['[1, 2, 1].lastIndexOf(1)', 2],
    ['sets.contains([1, 2, 3], [2])', true],
    ['sets.equivalent([1, 2], [2, 1, 1])', true],
    ['sets.intersects([1], [2])', false],
    // Kubernetes.
    ["quantity('1Gi').isGreaterThan(quantity('500Mi'))", true],
    ["quantity('50k').add(20).compareTo(quantity('50020'))", 0],
    ["quantity('1.5').isInteger()", false],
    ["quantity('50M').asInteger()", 50_000_000],
    ["isQuantity('1.3Gigabytes')", false],
    ["url('https://user:p@example.com:443/a%20b?x=1&x=2').getHost()", 'example.com:443'],
    ["url('https://[::1]:80/').getHostname()", '::1'],
    ["url('https://example.com:8080/').getPort()", '8080'],
    ["url('/path?q=1').getEscapedPath()", '/path'],
    ["url('https://example.com/a?x=1&x=2').getQuery()", { x: ['1', '2'] }],
    ["isURL('../no')", false],
    ["ip('127.0.0.1').isLoopback()", true],
    ["ip('2001:db8::1').family()", 6],
    ["ip.isCanonical('2001:DB8::1')", false],
    ["isIP('1.2.3.256')", false],
    ["cidr('10.0.0.0/8').containsIP('10.1.2.3')", true],
    ["cidr('10.0.0.0/8').containsCIDR(cidr('10.128.0.0/9'))", true],
    ["string(cidr('10.1.2.3/8').masked())", '10.0.0.0/8'],
    ["cidr('::1/64').prefixLength()", 64],
    ["format.dns1123Label().validate('Not Valid').hasValue()", true],
    ["!format.named('dns1123Label').value().validate('valid').hasValue()", true],
    ["semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", true],
    ["semver('v1.2', true).patch()", 0],
    ["isSemver('1.2')", false],
    // Time.
    ["timestamp('2024-02-29T12:00:00Z') + duration('36h') > timestamp('2024-03-01T23:59:59Z')", true],
    ["timestamp('2024-02-30T12:00:00Z') == null || true", true],
    ["duration('1h30m') == duration('90m')", true],
    ["string(timestamp('2024-01-01T00:00:00.5+01:00'))", '2023-12-31T23:00:00.5Z'],
    ["timestamp('2024-07-01T12:00:00Z').getHours('Europe/Berlin')", 14],
    ["duration('3m').getSeconds()", 180],
  ])('%s in the libraries', (source, expected) => {
    expect(evaluate(source)).toEqual(expected);
  });

  it.each([
    ['self.missing', 'no such key: missing'],
    ['self.tags[7]', 'index out of bounds: 7'],
    ['1 / (self.replicas - 3)', 'division by zero'],
    ['1 % (self.replicas - 3)', 'modulus by zero'],
    ['9223372036854775807 + self.replicas', 'integer overflow'],
    ['self.name + self.replicas', 'no such overload'],
    ['self.replicas && true', 'no such overload'],
    ["{'a': 1, 'a': 2}", 'insert failed: key a already exists'],
    ['[].max()', 'max called on empty list'],
  ])('%s fails: %s', (source, message) => {
    expect(failureOf(source)).toBe(message);
  });

  it('lets a side that settles the answer absorb the error of the other', () => {
    expect(evaluate('self.missing == 1 || self.replicas == 3')).toBe(true);
    expect(evaluate('self.missing == 1 && self.replicas == 4')).toBe(false);
    expect(evaluate('self.items.exists(i, i.nothing == 1 || i.v == 2)')).toBe(true);
  });

  it('reads own properties only', () => {
    expect(failureOf('self.constructor')).toBe('no such key: constructor');
    expect(failureOf('self.labels.__proto__')).toBe('no such key: __proto__');
    expect(evaluate('has(self.toString)')).toBe(false);
    const hostile = JSON.parse('{"__proto__": {"x": 1}, "constructor": 2}');
    expect(evaluate('self.constructor == 2 && self.all(k, k in ["__proto__", "constructor"])', hostile)).toBe(true);
  });
});

describe('types', () => {
  it.each([
    ['self.nope', "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^"],
    ['other.x', "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other.x\n | ^"],
    [
      'self.replicas == "x"',
      "ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(int, string)'\n | self.replicas == \"x\"\n | ..............^",
    ],
    [
      'self.name.size(1)',
      "ERROR: <input>:1:15: found no matching overload for 'size' applied to 'string.(int)'\n | self.name.size(1)\n | ..............^",
    ],
    ['nothing(1)', "ERROR: <input>:1:8: undeclared reference to 'nothing' (in container '')\n | nothing(1)\n | .......^"],
    [
      'self.tags.all(t, t + 1 == 2)',
      "ERROR: <input>:1:20: found no matching overload for '_+_' applied to '(string, int)'\n | self.tags.all(t, t + 1 == 2)\n | ...................^",
    ],
  ])('%s does not compile', (source, message) => {
    expect(complaintOf(source)).toBe(message);
  });

  it('are those of the schema: numbers are integers or not, texts may be times', () => {
    const typed = (source: string, value: unknown): unknown => toJson(compileTyped(source).evaluate({ self: value }));
    expect(typed('self.ratio == 2.0', { ratio: 2 })).toBe(true);
    expect(typed("self.started < timestamp('2024-01-02T00:00:00Z')", { started: '2024-01-01T00:00:00Z' })).toBe(true);
    expect(typed("self.timeout == duration('60s')", { timeout: '1m' })).toBe(true);
    expect(typed('self.my__dash__field + self.__namespace__', { 'my-field': 'a', namespace: 'b' })).toBe('ab');
    expect(typed("type(self.port) == string ? self.port == 'http' : self.port == 80", { port: 'http' })).toBe(true);
  });

  it('are checked for the result', () => {
    expect(() => compileTyped('self.replicas', 'bool')).toThrow('must evaluate to bool');
    const program = compileCel('self.a', { variables: { self: dynType }, result: 'bool' });
    expect(() => program.evaluate({ self: { a: 1 } })).toThrow(CelEvaluationError);
  });
});

describe('hostile expressions', () => {
  const bomb =
    '[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, true))))))';

  it('end when their steps are used up, and nothing absorbs that', () => {
    expect(() => evaluate(bomb)).toThrow(CelCostError);
    expect(() => evaluate(`${bomb} || true`)).toThrow(CelCostError);
  });

  it('share the steps that they are given', () => {
    const budget = new CelBudget(100);
    const program = compileCel('[1, 2, 3].all(x, x > 0)', { variables: {} });
    program.evaluate({}, budget);
    const { left } = budget;
    expect(left).toBeLessThan(100);
    expect(() => {
      for (let turn = 0; turn < 100; turn += 1) program.evaluate({}, budget);
    }).toThrow(CelCostError);
    expect(maxStepsPerEvaluation).toBeGreaterThan(left);
  });

  it('cannot grow texts and lists without end', () => {
    const double = (source: string, times: number): string =>
      Array.from({ length: times }).reduce<string>((inner, _, index) => `cel.bind(v${index}, ${inner}, v${index} + v${index})`, source);
    expect(() => evaluate(double("'aaaaaaaaaaaaaaaa'", 40))).toThrow(CelCostError);
    expect(() => evaluate(double('[1,2,3,4]', 40))).toThrow(CelCostError);
    expect(() =>
      evaluate(
        "'a'.replace('', 'bbbbbbbbbb').replace('', 'cccccccccccc').replace('', 'dddddddddddddddddddddd').replace('', 'eeeeeeeeeeeeeeeeeeeeeeeeeeee').replace('', 'ffffffffffffffffffffffffffff').size()",
      ),
    ).toThrow(CelCostError);
  });

  it('match patterns in time linear to the text', () => {
    const text = 'a'.repeat(5_000);
    expect(evaluate("self.matches('^(a+)+$')", `${text}!`)).toBe(false);
    expect(failureOf("'a'.matches('' + '(')")).toContain('error parsing regexp');
    expect(failureOf("'a'.matches('' + '((((a{1,100}){1,100}){1,100}){1,100})')")).toContain('error parsing regexp');
    expect(() => evaluate("self.matches('(')", 'a')).toThrow('ERROR: <input>:1:14: invalid matches argument');
  });

  it.each([
    ['too long', `'${'a'.repeat(20_000)}'`],
    ['nested brackets', `${'['.repeat(300)}${']'.repeat(300)}`],
    ['parentheses', `${'('.repeat(3_000)}1${')'.repeat(3_000)}`],
    ['a run of operators', `${'!'.repeat(15_000)}true`],
    ['a chain of operators', Array.from({ length: 4_000 }, () => '1').join('+')],
    ['a chain of fields', `self${'.a'.repeat(4_000)}`],
    ['no expression', ''],
    ['half of one', 'self.'],
  ])('are refused: %s', (_, source) => {
    expect(() => compileCel(source, { variables: { self: dynType } })).toThrow(CelCompileError);
  });
});

describe('messages', () => {
  const messages: CelMessages = (name) =>
    name === 'Object' || name.startsWith('Object.') ? (field) => (field === 'unknown' ? undefined : dynType) : undefined;
  const made = (source: string) => toJson(compileCel(source, { variables: { x: dynType }, messages }).evaluate({ x: true }));
  const complaint = (source: string): string => {
    try {
      made(source);
    } catch (err) {
      if (err instanceof CelCompileError) return err.message;
      throw err;
    }
    throw new Error(`${source} was compiled`);
  };

  it('are made of their fields, between maps, conditions, texts and comments', () => {
    expect(made('Object{}')).toEqual({});
    expect(
      made(`Object{ // {a: 1}
      spec: Object.spec{n: x ? 1 : 2, list: [Object.spec.list{text: "a{b: c}"}, {"k": x ? {1: 2} : {}}], },
      isIn: 1 in {1: 2}, raw: r'\\{', long: """x" {y: 1}""" }`),
    ).toEqual({
      spec: { n: 1, list: [{ text: 'a{b: c}' }, { k: { 1: 2 } }] },
      isIn: true,
      raw: '\\{',
      long: 'x" {y: 1}',
    });
  });

  it('are refused where there are none of that name or with that field, and where they are no messages', () => {
    expect(complaint('Foo{a: 1}')).toBe("ERROR: <input>:1:4: undeclared reference to 'Foo' (in container '')\n | Foo{a: 1}\n | ...^");
    expect(complaint('Object{unknown: 1}')).toContain("<input>:1:8: undefined field 'unknown'");
    for (const source of ['Object{a}', 'Object{1: 2}', 'Object{', 'Object{a: 1', 'Object{?a: x}', 'size(x){a: 1}']) {
      expect(complaint(source), source).toContain('ERROR: <input>');
    }
  });
});

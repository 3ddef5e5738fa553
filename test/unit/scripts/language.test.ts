import { describe, expect, it } from 'vitest';
import { findingsIn, maxWords, participles, wideLines } from '../../../scripts/language/rules.mjs';
import { type Piece, readMarkdown, readSource } from '../../../scripts/language/scan.mjs';

/** Rules that a text breaks, without the hints. */
function rulesOf(text: string, kind: Piece['kind'] = 'comment'): readonly string[] {
  return findingsIn({ kind, line: 1, text }).map(({ rule }) => rule.replace(/, say:.*/, ''));
}

describe('rules', () => {
  it.each([
    ['What is to go does not count toward health.', 'opening "What"'],
    ['Pods wait. Whether they run is not known.', 'opening "Whether"'],
    ['Of three nodes, two answer.', 'opening "Of"'],
    ['- Where no node fits, the pod waits.', 'opening "Where"'],
    ['The controller is told by a watch.', 'banned "told"'],
    ['The value stands in the status.', 'banned "stands"'],
    ["A pod of nobody's is deleted.", `banned "nobody's"`],
    ['A person has to mend the manifest.', 'banned "mend"'],
  ])('refuse %j', (text, rule) => {
    expect(rulesOf(text)).toEqual([rule]);
  });

  it.each([
    'Objects to be pruned do not count toward health; they may be the unhealthy ones.',
    'What happens when the node is lost?',
    'Upstream answers "Whether the field is told" here.',
    'The field `told` holds the time.',
    'A standalone recommendation stays.',
    'How: see below.',
    'Usage:\n\n  Whether this is code\n  Where it is indented\n\nThe end.',
    'Deletes pods, e.g. of a node. It keeps the rest.',
    '@param what  How.',
  ])('pass %j', (text) => {
    expect(rulesOf(text)).toEqual([]);
  });

  it('pass a heading with a clause, and refuse a test title with one', () => {
    expect(rulesOf('How a commit is applied', 'heading')).toEqual([]);
    expect(rulesOf('what a plan deletes', 'title')).toEqual(['opening "What"']);
  });

  it('refuse a sentence that is too long, and count each sentence alone', () => {
    const words = (count: number) => `Pods ${'wait '.repeat(count - 1).trim()}.`;
    expect(rulesOf(words(maxWords))).toEqual([]);
    expect(rulesOf(words(maxWords + 1))).toEqual([`${maxWords + 1} words`]);
    expect(rulesOf(`${words(maxWords)} ${words(maxWords)}`)).toEqual([]);
  });

  it('leave quotations of upstream alone', () => {
    const text = 'The server says: Whether told or not.';
    expect(findingsIn({ kind: 'text', line: 1, text }, { quotations: ['Whether told or not.'] })).toEqual([]);
  });

  it('name the line of a sentence in a longer comment', () => {
    expect(findingsIn({ kind: 'comment', line: 7, text: 'Pods wait.\nNodes run.\nWho asks first wins.' })).toMatchObject([{ line: 9 }]);
  });

  it('refuse wide prose in documents, but no table, code or link', () => {
    const wide = 'word '.repeat(30).trim();
    const link = `[a](${'x'.repeat(120)})`;
    expect(wideLines(wide, { isMarkdown: true })).toHaveLength(1);
    expect(wideLines(`| ${wide} |\n\n\`\`\`\n${wide}\n\`\`\`\n${link}`, { isMarkdown: true })).toEqual([]);
    expect(wideLines(`// ${wide}\nconst a = 1;`, { isMarkdown: false })).toMatchObject([{ line: 1 }]);
  });

  it('refuse functions that are participles, but no verb that ends like one', () => {
    const named = ['failed', 'found', 'limitedBy', 'seed', 'embed', 'bind', 'guardedClient'].map((name) => ({ name, line: 1 }));
    expect(participles(named).map(({ excerpt }) => excerpt)).toEqual(['failed()', 'found()', 'limitedBy()']);
    expect(participles(named, ['found', 'limitedBy', 'failed'])).toEqual([]);
  });
});

describe('reading source', () => {
  it('joins line comments, and keeps those behind code apart', () => {
    const { pieces } = readSource('// One\n// two.\nlet a = 1; // Three.\n// Four.\n');
    expect(pieces.map(({ line, text }) => [line, text])).toEqual([
      [1, 'One\ntwo.'],
      [3, 'Three.'],
      [4, 'Four.'],
    ]);
  });

  it('strips the marks of block comments', () => {
    expect(readSource('/**\n * One\n * two.\n */\n').pieces[0]?.text.trim()).toBe('One\ntwo.');
  });

  it('finds titles behind tables and conditions', () => {
    const source =
      "describe('a', () => {\n  it.each([['x', (y) => y]])('b %s', () => {});\n  it.skipIf(no())(`c \x24{d}`, () => {});\n  expect(it.text).toBe('e');\n});";
    const titles = readSource(source, { isTest: true }).pieces.filter(({ kind }) => kind === 'title');
    expect(titles.map(({ text, line }) => [line, text])).toEqual([
      [1, 'a'],
      [2, 'b %s'],
      [3, 'c X'],
    ]);
  });

  it('takes sentences of source for texts, not of tests, and no names, queries or programs of a shell', () => {
    const source =
      "fail('The app waits for its source.');\nsql('SELECT key FROM log WHERE revision < 3');\nrun('mount $1 and then wait for it');\nname('app.kubernetes.io/name');";
    expect(readSource(source).pieces).toEqual([{ kind: 'text', line: 1, text: 'The app waits for its source.' }]);
    expect(readSource(source, { isTest: true }).pieces).toEqual([]);
  });

  it('goes on after templates in templates, regular expressions and apostrophes', () => {
    const source = ['const a = `x \x24{b ? `y \x24{{ c }.c}` : 1} z`;', "const d = /'\\/[/']/.test(e) / 2;", '// Found.'].join('\n');
    expect(readSource(source).pieces).toEqual([{ kind: 'comment', line: 3, text: 'Found.' }]);
    expect(readSource("<p>It isn't here.</p>\n// Found.", { isJsx: true }).pieces).toContainEqual({
      kind: 'comment',
      line: 2,
      text: 'Found.',
    });
  });

  it('lists exported functions', () => {
    const source = 'export async function a() {}\nfunction b() {}\nexport function* c() {}\nexport const d = 1;';
    expect(readSource(source).functions.map(({ name }) => name)).toEqual(['a', 'c']);
  });
});

describe('reading Markdown', () => {
  it('tells paragraphs, list items, headings and cells apart, and leaves code out', () => {
    const source =
      '# How it works\n\nOne [two](http://a)\nthree.\n\n- four\n  five\n- six\n\n```\nWhat not.\n```\n\n| a | b |\n| - | - |\n| c | d |\n';
    expect(readMarkdown(source)).toEqual([
      { kind: 'heading', line: 1, text: 'How it works' },
      { kind: 'prose', line: 3, text: 'One [two]\nthree.' },
      { kind: 'prose', line: 6, text: 'four\n  five' },
      { kind: 'prose', line: 8, text: 'six' },
      ...['a', 'b'].map((text) => ({ kind: 'cell', line: 14, text })),
      ...['c', 'd'].map((text) => ({ kind: 'cell', line: 16, text })),
    ]);
  });
});

// The rules of the language gate: a concrete subject, an active verb, the consequence. CONTRIBUTING gives an example.

/**
 * @typedef {import('./scan.mjs').Piece} Piece
 * @typedef {{ line: number, rule: string, excerpt: string }} Finding
 */

/** Longer sentences are refused. */
export const maxWords = 25;
const docColumns = 100;
/** The width of the formatter, see biome.json. */
const commentColumns = 140;

/** A statement that begins with one of these has a clause for its subject. Questions may begin so. */
const opening =
  /^(?:What|Of|Whoever|Whatever|Whichever|Where|Who|Whom|Whose|Whether|Which|Why|How|That which|Those who|Nothing that|None of|Neither of)\b(?!:)/;

/** Words that a reader of this field does not expect, and the usual ones. */
const banned = {
  told: 'receives, learns, knows',
  'stand|stands|stood': 'is, represents, may be',
  anew: 'again',
  'mend|mends|mended|mending': 'repair',
  'no news': 'unchanged, not reported',
  '(?:go|goes|going|went) by': 'use, follow',
  '(?:has|have|had) (?:a|no) say': 'count, decide',
  "nobody's": 'name the owner, or say that it has none',
  overheard: 'missed',
  'of (?:a )?short li(?:fe|ves)': 'short-lived',
  '(?:come|comes|came) to nothing': 'fail, have no effect',
  'to no end': 'without effect',
  'thereby|hence|whence|thereupon|whereupon|therein|thereof|wherein|whereby': 'so, there',
  'lest|albeit|hitherto|henceforth|forthwith|nought|aught|amid|amidst|whilst|unto': 'a word of today',
  upon: 'on',
  'shall|ought': 'must, will',
  'in vain': 'without success',
  'of its own (?:accord)': 'without a request',
  '(?:is|are) owed': 'is missing',
  'all the same': 'anyway, nevertheless, equal',
  'for good': 'permanently',
  'for ever': 'forever',
  'as of old': 'as before, as earlier versions',
  'as (?:it were)|so (?:to speak)': 'nothing',
  'in words': 'as text',
  'as good as': 'equal to, almost',
  'let in|lets in': 'admit',
  '(?:hear|hears|heard) of': 'learn about, see',
};
const bannedWord = new RegExp(`(?<![\\w-])(?:${Object.keys(banned).join('|')})(?![\\w'’-])`, 'gi');
const usualWords = Object.entries(banned).map(([words, usual]) => [new RegExp(`^(?:${words})$`, 'i'), usual]);

const participle =
  /^(?:found|taken|kept|held|known|seen|given|gone|sent|told|left|lost|made|met|shown|written|drawn|chosen|begun|built|bound|brought|caught|done|said|paid|spent|torn|thrown|become|hidden|broken|understood|[a-z]+ed)(?:$|(?:By|To|In|On|At|From|With|For|Out|Alone|Twice)(?![a-z]))/;
const verbsThatEndAlike = /^(?:need|seed|feed|embed|speed|exceed|proceed|succeed|shed|bleed|breed)(?=$|[A-Z])/;

/**
 * Breaks of the rules in one piece of prose.
 *
 * @param {Piece} piece
 * @param {{ longest?: number, quotations?: readonly string[] }} options  `quotations` are texts of upstream that stay as they are
 * @returns {Finding[]}
 */
export function findingsIn(piece, { longest = maxWords, quotations = [] } = {}) {
  const findings = [];
  let text = piece.text;
  for (const quotation of quotations) text = text.replaceAll(quotation, (found) => `“${found.replace(/[^\n]/g, 'x')}”`);
  for (const sentence of sentencesOf(text, piece.kind)) {
    const line = piece.line + sentence.linesBefore;
    const excerpt = shortened(sentence.text);
    const add = (rule) => findings.push({ line, rule, excerpt });
    const words = sentence.text.split(/\s+/).filter((word) => /[\p{L}\d]/u.test(word));
    if (piece.kind !== 'heading' && words.length >= 3 && !/[?:]$/.test(sentence.text)) {
      const begin = opening.exec(
        piece.kind === 'title' ? sentence.text.replace(/^[a-z]/, (letter) => letter.toUpperCase()) : sentence.text,
      );
      if (begin !== null) add(`opening "${begin[0]}"`);
    }
    for (const [word] of sentence.text.matchAll(bannedWord))
      add(`banned "${word}", say: ${usualWords.find(([words]) => words.test(word))?.[1]}`);
    if (words.length > longest) add(`${words.length} words`);
  }
  return findings;
}

/** Breaks of the widths: 100 columns for prose in Markdown, the formatter's width for comments. */
export function wideLines(source, { isMarkdown }) {
  const findings = [];
  let isFenced = false;
  for (const [index, line] of source.split('\n').entries()) {
    if (isMarkdown && /^\s*(```|~~~)/.test(line)) isFenced = !isFenced;
    const isProse = isMarkdown
      ? !isFenced && !/^\s*\|/.test(line) && !/^#/.test(line) && /\S\s+\S/.test(line.trim().slice(0, docColumns))
      : /^\s*(\/\/|\/?\*)/.test(line);
    const width = isMarkdown ? docColumns : commentColumns;
    if (isProse && [...line].length > width)
      findings.push({ line: index + 1, rule: `over ${width} columns`, excerpt: shortened(line.trim()) });
  }
  return findings;
}

/** Exported functions whose name is a participle: functions are verbs. */
export function participles(functions, allowed = []) {
  return functions
    .filter(({ name }) => participle.test(name) && !verbsThatEndAlike.test(name) && !allowed.includes(name))
    .map(({ name, line }) => ({ line, rule: 'function named by a participle', excerpt: `${name}()` }));
}

/** Sentences of a piece, with code, quotations and comment tags taken out, and the lines before each. */
function sentencesOf(text, kind) {
  const plain = text
    .replace(/```[\s\S]*?```/g, (block) => block.replace(/[^\n]/g, ' '))
    .replace(/(^|\n[ \t]*\n)((?: {2,}\S.*(?:\n|$))+)/g, (_, before, block) => before + block.replace(/[^\n]/g, ' '))
    .replace(/`[^`\n]*`/g, (code) => (/^`\w+`$/.test(code) ? code.slice(1, -1).replace(/[A-Za-z]/g, 'X') : 'X'))
    .replace(/"[^"\n]{2,}"|“[^”]*”/g, 'X');
  const sentences = [];
  let start = 0;
  const boundary = /[.!?](?=["')\]]*(?:\s|$))|\n\s*\n|\n\s*(?=[-*] |\d+\. |@\w+)/g;
  const add = (end) => {
    const raw = plain.slice(start, end);
    const lead = /^\s*/.exec(raw)[0];
    const sentence = raw
      .slice(lead.length)
      .replace(/\s+/g, ' ')
      .replace(/^(?:[-*] |\d+\. )/, '')
      .replace(/^@(?:param|property|template)\s+(?:\{[^}]*\}\s+)?\S+\s+/, '')
      .replace(/^@(?:throws|returns|see)\s+/, '')
      .replace(/^[*_("']+/, '')
      .trim();
    if (sentence !== '') sentences.push({ text: sentence, linesBefore: plain.slice(0, start + lead.length).split('\n').length - 1 });
    start = end;
  };
  for (const found of plain.matchAll(boundary)) {
    const end = found.index + found[0].length;
    const rest = plain.slice(end).trimStart();
    // A full stop before a small letter belongs to an abbreviation or a name.
    if (found[0] === '.' && /^[a-z]/.test(rest) && kind !== 'title') continue;
    add(end);
  }
  add(plain.length);
  return sentences;
}

function shortened(text) {
  return text.length > 110 ? `${text.slice(0, 109)}…` : text;
}

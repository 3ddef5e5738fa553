// Finds the prose of a file: comments, test titles and texts for users in source, paragraphs in Markdown.

/**
 * A run of prose, as the rules read it.
 *
 * @typedef {object} Piece
 * @property {'comment' | 'title' | 'text' | 'prose' | 'heading' | 'cell'} kind
 * @property {number} line  of its beginning, from 1
 * @property {string} text  lines joined by a newline, without comment marks
 */

const titleFunctions = new Set(['describe', 'it', 'test']);

/**
 * Splits TypeScript or JavaScript into tokens, coarsely: enough to tell strings, templates, comments and expressions apart.
 *
 * A string that its line does not close ends there, so that an apostrophe in JSX costs one line and not the file.
 */
export function tokensOf(source) {
  const tokens = [];
  // Templates with an open `${}`: their token, and the depth of braces inside it.
  const templates = [];
  let at = 0;
  let line = 1;
  const push = (type, text, from) => tokens.push({ type, text, line: from });
  const readTemplate = (token) => {
    while (at < source.length) {
      const char = source[at];
      if (char === '`') {
        at += 1;
        return;
      }
      if (char === '$' && source[at + 1] === '{') {
        at += 2;
        token.text += 'X';
        templates.push({ token, depth: 0 });
        return;
      }
      const length = char === '\\' ? 2 : 1;
      token.text += source.slice(at, at + length);
      if (char === '\n') line += 1;
      at += length;
    }
  };
  while (at < source.length) {
    const char = source[at];
    const next = source[at + 1];
    if (char === '\n') {
      line += 1;
      at += 1;
    } else if (/\s/.test(char)) {
      at += 1;
    } else if (char === '/' && next === '/') {
      const end = source.indexOf('\n', at);
      const text = source.slice(at + 2, end === -1 ? undefined : end);
      push('lineComment', text, line);
      at = end === -1 ? source.length : end;
    } else if (char === '/' && next === '*') {
      const end = source.indexOf('*/', at + 2);
      const text = source.slice(at + 2, end === -1 ? undefined : end);
      push('blockComment', text, line);
      line += text.split('\n').length - 1;
      at = end === -1 ? source.length : end + 2;
    } else if (char === "'" || char === '"') {
      const found = /^(['"])((?:\\[\s\S]|(?!\1)[^\\\n])*)\1?/.exec(source.slice(at, at + 20_000));
      push('string', found[2], line);
      at += Math.max(found[0].length, 1);
      line += found[0].split('\n').length - 1;
    } else if (char === '`') {
      at += 1;
      push('template', '', line);
      readTemplate(tokens.at(-1));
    } else if (char === '{' && templates.length > 0) {
      templates.at(-1).depth += 1;
      push('punctuation', char, line);
      at += 1;
    } else if (char === '}' && templates.length > 0) {
      at += 1;
      const open = templates.at(-1);
      if (open.depth > 0) {
        open.depth -= 1;
        push('punctuation', char, line);
      } else {
        templates.pop();
        readTemplate(open.token);
      }
    } else if (char === '/' && startsRegex(tokens, source, at)) {
      const found = /^\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/.exec(source.slice(at, at + 5_000));
      push('regex', '', line);
      at += found?.[0].length ?? 1;
    } else if (/[\w$]/.test(char)) {
      const word = /^[\w$]+/.exec(source.slice(at, at + 500))[0];
      push('word', word, line);
      at += word.length;
    } else {
      push('punctuation', char, line);
      at += 1;
    }
  }
  return tokens;
}

const wordsBeforeRegex = new Set(['return', 'typeof', 'case', 'in', 'of', 'await', 'void', 'else', 'do', 'yield']);

function startsRegex(tokens, source, at) {
  if (source[at + 1] === '>') return false;
  const before = tokens.findLast(({ type }) => type !== 'lineComment' && type !== 'blockComment');
  if (before === undefined) return true;
  if (before.type === 'word') return wordsBeforeRegex.has(before.text);
  return before.type === 'punctuation' && !')]<'.includes(before.text);
}

/** The prose of a source file, and the names of the functions it exports. */
export function readSource(source, { isTest = false, isJsx = false } = {}) {
  const tokens = tokensOf(source);
  const pieces = [...commentsOf(tokens, source.split('\n'))];
  const titles = titleTokens(tokens);
  for (const token of titles) pieces.push({ kind: 'title', line: token.line, text: withoutEscapes(token.text) });
  if (!isTest) {
    for (const token of tokens) {
      if ((token.type === 'string' || token.type === 'template') && isSentence(token.text)) {
        pieces.push({ kind: 'text', line: token.line, text: withoutEscapes(token.text) });
      }
    }
    if (isJsx) pieces.push(...jsxTextsOf(source));
  }
  return { pieces, functions: exportedFunctions(tokens) };
}

/** A text for people has at least four words of letters. Names, paths, queries, style sheets and programs of a shell are none. */
function isSentence(text) {
  if (/\$[1-9@]/.test(text)) return false;
  if (/^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA)\b/.test(text) || /[{};]\s*\n/.test(text)) return false;
  return text.split(/\s+/).filter((word) => /^[("'`]*[A-Za-z][a-z'’-]*[)"'`]*[.,:;!?]*$/.test(word)).length >= 4;
}

function withoutEscapes(text) {
  return text.replaceAll('\\n', '\n').replace(/\\(.)/g, '$1');
}

function* commentsOf(tokens, lines) {
  let open;
  for (const token of tokens) {
    if (token.type === 'lineComment') {
      const isAlone = lines[token.line - 1].trimStart().startsWith('//');
      const text = token.text.replace(/^ /, '');
      if (/^\s*(biome-ignore|@ts-|eslint-)/.test(text)) continue;
      if (open !== undefined && isAlone && open.lastLine === token.line - 1) {
        open.text += `\n${text}`;
        open.lastLine = token.line;
        continue;
      }
      if (open !== undefined) yield { kind: 'comment', line: open.line, text: open.text };
      open = { line: token.line, lastLine: isAlone ? token.line : -1, text };
    } else if (token.type === 'blockComment') {
      const text = token.text.replace(/^\*/, '').replace(/^[ \t]*\*?[ ]?/gm, '');
      yield { kind: 'comment', line: token.line, text };
    }
  }
  if (open !== undefined) yield { kind: 'comment', line: open.line, text: open.text };
}

/** First arguments of describe, it and test, also behind `.each(table)` and `.skipIf(condition)`. */
function titleTokens(tokens) {
  const titles = new Set();
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index];
    if (token.type !== 'word' || !titleFunctions.has(token.text) || tokens[index - 1]?.text === '.') continue;
    let at = index + 1;
    while (tokens[at]?.text === '.' && tokens[at].type === 'punctuation') at += 2;
    while (tokens[at]?.text === '(' && tokens[at].type === 'punctuation') {
      const first = tokens[at + 1];
      if (first?.type === 'string' || first?.type === 'template') titles.add(first);
      at = afterParenthesis(tokens, at);
    }
  }
  return titles;
}

function afterParenthesis(tokens, from) {
  let depth = 0;
  for (let at = from; at < tokens.length; at += 1) {
    if (tokens[at].type !== 'punctuation') continue;
    if (tokens[at].text === '(') depth += 1;
    else if (tokens[at].text === ')') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return tokens.length;
}

function* jsxTextsOf(source) {
  for (const found of source.matchAll(/>([^<>{}=;]+)(?=[<{])/g)) {
    const text = found[1].trim();
    if (isSentence(text)) yield { kind: 'text', line: source.slice(0, found.index).split('\n').length, text };
  }
}

function exportedFunctions(tokens) {
  const functions = [];
  for (let index = 0; index < tokens.length; index += 1) {
    if (tokens[index].type !== 'word' || tokens[index].text !== 'export') continue;
    let at = index + 1;
    if (tokens[at]?.text === 'async') at += 1;
    if (tokens[at]?.text !== 'function') continue;
    at += tokens[at + 1]?.text === '*' ? 2 : 1;
    functions.push({ name: tokens[at].text, line: tokens[at].line });
  }
  return functions;
}

/** The prose of a Markdown file: paragraphs, list items, headings and table cells, without code blocks and link targets. */
export function readMarkdown(source) {
  const pieces = [];
  let open;
  let isFenced = false;
  const close = () => {
    if (open !== undefined) pieces.push(open);
    open = undefined;
  };
  for (const [index, raw] of source.split('\n').entries()) {
    const line = index + 1;
    if (/^\s*(```|~~~)/.test(raw)) {
      isFenced = !isFenced;
      close();
      continue;
    }
    if (isFenced) continue;
    const text = raw.replace(/\]\([^)]*\)/g, ']').replace(/<!--.*?-->/g, '');
    if (text.trim() === '') close();
    else if (/^#{1,6} /.test(text)) {
      close();
      pieces.push({ kind: 'heading', line, text: text.replace(/^#+ /, '') });
    } else if (/^\s*\|/.test(text)) {
      close();
      if (/^[\s|:-]+$/.test(text)) continue;
      for (const cell of text.split(/(?<!\\)\|/)) if (cell.trim() !== '') pieces.push({ kind: 'cell', line, text: cell.trim() });
    } else if (/^\s*([-*+]|\d+\.) /.test(text)) {
      close();
      open = { kind: 'prose', line, text: text.replace(/^\s*([-*+]|\d+\.) /, '') };
    } else if (open === undefined) {
      if (!/^ {4}/.test(raw)) open = { kind: 'prose', line, text };
    } else open.text += `\n${text}`;
  }
  close();
  return pieces;
}

// The rules for commit messages, see "Commits" in CONTRIBUTING.md.
import { findingsIn } from './rules.mjs';

const maxSubject = 72;
const maxBodyColumns = 100;
const area = /^[a-z0-9.][\w./{}*-]*(?:, [\w./{}*-]+)*: (?=\S)/;

/** Words that end like a third person, a past or a gerund and are imperatives. */
const imperatives =
  /^(?:address|access|bypass|canvas|compress|cross|discuss|dismiss|express|focus|guess|miss|pass|press|process|progress|suppress|toss|embed|exceed|feed|need|proceed|seed|shed|speed|spread|succeed|bring|cling|fling|ring|sing|string|swing)$/;

/**
 * Errors of a commit message, one sentence each; empty when it follows the rules.
 *
 * Merges and the commits that an interactive rebase folds away pass.
 */
export function errorsOfMessage(message) {
  const lines = message
    .split(/^# -+ >8 -+$/m)[0]
    .split('\n')
    .filter((line) => !line.startsWith('#'));
  while (lines.length > 0 && lines.at(-1).trim() === '') lines.pop();
  const [subject = '', second = '', ...body] = lines;
  if (/^(Merge|Revert|fixup!|squash!|amend!) ?/.test(subject)) return [];
  return [...subjectErrors(subject), ...bodyErrors(second, body), ...proseErrors(subject, body)];
}

function subjectErrors(subject) {
  const errors = [];
  if (subject.length > maxSubject) errors.push(`the subject has ${subject.length} characters, at most ${maxSubject} are allowed`);
  const prefix = area.exec(subject)?.[0];
  if (prefix === undefined) return [...errors, 'the subject begins with no area: write "area: imperative summary"'];
  const summary = subject.slice(prefix.length);
  if (/[.!]$/.test(summary)) errors.push('the subject ends with a full stop');
  const verb = /^[\w'-]+/.exec(summary)?.[0] ?? '';
  const isOther = /(?:[^s]s|ed|ing)$/.test(verb) && !imperatives.test(verb);
  if (verb === '' || /^[A-Z]/.test(verb)) errors.push('the summary begins with no small verb');
  else if (isOther) errors.push(`"${verb}" is no imperative: write "${area.exec(subject)[0]}end watches", not "ends" or "ended"`);
  return errors;
}

function bodyErrors(second, body) {
  const errors = [];
  if (second !== '') errors.push('the second line is not blank');
  if (second === '' && body.length === 0) errors.push('there is no body: say why in one to six lines');
  const wide = body.findIndex((line) => line.length > maxBodyColumns && /\s/.test(line.trim()));
  if (wide !== -1) errors.push(`line ${wide + 3} has ${body[wide].length} columns, at most ${maxBodyColumns} are allowed`);
  return errors;
}

function proseErrors(subject, body) {
  const text = { kind: 'prose', line: 1, text: `${subject}.\n\n${body.join('\n')}` };
  return findingsIn(text).map(({ line, rule }) => `line ${line}: ${rule}`);
}

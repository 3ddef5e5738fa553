/**
 * Patterns of `.sourceignore` and `spec.ignore`: the format of `.gitignore`, read as Flux reads it. The last pattern that
 * matches a path or a directory above it decides. A file can therefore be included again below an ignored directory.
 *
 * @see https://fluxcd.io/flux/components/source/gitrepositories/#excluding-files
 */

export interface IgnorePattern {
  /** Directory the pattern was written in, as segments; it says nothing about what lies outside. */
  readonly domain: readonly string[];
  /** `!`: takes back in what an earlier pattern left out. */
  readonly isNegated: boolean;
  /** Ends in `/`: a directory, and all below it. */
  readonly directoryOnly: boolean;
  /** One glob for each segment, or a single one that matches any segment of a path. */
  readonly globs: readonly string[];
  readonly isPath: boolean;
}

/** Patterns that are read of one file. */
const maxPatterns = 1_000;

/** @throws Error when there are too many */
export function parseIgnorePatterns(text: string, domain: readonly string[] = []): readonly IgnorePattern[] {
  const lines = text.split(/\r?\n/).filter((line) => !line.startsWith('#') && line.trim() !== '');
  if (lines.length > maxPatterns) throw new Error(`it has more than ${maxPatterns} patterns`);
  return lines.map((line) => patternOf(line, domain));
}

function patternOf(line: string, domain: readonly string[]): IgnorePattern {
  let text = line;
  const isNegated = text.startsWith('!');
  if (isNegated) text = text.slice(1);
  if (!text.endsWith('\\ ')) text = text.trimEnd();
  const directoryOnly = text.endsWith('/');
  if (directoryOnly) text = text.slice(0, -1);
  return { domain, isNegated, directoryOnly, globs: text.split('/'), isPath: text.includes('/') };
}

/**
 * Files that are left out of every repository: those of version control and CI, pictures and archives. A pattern of a
 * user may include them again.
 */
export const defaultIgnorePatterns: readonly IgnorePattern[] = [
  ...['.git/', '.gitignore', '.gitmodules', '.gitattributes'],
  ...['*.jpg', '*.jpeg', '*.gif', '*.png', '*.wmv', '*.flv', '*.tar.gz', '*.zip'],
  ...['.github/', '.circleci/', '.travis.yml', '.gitlab-ci.yml', 'appveyor.yml', '.drone.yml', 'cloudbuild.yaml'],
  ...['codeship-services.yml', 'codeship-steps.yml', '**/.goreleaser.yml', '**/.sops.yaml', '**/.flux.yaml'],
].map((line) => patternOf(line, []));

/** Comparisons of characters that may still be made. */
export interface Comparisons {
  left: number;
}

/** A path by its segments. */
export interface JudgedPath {
  readonly path: readonly string[];
  readonly isDirectory: boolean;
}

/** True when a path is left out. @throws Error when no comparisons are left */
export function isIgnored(patterns: readonly IgnorePattern[], judged: JudgedPath, comparisons?: Comparisons): boolean {
  for (let index = patterns.length - 1; index >= 0; index -= 1) {
    const pattern = patterns[index];
    if (pattern !== undefined && matches(pattern, judged, comparisons)) return !pattern.isNegated;
  }
  return false;
}

function matches(
  { domain, directoryOnly, globs, isPath }: IgnorePattern,
  { path, isDirectory }: JudgedPath,
  comparisons: Comparisons | undefined,
): boolean {
  if (path.length <= domain.length || domain.some((segment, index) => path[index] !== segment)) return false;
  const inside = domain.length === 0 ? path : path.slice(domain.length);
  if (isPath) return matchesPath({ globs, directoryOnly, path: inside, isDirectory, comparisons });
  const [glob = ''] = globs;
  const at = inside.findIndex((segment) => matchesGlob(glob, segment, comparisons));
  return at !== -1 && !(directoryOnly && !isDirectory && at === inside.length - 1);
}

interface PathMatch extends JudgedPath {
  readonly globs: readonly string[];
  readonly directoryOnly: boolean;
  readonly comparisons: Comparisons | undefined;
}

function matchesPath({ globs, directoryOnly, path, isDirectory, comparisons }: PathMatch): boolean {
  let at = 0;
  let matched = false;
  let anywhere = false;
  for (const [index, glob] of globs.entries()) {
    const isLast = index === globs.length - 1;
    if (glob === '') {
      anywhere = false;
      continue;
    }
    if (glob === '**') {
      if (isLast) break;
      anywhere = true;
      continue;
    }
    if (glob.includes('**') || at >= path.length) return false;
    if (anywhere) {
      anywhere = false;
      const offset = path.slice(at).findIndex((segment) => matchesGlob(glob, segment, comparisons));
      matched = offset !== -1;
      at = matched ? at + offset + 1 : path.length;
    } else {
      if (!matchesGlob(glob, path[at] ?? '', comparisons)) return false;
      at += 1;
      matched = at < path.length || isLast;
    }
  }
  return matched && !(directoryOnly && !isDirectory && at === path.length);
}

/**
 * `*`, `?`, `[a-z]`, `[^a]` and `\` within one segment. Goes back to the last star only, so a hostile pattern costs the product of both
 * lengths and no more.
 */
export function matchesGlob(glob: string, text: string, comparisons?: Comparisons): boolean {
  let at = 0;
  let position = 0;
  let star = -1;
  let starPosition = 0;
  while (position < text.length) {
    if (comparisons !== undefined) {
      comparisons.left -= 1;
      if (comparisons.left < 0) throw new Error('its patterns take too long for the names of a directory');
    }
    if (glob[at] === '*') {
      star = at;
      starPosition = position;
      at += 1;
      continue;
    }
    const next = at < glob.length ? matchOne(glob, at, text[position] ?? '') : undefined;
    if (next !== undefined) {
      at = next;
      position += 1;
    } else if (star !== -1) {
      starPosition += 1;
      position = starPosition;
      at = star + 1;
    } else return false;
  }
  while (glob[at] === '*') at += 1;
  return at === glob.length;
}

/** Position in the glob after one matching character; undefined when it does not match. */
function matchOne(glob: string, at: number, character: string): number | undefined {
  switch (glob[at]) {
    case '?':
      return at + 1;
    case '\\':
      return glob[at + 1] === character ? at + 2 : undefined;
    case '[': {
      const end = glob.indexOf(']', at + 2);
      if (end === -1) return undefined;
      return inClass(glob.slice(at + 1, end), character) ? end + 1 : undefined;
    }
    default:
      return glob[at] === character ? at + 1 : undefined;
  }
}

function inClass(text: string, character: string): boolean {
  const isNegated = text.startsWith('^') || text.startsWith('!');
  const members = isNegated ? text.slice(1) : text;
  let found = false;
  for (let index = 0; index < members.length; index += 1) {
    const from = members[index] ?? '';
    if (members[index + 1] === '-' && index + 2 < members.length) {
      const to = members[index + 2] ?? '';
      if (character >= from && character <= to) found = true;
      index += 2;
    } else if (character === from) found = true;
  }
  return found !== isNegated;
}

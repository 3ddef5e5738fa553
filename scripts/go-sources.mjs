// Reads Go's declarations from Debian's golang-k8s-* packages: names, tags, markers and constants, none of the prose.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `k8s.io/api/core/v1` to `io.k8s.api.core.v1`, as upstream names its definitions. */
export const definitionPrefix = (goPackage) => {
  const [host, ...rest] = goPackage.split('/');
  return [...host.split('.').reverse(), ...rest].join('.');
};

/** The packages below `goRoot` (`k8s.io/api/core/v1`), each parsed once. */
export function openGoSources(goRoot) {
  const packages = new Map();

  /** Types, constants and group of one Go package; parsed once. */
  function loadPackage(goPackage) {
    const known = packages.get(goPackage);
    if (known !== undefined) return known;
    const folder = join(goRoot, goPackage.replace(/^k8s\.io\//, ''));
    const loaded = { path: goPackage, types: new Map(), constants: new Map(), group: undefined };
    packages.set(goPackage, loaded);
    if (!existsSync(folder)) return loaded;
    for (const file of readdirSync(folder).sort()) {
      if (!file.endsWith('.go') || file.endsWith('_test.go') || /^(zz_)?generated|types_swagger/.test(file)) continue;
      parseGoFile(readFileSync(join(folder, file), 'utf8'), loaded);
    }
    return loaded;
  }

  /** Declaration of a type expression without `*`, `[]` and `map`. */
  function lookUp(expression, owner) {
    const dot = expression.indexOf('.');
    const goPackage = dot === -1 ? owner.goPackage : owner.imports.get(expression.slice(0, dot));
    if (goPackage === undefined) throw new Error(`import of ${expression} is not known in ${owner.goPackage}`);
    const name = expression.slice(dot + 1);
    const type = loadPackage(goPackage).types.get(name);
    if (type === undefined) throw new Error(`type ${goPackage}.${name} is not declared`);
    // `type Rule = v1.Rule` is the other type, not one like it.
    if (type.isSame) return lookUp(type.alias, { goPackage, imports: type.imports });
    return { goPackage, name, type };
  }

  return { loadPackage, lookUp };
}

/** Reads type and constant declarations; statements and functions are passed over. */
function parseGoFile(text, into) {
  const imports = parseImports(text);
  const lines = text.split('\n');
  let comments = [];
  let earlier = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at];
    if (/^\s*\/\//.test(line)) {
      comments.push(line.replace(/^\s*\/\/ ?/, ''));
      continue;
    }
    if (line.trim() === '') {
      // Markers of a type may be in the block before its doc comment.
      if (comments.length > 0) earlier = comments;
      comments = [];
      continue;
    }
    const group = line.match(/^const GroupName = "(.*)"/);
    if (group !== null) into.group = group[1];
    const type = line.match(/^type (\w+) (= *)?(.*)$/);
    if (type !== null) {
      const [, name, same, rest] = type;
      const markers = markersOf([...earlier, ...comments]);
      if (/^struct ?\{/.test(rest)) {
        const members = [];
        if (!rest.includes('}')) at = parseMembers(lines, at + 1, members);
        into.types.set(name, { name, imports, markers, members });
      } else if (!rest.startsWith('interface')) {
        into.types.set(name, { name, imports, markers, alias: rest.replace(/\s*\/\/.*$/, '').trim(), isSame: same !== undefined });
      }
    } else if (/^const \(/.test(line)) {
      for (at++; at < lines.length && lines[at] !== ')'; at++) addConstant(lines[at], into);
    } else if (line.startsWith('const ')) {
      addConstant(line.slice('const '.length), into);
    }
    comments = [];
    earlier = [];
  }
}

function parseImports(text) {
  const imports = new Map();
  const block = text.match(/^import \(([\s\S]*?)^\)/m)?.[1] ?? text.match(/^import (".*")/m)?.[1] ?? '';
  for (const [, alias, path] of block.matchAll(/^\s*(\w+)?\s*"([^"]+)"/gm)) imports.set(alias ?? path.split('/').pop(), path);
  return imports;
}

/** Only `Name Type = "value"`: enum members carry their type. */
function addConstant(line, into) {
  const constant = line.match(/^\s*(\w+)\s+(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"/);
  if (constant === null) return;
  const [, name, type, value] = constant;
  into.constants.set(name, { type, value: JSON.parse(`"${value}"`) });
}

function parseMembers(lines, start, members) {
  let comments = [];
  for (let at = start; at < lines.length; at++) {
    const line = lines[at].trim();
    if (line === '}') return at;
    if (line === '') comments = [];
    else if (line.startsWith('//')) comments.push(line.replace(/^\/\/ ?/, ''));
    else {
      const member = line.match(/^(?:(\w+)\s+)?([^\s`]+)(?:\s+`(.*)`)?/);
      if (member !== null) {
        const [, name, type, tags = ''] = member;
        members.push({ name: name ?? type.split('.').pop(), type, tags: parseTags(tags), markers: markersOf(comments) });
      }
      comments = [];
    }
  }
  throw new Error('struct without an end');
}

const parseTags = (text) => Object.fromEntries([...text.matchAll(/(\w+):"([^"]*)"/g)].map(([, key, value]) => [key, value]));

/** `+listType=map` to { listType: ['map'] }. */
function markersOf(comments) {
  const markers = {};
  for (const comment of comments) {
    const marker = comment.match(/^\s*\+([\w:-]+)(?:=(.*))?$/);
    if (marker === null) continue;
    const [, key, value = ''] = marker;
    markers[key] ??= [];
    markers[key].push(value.trim());
  }
  return markers;
}

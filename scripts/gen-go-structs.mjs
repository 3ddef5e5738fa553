// Writes src/api/go-structs.json: the fields of the structures whose values answers show whole. Go's encoder prints them by their Go names,
// in the order of their declaration, none left out.
//
//   node scripts/gen-go-structs.mjs [--go-root DIR] [--out FILE]
//
// Input: the Go types of Debian's golang-k8s-api-dev. scripts/go-struct-facts.mjs has the differences of the server's own
// structures.
//
// A field has the printed form of its absent value:
//
//   "", 0, false or null     a scalar, or a value without a structure
//   "group/version.Type"     a structure that is always present
//   "?group/version.Type"    a structure, or a list or map of them, that may be absent
//   "+group/version.Type"    a structure whose fields count as those of the outer one
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openGoSources } from './go-sources.mjs';
import { added, gone, orders, roots } from './go-struct-facts.mjs';

const { values: options } = parseArgs({
  options: {
    'go-root': { type: 'string', default: '/usr/share/gocode/src/k8s.io' },
    out: { type: 'string', default: fileURLToPath(new URL('../src/api/go-structs.json', import.meta.url)) },
  },
});
const { lookUp } = openGoSources(options['go-root']);

const apiPackages = /^k8s\.io\/api\//;
const structs = new Map();
const pending = [...roots];

/** The form of a field, see above. */
function fieldOf(expression, owner) {
  if (/^(\*|\[\]|map\[)/.test(expression)) {
    const form = fieldOf(expression.replace(/^(\*|\[\]|map\[[\w.]+\])+/, ''), owner);
    return typeof form === 'string' && form !== '' ? `?${form}` : null;
  }
  if (expression === 'string') return '';
  if (expression === 'bool') return false;
  if (/^u?int\d*$|^byte$/.test(expression)) return 0;
  const { goPackage, name, type } = lookUp(expression, owner);
  if (type.alias !== undefined) return fieldOf(type.alias, { goPackage, imports: type.imports });
  // Types of other packages have names for the wire, or an encoder of their own: what is sent is what is printed.
  if (!apiPackages.test(goPackage)) return null;
  const reference = `${goPackage.replace(apiPackages, '')}.${name}`;
  pending.push(reference);
  return reference;
}

function structOf(reference) {
  const dot = reference.indexOf('.');
  const goPackage = `k8s.io/api/${reference.slice(0, dot)}`;
  const fields = {};
  if (added[reference] === undefined || Object.hasOwn(orders, reference) || isDeclared(goPackage, reference.slice(dot + 1))) {
    const { type } = lookUp(reference.slice(dot + 1), { goPackage, imports: new Map() });
    for (const member of type.members) {
      if (gone[reference]?.includes(member.name)) continue;
      const form = fieldOf(member.type, { goPackage, imports: type.imports });
      const isEmbedded = member.tags.json === ',inline' || member.tags.json === 'metadata,omitempty';
      // Metadata has names for the wire, and its fields are among those of the embedding type.
      fields[member.name] = isEmbedded ? `+${form ?? 'meta'}` : form;
    }
  }
  Object.assign(fields, added[reference]);
  for (const form of Object.values(added[reference] ?? {}))
    if (typeof form === 'string' && form !== '') pending.push(form.replace('?', ''));
  const order = orders[reference] ?? [];
  const names = [...order, ...Object.keys(fields).filter((name) => !order.includes(name))];
  return Object.fromEntries(names.map((name) => [name, fields[name]]));
}

function isDeclared(goPackage, name) {
  try {
    lookUp(name, { goPackage, imports: new Map() });
    return true;
  } catch {
    // Newer than the package: the facts are all there is.
    return false;
  }
}

for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
  if (!structs.has(next)) structs.set(next, structOf(next));
}
const lines = [...structs.keys()].sort().map((name) => `${JSON.stringify(name)}:${JSON.stringify(structs.get(name))}`);
writeFileSync(options.out, `{\n${lines.join(',\n')}\n}\n`);
process.stdout.write(`${options.out}: ${lines.length} types, ${Math.round(lines.join(',\n').length / 1024)} KiB\n`);

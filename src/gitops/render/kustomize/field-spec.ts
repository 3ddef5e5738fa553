import { assignMember, currentId, isMap, isSelected, type JsonMap, type Resource, setOwn } from './resource.ts';
import { spend } from './work.ts';

/** A field of some kinds. `path` parts are map members; lists on the way mean all of their items. */
export interface FieldSpec {
  readonly group?: string | undefined;
  readonly version?: string | undefined;
  readonly kind?: string | undefined;
  /** `spec/template/spec/containers[]/image`; `\/` is a slash within a name. */
  readonly path: string;
  /** Make the field where it is missing. */
  readonly create?: boolean | undefined;
}

/** Gets the field's value and a way to put another in its place. */
export type FieldVisitor = (value: unknown, replace: (value: unknown) => void) => void;

export class FieldError extends Error {}

/** Visits a field of an object wherever the spec leads to; nothing happens when the spec means other kinds. */
export function visitField(
  resource: Resource,
  spec: FieldSpec,
  options: { readonly make?: 'map' | 'scalar'; readonly visit: FieldVisitor },
): void {
  if (!isSelected(currentId(resource), spec)) return;
  const walk = new Walk(partsOf(spec.path), spec.create === true ? options.make : undefined, options.visit);
  try {
    walk.step(resource.object, 0, () => undefined);
  } catch (err) {
    if (err instanceof FieldError) throw new FieldError(`field ${spec.path}: ${err.message}`);
    throw err;
  }
}

class Walk {
  readonly #parts: readonly string[];
  readonly #make: 'map' | 'scalar' | undefined;
  readonly #visit: FieldVisitor;

  constructor(parts: readonly string[], make: 'map' | 'scalar' | undefined, visit: FieldVisitor) {
    this.#parts = parts;
    this.#make = make;
    this.#visit = visit;
  }

  step(value: unknown, depth: number, replace: (value: unknown) => void): void {
    spend(1);
    const part = this.#parts[depth];
    if (part === undefined) this.#visit(value, replace);
    else if (value === null || value === undefined) return;
    else if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        this.step(item, depth, (other) => {
          value[index] = other;
        });
      }
    } else if (isMap(value)) this.#member(value, part, depth);
    else throw new FieldError('expected sequence or mapping node');
  }

  #member(map: JsonMap, part: string, depth: number): void {
    const isList = part.endsWith('[]');
    const name = isList ? part.slice(0, -2) : part;
    if (name === '') throw new FieldError('cannot set or create an empty field name');
    const isLeaf = depth === this.#parts.length - 1;
    const present = Object.hasOwn(map, name);
    if (this.#make !== undefined && !isList && (!present || map[name] === null)) {
      setOwn(map, name, isLeaf && this.#make === 'scalar' ? '' : {});
    } else if (!present) return;
    this.step(map[name], depth + 1, (other) => setOwn(map, name, other));
  }
}

const knownParts = new Map<string, readonly string[]>();
/** Paths of the built-in specs; a kustomization's own ones are few. */
const maxKnownParts = 1_000;

function partsOf(path: string): readonly string[] {
  let parts = knownParts.get(path);
  if (parts === undefined) {
    parts = splitPath(path, '/');
    if (knownParts.size < maxKnownParts) knownParts.set(path, parts);
  }
  return parts;
}

/** Splits at `delimiter` unless a backslash precedes it; one leading delimiter is dropped. */
export function splitPath(path: string, delimiter: string): readonly string[] {
  const pieces = path.split(delimiter);
  if (pieces.length > 1 && pieces[0] === '') pieces.shift();
  const parts: string[] = [];
  for (const piece of pieces) {
    const last = parts[parts.length - 1];
    if (last?.endsWith('\\')) parts[parts.length - 1] = last.slice(0, -1) + delimiter + piece;
    else parts.push(piece);
  }
  return parts;
}

/** Sets a member of the map at each field, as labels and annotations are set. `made` collects the maps that did not have it. */
export const setEntry =
  (key: string, entry: string, made: JsonMap[]): FieldVisitor =>
  (value, replace) => {
    const map = value === null ? {} : value;
    if (!isMap(map)) throw new FieldError('expected a map');
    if (Object.hasOwn(map, key) && map[key] !== null) assignMember(map, key, entry);
    else {
      setOwn(map, key, entry);
      made.push(map);
    }
    if (value === null) replace(map);
  };

export const setScalar =
  (scalar: string | number): FieldVisitor =>
  (value, replace) => {
    if (typeof value === 'object' && value !== null) throw new FieldError('expected a scalar');
    replace(scalar);
  };

import { jsonTypeOf } from './go-text.ts';
import { deepEqual } from './object.ts';
import { badRequest, StatusError } from './status-error.ts';

/**
 * JSON Patch as the real server applies it: RFC 6902 with its library's differences. `replace` of a member that is missing adds it,
 * `test` takes a missing member for null, and negative indexes count from the end.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6902
 */

const maxOperations = 10_000;
/** Most that all `copy` operations of a patch may add, about, in characters of JSON: each could double the document. */
const maxCopiedSize = 3 * 1024 * 1024;

type Container = Record<string, unknown> | unknown[];

/**
 * The object with all operations applied in order; the given one is not changed and shares what the patch leaves alone.
 *
 * @throws StatusError `BadRequest` when the patch is no list of operations, 413 for more than 10,000, `Invalid` when one cannot be applied.
 * Like the real server it does not say which; its `cause` does
 */
export function applyJsonPatch(object: object, patch: unknown, { replaces = 'anything' }: JsonPatchOptions = {}): unknown {
  if (patch === null) return object;
  if (!Array.isArray(patch)) {
    throw badRequest(`error decoding patch: json: cannot unmarshal ${jsonTypeOf(patch)} into Go value of type []handlers.jsonPatchOp`);
  }
  if (patch.length > maxOperations) {
    throw new StatusError({
      code: 413,
      reason: 'RequestEntityTooLarge',
      message: `Request entity is too large: The allowed maximum operations in a JSON patch is ${maxOperations}, got ${patch.length}`,
    });
  }
  const stray = patch.find((operation) => operation !== null && jsonTypeOf(operation) !== 'object');
  if (stray !== undefined) {
    throw badRequest(`error decoding patch: json: cannot unmarshal ${jsonTypeOf(stray)} into Go value of type handlers.jsonPatchOp`);
  }
  const draft = new Draft(object, replaces);
  for (const [index, operation] of patch.entries()) {
    try {
      draft.apply(operation);
    } catch (err) {
      if (!(err instanceof OperationError)) throw err;
      throw new StatusError({
        code: 422,
        reason: 'Invalid',
        message: 'the server rejected our request due to an error in our request',
        details: {},
        cause: new Error(`operation ${index}: ${err.message}`),
      });
    }
  }
  return draft.root;
}

export interface JsonPatchOptions {
  /** `what is there`: a member that is missing cannot be replaced, as RFC 6902 and kustomize have it. */
  readonly replaces?: 'anything' | 'what is there';
}

class OperationError extends Error {}

/** The document under work. Containers it made itself are changed in place, so that many operations on one list stay cheap. */
class Draft {
  root: unknown;
  readonly #own = new Set<Container>();
  readonly #replaces: 'anything' | 'what is there';
  #copiedSize = 0;

  constructor(root: object, replaces: 'anything' | 'what is there') {
    this.root = root;
    this.#replaces = replaces;
  }

  apply(operation: unknown): void {
    if (typeof operation !== 'object' || operation === null || Array.isArray(operation)) throw new OperationError('is not an object');
    const { op, path, from, value = null } = operation as Record<string, unknown>;
    const at = pointerOf(path, 'path');
    switch (op) {
      case 'add':
        this.#add(at, value);
        break;
      case 'remove':
        this.#remove(at);
        break;
      case 'replace':
        this.#replace(at, value);
        break;
      case 'move': {
        const source = pointerOf(from, 'from');
        const moved = this.#get(source);
        this.#remove(source);
        this.#add(at, moved);
        break;
      }
      case 'copy':
        this.#add(at, this.#copy(pointerOf(from, 'from')));
        break;
      case 'test':
        if (!deepEqual(this.#tryGet(at) ?? null, value)) throw new OperationError(`testing value ${String(path)} failed`);
        break;
      default:
        throw new OperationError(`unexpected kind: ${String(op)}`);
    }
  }

  #add(path: readonly string[], value: unknown): void {
    const { container, key } = this.#target(path);
    if (!Array.isArray(container)) setOwn(container, key, value);
    else if (key === '-') container.push(value);
    else container.splice(indexOf(key, container.length + 1), 0, value);
  }

  #remove(path: readonly string[]): void {
    const { container, key } = this.#target(path);
    if (Array.isArray(container)) container.splice(indexOf(key, container.length), 1);
    else if (!Object.hasOwn(container, key)) throw new OperationError(`unable to remove nonexistent key: ${key}`);
    else delete container[key];
  }

  #replace(path: readonly string[], value: unknown): void {
    if (path.length === 0) {
      if (typeof value !== 'object' || value === null) throw new OperationError('value must be object or array');
      this.root = value;
      return;
    }
    const { container, key } = this.#target(path);
    if (Array.isArray(container)) container[indexOf(key, container.length)] = value;
    else if (this.#replaces === 'what is there' && !Object.hasOwn(container, key)) throw new OperationError(`missing key: ${key}`);
    else setOwn(container, key, value);
  }

  #copy(path: readonly string[]): unknown {
    const value = this.#get(path);
    this.#copiedSize += sizeOf(value, maxCopiedSize - this.#copiedSize);
    if (this.#copiedSize > maxCopiedSize) throw new OperationError('copies grow too large');
    this.#disown(value);
    return value;
  }

  /** After a copy two places share a container, so it must no longer be changed in place. */
  #disown(value: unknown): void {
    if (typeof value !== 'object' || value === null) return;
    this.#own.delete(value as Container);
    for (const child of Object.values(value)) this.#disown(child);
  }

  #get(path: readonly string[]): unknown {
    const value = this.#tryGet(path);
    if (value === undefined) throw new OperationError(`missing path: /${path.join('/')}`);
    return value;
  }

  /** The value, or undefined when only the last step is missing. */
  #tryGet(path: readonly string[]): unknown {
    let value = this.root;
    for (const [depth, key] of path.entries()) {
      if (typeof value !== 'object' || value === null) throw new OperationError(`missing path: /${path.join('/')}`);
      if (Array.isArray(value)) value = value[indexOf(key, value.length)];
      else if (Object.hasOwn(value, key)) value = (value as Record<string, unknown>)[key];
      else if (depth === path.length - 1) return undefined;
      else throw new OperationError(`missing path: /${path.join('/')}`);
    }
    return value;
  }

  /** The container that holds the last step of `path`, made our own together with all above it. */
  #target(path: readonly string[]): { readonly container: Container; readonly key: string } {
    const key = path[path.length - 1];
    if (key === undefined) throw new OperationError('the whole document cannot be the target');
    let container = this.#owned(this.root, (copy) => {
      this.root = copy;
    });
    for (const step of path.slice(0, -1)) {
      const parent = container;
      if (Array.isArray(parent)) {
        const index = indexOf(step, parent.length);
        container = this.#owned(parent[index], (copy) => {
          parent[index] = copy;
        });
      } else {
        if (!Object.hasOwn(parent, step)) throw new OperationError(`missing path: /${path.join('/')}`);
        container = this.#owned(parent[step], (copy) => setOwn(parent, step, copy));
      }
    }
    return { container, key };
  }

  #owned(value: unknown, replace: (copy: Container) => void): Container {
    if (typeof value !== 'object' || value === null) throw new OperationError('a path leads through a value that is no container');
    if (this.#own.has(value as Container)) return value as Container;
    const copy: Container = Array.isArray(value) ? [...value] : { ...value };
    this.#own.add(copy);
    replace(copy);
    return copy;
  }
}

function pointerOf(pointer: unknown, name: string): readonly string[] {
  if (typeof pointer !== 'string') throw new OperationError(`${name} is missing`);
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw new OperationError(`${name} does not start with a slash`);
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The index that `key` means in a list with `length` places. */
function indexOf(key: string, length: number): number {
  const index = /^[+-]?[0-9]{1,9}$/.test(key) ? Number(key) : Number.NaN;
  if (Number.isNaN(index) || index >= length || index < -length) throw new OperationError(`invalid index: ${key}`);
  return index < 0 ? index + length : index;
}

/** Plain assignment of `__proto__` would change the prototype instead. */
function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  else target[key] = value;
}

/** About the length of the JSON text; stops counting once past `limit`. */
function sizeOf(value: unknown, limit: number): number {
  if (typeof value === 'string') return value.length + 2;
  if (typeof value !== 'object' || value === null) return 5;
  let size = 2;
  for (const [key, child] of Object.entries(value)) {
    size += (Array.isArray(value) ? 1 : key.length + 4) + sizeOf(child, limit - size);
    if (size > limit) break;
  }
  return size;
}

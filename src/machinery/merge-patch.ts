/**
 * `target` with a JSON merge patch applied: null removes a member, objects are merged, everything else (lists too) replaces. Neither
 * value is changed; what the patch leaves as it is keeps its reference, so an empty patch returns `target` itself.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7386
 */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  let result: Readonly<Record<string, unknown>> = isMap(target) ? target : {};
  let changed = false;
  const copy = (): Record<string, unknown> => {
    const own = changed ? (result as Record<string, unknown>) : { ...result };
    changed = true;
    result = own;
    return own;
  };
  for (const [key, value] of Object.entries(patch)) {
    const present = Object.hasOwn(result, key);
    if (value === null) {
      if (present) delete copy()[key];
      continue;
    }
    const before = present ? result[key] : undefined;
    const after = applyMergePatch(before, value);
    // A computed member is an own one even for the name `__proto__`, which an assignment would not make.
    if (!present && key === '__proto__') {
      result = { ...result, [key]: after };
      changed = true;
    } else if (!Object.is(after, before)) copy()[key] = after;
  }
  return result;
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

import { redactUrl } from '../base/redact-url.ts';
import type { KubeObject } from '../machinery/object.ts';

const removed = '(removed)';
/** Maps whose keys are shown, and whose values are a user's. */
const valueMaps: ReadonlySet<string> = new Set([
  'data',
  'stringData',
  'binaryData',
  'annotations',
  'substitute',
  'parameters',
  'volumeAttributes',
  'options',
]);
/** Lists and texts that programs of a user get, in which passwords are written. */
const ownTexts: ReadonlySet<string> = new Set(['command', 'args', 'patch', 'token', 'password', 'httpHeaders']);
/** Annotations that say what a controller did. */
const shownAnnotation = /^(midship\.dev\/|deployment\.kubernetes\.io\/|.*\bkubernetes\.io\/(hostname|arch)$)/;

/**
 * An object as somebody from outside may see it: without values of Secrets, ConfigMaps, environments, arguments and annotations, and
 * without credentials in addresses.
 */
export function shownObject(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return shown({ ...object, metadata }, '') as KubeObject;
}

function shown(value: unknown, field: string): unknown {
  if (typeof value === 'string') return /:\/\//.test(value) ? redactUrl(value) : value;
  if (Array.isArray(value)) return field === 'env' ? value.map(shownVariable) : value.map((each) => shown(each, field));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shownField(name, each)]));
}

function shownField(name: string, value: unknown): unknown {
  if (ownTexts.has(name)) return removed;
  // The query of a probe may have a token.
  if (name === 'path' && typeof value === 'string') return value.replace(/\?.*$/, '');
  if (!valueMaps.has(name) || typeof value !== 'object' || value === null) return shown(value, name);
  const isShown = (key: string): boolean => name === 'annotations' && shownAnnotation.test(key);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, isShown(key) ? each : removed]));
}

/** The name, and where the value comes from. */
const shownVariable = (variable: unknown): unknown =>
  typeof variable === 'object' && variable !== null && 'value' in variable ? { ...variable, value: removed } : variable;

import type { Secret as V1Secret } from 'kubernetes-types/core/v1.d.ts';
import { JsonError, parseJson } from '../../../machinery/json.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { immutable, invalidValue, required } from '../../field-errors.ts';
import { annotations } from '../../well-known.ts';
import { base64Size, validateConfigData } from './config-data.ts';

export const secrets: KindDefinition<Secret> = {
  group: '',
  version: 'v1',
  resource: 'secrets',
  kind: 'Secret',
  namespaced: true,
  singular: 'secret',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Secret',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Type', type: 'string', description: 'Purpose of the data.', cell: ({ type }) => type ?? '' },
    { name: 'Data', type: 'string', description: 'Number of keys.', cell: ({ data }) => Object.keys(data ?? {}).length },
    ageColumn,
  ],
  selectableFields: { type: (secret) => secret.type ?? '' },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaults: (secret) => {
    const typed = isAbsent(secret.type) || secret.type === '' ? withField(secret, 'type', 'Opaque') : secret;
    const { stringData } = typed;
    if (isAbsent(stringData)) return typed;
    const data: Record<string, string> = { ...typed.data };
    for (const [key, text] of Object.entries(stringData)) {
      // Own property in any case, also for a key that every object inherits.
      Object.defineProperty(data, key, { value: encode(text), enumerable: true, configurable: true, writable: true });
    }
    return withField(withField(typed, 'stringData', undefined), 'data', data);
  },
  warnings: (secret, before) => (secret.type !== 'kubernetes.io/tls' || secret.data === before?.data ? [] : warningsOfPair(secret)),
  validate: (secret, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && secret.type !== before.type) errors.push(immutable('type', secret.type));
    errors.push(...validateConfigData({ data: secret.data, immutable: secret.immutable }, before, base64Size));
    checkType(errors, secret);
    return errors;
  },
};

const encode = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

/** A value of a Secret as text. */
const secretText = (secret: Secret, key: string): string | undefined => {
  const value = secret.data?.[key];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
};

const pemBlock = /-----BEGIN [^-]+-----[\s\S]+?-----END [^-]+-----/;

/** In the words of Go's reader of key pairs, as far as whether there is one. */
function warningsOfPair(secret: Secret): readonly string[] {
  if (!pemBlock.test(secretText(secret, 'tls.crt') ?? '')) return ['tls: failed to find any PEM data in certificate input'];
  if (!pemBlock.test(secretText(secret, 'tls.key') ?? '')) return ['tls: failed to find any PEM data in key input'];
  return [];
}

/** Keys that the well-known types must have. The content of a Secret is never repeated in an error. */
function checkType(errors: FieldError[], secret: Secret): void {
  const has = (key: string): boolean => !isAbsent(secret.data?.[key]);
  const need = (...keys: readonly string[]): void => {
    for (const key of keys) if (!has(key)) errors.push(required(`data[${key}]`));
  };
  switch (secret.type) {
    case 'kubernetes.io/service-account-token':
      if ((secret.metadata.annotations?.[annotations.serviceAccountName] ?? '') === '') {
        errors.push(required(`metadata.annotations[${annotations.serviceAccountName}]`));
      }
      return;
    case 'kubernetes.io/dockercfg':
      need('.dockercfg');
      checkJson(errors, secret, '.dockercfg');
      return;
    case 'kubernetes.io/dockerconfigjson':
      need('.dockerconfigjson');
      checkJson(errors, secret, '.dockerconfigjson');
      return;
    case 'kubernetes.io/basic-auth':
      if (!has('username') && !has('password')) need('username', 'password');
      return;
    case 'kubernetes.io/ssh-auth':
      if ((secret.data?.['ssh-privatekey'] ?? '') === '') errors.push(required('data[ssh-privatekey]'));
      return;
    case 'kubernetes.io/tls':
      need('tls.crt', 'tls.key');
      return;
    default:
      return;
  }
}

function checkJson(errors: FieldError[], secret: Secret, key: string): void {
  const text = secretText(secret, key);
  if (text === undefined) return;
  try {
    parseJson(text);
  } catch (err) {
    if (!(err instanceof JsonError)) throw err;
    // Its message tells one character of the content and no more.
    errors.push(invalidValue(`data[${key}]`, '<secret contents redacted>', err.message));
  }
}

export type Secret = Kube<V1Secret>;

import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkNoBacksteps, checkPathStaysInside, configKeyErrors, dnsLabelErrors } from '../../formats.ts';
import { checkFieldRef, checkResourceFieldRef } from './downward-api.ts';
import type { Volume } from './pod.ts';
import { volumeSourcesOf } from './pod-spec-defaults.ts';

/** Checks the volumes of a pod and returns the names that containers may mount. */
export function checkVolumes(errors: FieldError[], field: string, volumes: readonly Volume[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [index, volume] of volumes.entries()) {
    const at = `${field}[${index}]`;
    const before = errors.length;
    checkSource(errors, at, volume);
    if (isAbsent(volume.name) || volume.name === '') errors.push(required(`${at}.name`));
    else {
      check(errors, `${at}.name`, volume.name, dnsLabelErrors(volume.name));
      if (names.has(volume.name)) errors.push(duplicate(`${at}.name`, volume.name));
    }
    // A volume whose source alone is wrong is reported once, not again by each mount of it.
    if (errors.length === before || !errors.slice(before).some((error) => error.field === `${at}.name`)) names.add(volume.name);
  }
  return names;
}

const hostPathTypes: readonly string[] = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
];

function checkSource(errors: FieldError[], field: string, volume: Volume): void {
  const sources = volumeSourcesOf(volume);
  // The order of upstream's checks decides which of two sources is the one too many.
  const ordered = ['emptyDir', 'hostPath', ...sources.filter((name) => name !== 'emptyDir' && name !== 'hostPath')].filter((name) =>
    sources.includes(name),
  );
  for (const name of ordered.slice(1)) errors.push(forbidden(`${field}.${name}`, 'may not specify more than 1 volume type'));
  const [first] = ordered;
  if (first === undefined) {
    errors.push(required(field, 'must specify a volume type'));
    return;
  }
  const at = `${field}.${first}`;
  const { hostPath, secret, configMap, downwardAPI, projected, emptyDir, nfs, persistentVolumeClaim } = volume;
  switch (first) {
    case 'emptyDir':
      if (typeof emptyDir?.sizeLimit === 'string' && emptyDir.sizeLimit.startsWith('-')) {
        errors.push(forbidden(`${at}.sizeLimit`, 'SizeLimit field must be a valid resource quantity'));
      }
      return;
    case 'hostPath':
      if (isAbsent(hostPath?.path) || hostPath.path === '') errors.push(required(`${at}.path`));
      else {
        checkNoBacksteps(errors, `${at}.path`, hostPath.path);
        if (!hostPathTypes.includes(hostPath.type ?? '')) errors.push(notSupported(`${at}.type`, hostPath.type, hostPathTypes));
      }
      return;
    case 'secret':
      if (isAbsent(secret?.secretName) || secret.secretName === '') errors.push(required(`${at}.secretName`));
      checkModeAndItems(errors, at, secret);
      return;
    case 'configMap':
      if (isAbsent(configMap?.name) || configMap.name === '') errors.push(required(`${at}.name`));
      checkModeAndItems(errors, at, configMap);
      return;
    case 'downwardAPI':
      checkMode(errors, at, downwardAPI?.defaultMode);
      checkDownwardItems(errors, `${at}.items`, downwardAPI?.items ?? []);
      return;
    case 'projected':
      checkMode(errors, at, projected?.defaultMode);
      checkProjected(errors, `${at}.sources`, projected?.sources ?? []);
      return;
    case 'nfs':
      if (isAbsent(nfs?.server) || nfs.server === '') errors.push(required(`${at}.server`));
      if (isAbsent(nfs?.path) || nfs.path === '') errors.push(required(`${at}.path`));
      else if (!nfs.path.startsWith('/')) errors.push(invalidValue(`${at}.path`, nfs.path, 'must be an absolute path'));
      return;
    case 'persistentVolumeClaim':
      if (isAbsent(persistentVolumeClaim?.claimName) || persistentVolumeClaim.claimName === '') errors.push(required(`${at}.claimName`));
      return;
    default:
      // Types that need a storage driver are accepted here and refused by the agent that cannot mount them, as on a real node.
      return;
  }
}

function checkMode(errors: FieldError[], field: string, mode: number | undefined, name = 'defaultMode'): void {
  if (!isAbsent(mode) && (mode < 0 || mode > 0o777)) {
    errors.push(invalidValue(`${field}.${name}`, mode, 'must be a number between 0 and 0777 (octal), both inclusive'));
  }
}

interface KeyToPath {
  readonly key: string;
  readonly path: string;
  readonly mode?: number;
}

function checkModeAndItems(
  errors: FieldError[],
  field: string,
  source: { readonly defaultMode?: number; readonly items?: readonly KeyToPath[] } | undefined,
): void {
  checkMode(errors, field, source?.defaultMode);
  checkItems(errors, `${field}.items`, source?.items ?? []);
}

function checkItems(errors: FieldError[], field: string, items: readonly KeyToPath[]): void {
  for (const [index, item] of items.entries()) {
    const at = `${field}[${index}]`;
    if (isAbsent(item.key) || item.key === '') errors.push(required(`${at}.key`));
    else check(errors, `${at}.key`, item.key, configKeyErrors(item.key));
    checkFilePath(errors, `${at}.path`, item.path);
    checkMode(errors, at, item.mode, 'mode');
  }
}

function checkFilePath(errors: FieldError[], field: string, path: string | undefined): void {
  if (isAbsent(path) || path === '') {
    errors.push(required(field));
    return;
  }
  checkPathStaysInside(errors, field, path);
  if (path.startsWith('..') && path !== '..' && !path.startsWith('../')) errors.push(invalidValue(field, path, "must not start with '..'"));
}

type DownwardItem = NonNullable<NonNullable<Volume['downwardAPI']>['items']>[number];

function checkDownwardItems(errors: FieldError[], field: string, items: readonly DownwardItem[]): void {
  for (const [index, item] of items.entries()) {
    const at = `${field}[${index}]`;
    // The real server does not say which item it is.
    checkFilePath(errors, `${field.replace(/\.items$/, '')}.path`, item.path);
    if (!isAbsent(item.fieldRef)) {
      checkFieldRef(errors, `${at}.fieldRef`, item.fieldRef, 'volume');
      if (!isAbsent(item.resourceFieldRef))
        errors.push(invalidValue(at, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously'));
    } else if (!isAbsent(item.resourceFieldRef)) {
      checkResourceFieldRef(errors, `${at}.resourceFieldRef`, item.resourceFieldRef, 'volume');
    } else {
      errors.push(required(at, 'one of fieldRef and resourceFieldRef is required'));
    }
    checkMode(errors, at, item.mode, 'mode');
  }
}

type ProjectedSource = NonNullable<NonNullable<Volume['projected']>['sources']>[number];

function checkProjected(errors: FieldError[], field: string, sources: readonly ProjectedSource[]): void {
  for (const [index, source] of sources.entries()) {
    const at = `${field}[${index}]`;
    const kinds = Object.keys(source).filter((key) => !isAbsent(source[key as keyof ProjectedSource]));
    for (const kind of kinds.slice(1)) errors.push(forbidden(`${at}.${kind}`, 'may not specify more than 1 volume type'));
    if (kinds.length === 0) errors.push(required(at, 'must specify a volume type'));
    const { secret, configMap, downwardAPI, serviceAccountToken } = source;
    if (!isAbsent(secret)) {
      if (isAbsent(secret.name) || secret.name === '') errors.push(required(`${at}.secret.name`));
      checkItems(errors, `${at}.secret.items`, secret.items ?? []);
    }
    if (!isAbsent(configMap)) {
      if (isAbsent(configMap.name) || configMap.name === '') errors.push(required(`${at}.configMap.name`));
      checkItems(errors, `${at}.configMap.items`, configMap.items ?? []);
    }
    if (!isAbsent(downwardAPI)) checkDownwardItems(errors, `${at}.downwardAPI.items`, downwardAPI.items ?? []);
    if (!isAbsent(serviceAccountToken)) {
      const { expirationSeconds = 3600, path } = serviceAccountToken;
      const token = `${at}.serviceAccountToken`;
      if (expirationSeconds < 600) {
        errors.push(invalidValue(`${token}.expirationSeconds`, expirationSeconds, 'may not specify a duration less than 10 minutes'));
      } else if (expirationSeconds > 2 ** 32) {
        errors.push(invalidValue(`${token}.expirationSeconds`, expirationSeconds, 'may not specify a duration larger than 2^32 seconds'));
      }
      checkFilePath(errors, `${token}.path`, path);
    }
  }
}

import type { DeleteOptions } from '../../client/client.ts';
import { tryDuration } from '../../machinery/cel/time.ts';
import { goQuote } from '../../machinery/go-text.ts';
import { badRequest, type FieldError, invalid } from '../../machinery/status-error.ts';
import type { ListRequest, WriteRequest } from '../kube-api.ts';

/** Options of requests, from the query string and, for deletions, from the body. Worded as the real server words its refusals. */

const metaGroup = 'meta.k8s.io';

const optionsInvalid = (kind: string, errors: readonly FieldError[]) => invalid({ group: metaGroup, kind }, '', errors);

const unsupported = (field: string, value: string | readonly string[], supported: string): FieldError => ({
  type: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`,
});

const nonEmpty = (value: string | null): string | undefined => (value === null || value === '' ? undefined : value);

export function listRequestOf(query: URLSearchParams, namespace: string | undefined): ListRequest {
  if (query.has('sendInitialEvents')) {
    const errors: FieldError[] = [];
    if (nonEmpty(query.get('resourceVersionMatch')) !== undefined && nonEmpty(query.get('resourceVersion')) === undefined) {
      errors.push(forbiddenField('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided'));
    }
    errors.push(forbiddenField('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
    throw optionsInvalid('ListOptions', errors);
  }
  const limit = integerOf(query, 'limit');
  integerOf(query, 'timeoutSeconds');
  return {
    namespace,
    ...selectorsOf(query),
    // A negative limit is none, as on the real server.
    limit: limit === undefined || limit <= 0 ? undefined : limit,
    continue: nonEmpty(query.get('continue')),
    resourceVersion: nonEmpty(query.get('resourceVersion')),
    resourceVersionMatch: nonEmpty(query.get('resourceVersionMatch')),
  };
}

export interface WatchQuery {
  readonly labelSelector: string | undefined;
  readonly fieldSelector: string | undefined;
  readonly resourceVersion: string | undefined;
  readonly resourceVersionMatch: string | undefined;
  readonly sendInitialEvents: boolean | undefined;
  readonly allowBookmarks: boolean;
  /** Undefined for 0, too: the default. A watch of a negative one ends at once. */
  readonly timeoutSeconds: number | undefined;
}

export function watchQueryOf(query: URLSearchParams): WatchQuery {
  const timeoutSeconds = integerOf(query, 'timeoutSeconds');
  return {
    ...selectorsOf(query),
    resourceVersion: nonEmpty(query.get('resourceVersion')),
    resourceVersionMatch: nonEmpty(query.get('resourceVersionMatch')),
    sendInitialEvents: query.has('sendInitialEvents') ? booleanOf(query, 'sendInitialEvents') : undefined,
    allowBookmarks: booleanOf(query, 'allowWatchBookmarks'),
    timeoutSeconds: timeoutSeconds === 0 ? undefined : timeoutSeconds,
  };
}

const selectorsOf = (query: URLSearchParams) => ({
  labelSelector: nonEmpty(query.get('labelSelector')),
  fieldSelector: nonEmpty(query.get('fieldSelector')),
});

export type WriteOptionsKind = 'CreateOptions' | 'UpdateOptions' | 'PatchOptions';

export function writeOptionsOf(
  query: URLSearchParams,
  kind: WriteOptionsKind,
): Pick<WriteRequest, 'fieldManager' | 'dryRun' | 'fieldValidation'> {
  const errors: FieldError[] = [];
  const fieldManager = nonEmpty(query.get('fieldManager'));
  if (fieldManager !== undefined && Buffer.byteLength(fieldManager) > 128) {
    errors.push({ type: 'FieldValueTooLong', field: 'fieldManager', message: 'Too long: may not be more than 128 bytes' });
  }
  const hidden = fieldManager === undefined ? -1 : [...fieldManager].findIndex((letter) => !/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(letter));
  if (fieldManager !== undefined && hidden !== -1) {
    const code = [...fieldManager][hidden]?.codePointAt(0) ?? 0;
    const why = `invalid character U+${code.toString(16).toUpperCase().padStart(4, '0')} (at position ${hidden})`;
    errors.push({ type: 'FieldValueInvalid', field: 'fieldManager', message: `Invalid value: ${goQuote(fieldManager)}: ${why}` });
  }
  const dryRun = query.getAll('dryRun');
  errors.push(...dryRunErrors(dryRun));
  const fieldValidation = nonEmpty(query.get('fieldValidation'));
  if (fieldValidation !== undefined && !isFieldValidation(fieldValidation)) {
    errors.push(unsupported('fieldValidation', fieldValidation, '"Ignore", "Strict", "Warn"'));
  }
  if (errors.length > 0) throw optionsInvalid(kind, errors);
  return {
    fieldManager,
    dryRun: dryRun.includes('All'),
    fieldValidation: fieldValidation !== undefined && isFieldValidation(fieldValidation) ? fieldValidation : undefined,
  };
}

const isFieldValidation = (value: string): value is 'Strict' | 'Warn' | 'Ignore' =>
  value === 'Strict' || value === 'Warn' || value === 'Ignore';

/** `force` of an apply patch; both directions of its misuse are refused. */
export function applyOptionsOf(query: URLSearchParams, isApply: boolean): { readonly force: boolean } {
  const force = query.has('force');
  if (!isApply && force) throw optionsInvalid('PatchOptions', [forbiddenField('force', 'may not be specified for non-apply patch')]);
  if (isApply && nonEmpty(query.get('fieldManager')) === undefined) {
    throw optionsInvalid('PatchOptions', [
      { type: 'FieldValueRequired', field: 'fieldManager', message: 'Required value: is required for apply patch' },
    ]);
  }
  return { force: force && booleanOf(query, 'force') };
}

const deleteKinds = new Set(['DeleteOptions', '']);

/** From the body when there is one, as the real server does; a parameter of the query counts only without a body. */
export function deleteOptionsOf(query: URLSearchParams, body: unknown): DeleteOptions {
  if (body === undefined || body === null) return checkedDeleteOptions(optionsFromQuery(query));
  if (typeof body !== 'object' || Array.isArray(body)) throw badRequest('DeleteOptions: json: cannot unmarshal into a DeleteOptions');
  const { kind = '', apiVersion = '' } = body as { readonly kind?: unknown; readonly apiVersion?: unknown };
  if (typeof kind !== 'string' || !deleteKinds.has(kind)) {
    throw badRequest(
      `no kind "${String(kind)}" is registered for version "${String(apiVersion)}" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"`,
    );
  }
  return checkedDeleteOptions(body as RawDeleteOptions);
}

interface RawDeleteOptions {
  readonly gracePeriodSeconds?: unknown;
  readonly propagationPolicy?: unknown;
  readonly orphanDependents?: unknown;
  readonly dryRun?: unknown;
  readonly preconditions?: unknown;
}

function optionsFromQuery(query: URLSearchParams): RawDeleteOptions {
  const dryRun = query.getAll('dryRun');
  return {
    ...(query.has('gracePeriodSeconds') ? { gracePeriodSeconds: integerOf(query, 'gracePeriodSeconds') } : {}),
    ...(query.has('propagationPolicy') ? { propagationPolicy: query.get('propagationPolicy') } : {}),
    ...(query.has('orphanDependents') ? { orphanDependents: booleanOf(query, 'orphanDependents') } : {}),
    ...(dryRun.length === 0 ? {} : { dryRun }),
  };
}

const isPropagationPolicy = (value: unknown): value is NonNullable<DeleteOptions['propagationPolicy']> =>
  value === 'Foreground' || value === 'Background' || value === 'Orphan';

function checkedDeleteOptions(raw: RawDeleteOptions): DeleteOptions {
  const { gracePeriodSeconds, propagationPolicy, orphanDependents, preconditions } = raw;
  const policy = propagationPolicy === '' || propagationPolicy === null ? undefined : propagationPolicy;
  const errors: FieldError[] = [];
  if (policy !== undefined && typeof orphanDependents === 'boolean') {
    errors.push({
      type: 'FieldValueInvalid',
      field: 'propagationPolicy',
      message: `Invalid value: ${JSON.stringify(policy)}: orphanDependents and deletionPropagation cannot be both set`,
    });
  }
  if (policy !== undefined && !isPropagationPolicy(policy)) {
    errors.push(unsupported('propagationPolicy', String(policy), '"Foreground", "Background", "Orphan", "nil"'));
  }
  const dryRun = Array.isArray(raw.dryRun) ? raw.dryRun.map(String) : [];
  errors.push(...dryRunErrors(dryRun));
  if (errors.length > 0) throw optionsInvalid('DeleteOptions', errors);
  if (gracePeriodSeconds !== undefined && gracePeriodSeconds !== null && !Number.isSafeInteger(gracePeriodSeconds)) {
    throw badRequest('json: cannot unmarshal into Go struct field DeleteOptions.gracePeriodSeconds of type int64');
  }
  const chosen = isPropagationPolicy(policy)
    ? policy
    : typeof orphanDependents === 'boolean'
      ? orphanDependents
        ? ('Orphan' as const)
        : ('Background' as const)
      : undefined;
  const { uid, resourceVersion } = (typeof preconditions === 'object' && preconditions !== null ? preconditions : {}) as Record<
    string,
    unknown
  >;
  return {
    // A negative period is taken as the shortest one that waits, as on the real server.
    ...(typeof gracePeriodSeconds === 'number' ? { gracePeriodSeconds: gracePeriodSeconds < 0 ? 1 : gracePeriodSeconds } : {}),
    ...(chosen === undefined ? {} : { propagationPolicy: chosen }),
    ...(typeof uid === 'string' || typeof resourceVersion === 'string'
      ? {
          preconditions: {
            ...(typeof uid === 'string' ? { uid } : {}),
            ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
          },
        }
      : {}),
    ...(dryRun.includes('All') ? { dryRun: true } : {}),
  };
}

/**
 * The time in milliseconds that a client gives its request by `timeout=`. Undefined when it gives none; zero and less count as none, as
 * upstream.
 *
 * @throws StatusError `BadRequest` for a text that is no duration of Go
 */
export function timeoutMsOf(query: URLSearchParams): number | undefined {
  const text = nonEmpty(query.get('timeout'));
  if (text === undefined) return undefined;
  const timeout = tryDuration(text);
  if (timeout === undefined) throw badRequest(`invalid timeout specified in the request URL - time: invalid duration ${goQuote(text)}`);
  return timeout.nanos > 0n ? Number(timeout.nanos) / 1_000_000 : undefined;
}

const dryRunErrors = (values: readonly string[]): FieldError[] =>
  values.every((value) => value === 'All') ? [] : [unsupported('dryRun', values, '"All"')];

const forbiddenField = (field: string, why: string): FieldError => ({
  type: 'FieldValueForbidden',
  field,
  message: `Forbidden: ${why}`,
});

function integerOf(query: URLSearchParams, name: string): number | undefined {
  const text = nonEmpty(query.get(name));
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  if (!Number.isSafeInteger(value)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  return value;
}

/** As the real server converts query strings: everything but `false` and `0` is true, also the empty value. */
export function booleanOf(query: URLSearchParams, name: string): boolean {
  const text = query.get(name);
  return text !== null && text.toLowerCase() !== 'false' && text !== '0';
}

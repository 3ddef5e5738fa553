/**
 * Failures of the API, as the `Status` object that goes over the wire. Make one with the function of its reason, ask with a predicate;
 * never by message.
 *
 * @see Kubernetes API conventions, "Response Status Kind"
 */

export type StatusReason =
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'MethodNotAllowed'
  | 'NotAcceptable'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Gone'
  | 'Expired'
  | 'RequestEntityTooLarge'
  | 'UnsupportedMediaType'
  | 'Invalid'
  | 'TooManyRequests'
  | 'InternalError'
  | 'NotImplemented'
  | 'ServiceUnavailable'
  | 'Timeout'
  | 'InsufficientStorage'
  | '';

export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  /** The plural resource for storage-level errors, the Kind for `Invalid`. */
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: { readonly continue?: string };
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: StatusReason;
  readonly details?: StatusDetails;
  readonly code: number;
}

export interface StatusErrorOptions {
  readonly code: number;
  readonly reason: StatusReason;
  readonly message: string;
  readonly details?: StatusDetails;
  /** A continue token for an inconsistent continuation, on `Expired`. */
  readonly continueToken?: string;
  readonly cause?: unknown;
}

export class StatusError extends Error {
  readonly code: number;
  readonly reason: StatusReason;
  readonly details: StatusDetails | undefined;
  readonly continueToken: string | undefined;

  constructor(options: StatusErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StatusError';
    this.code = options.code;
    this.reason = options.reason;
    this.details = options.details;
    this.continueToken = options.continueToken;
  }

  /** The wire form. */
  toStatus(): Status {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: this.continueToken === undefined ? {} : { continue: this.continueToken },
      status: 'Failure',
      message: this.message,
      ...(this.reason === '' ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    };
  }

  static fromStatus(status: Status): StatusError {
    return new StatusError({
      code: status.code,
      reason: status.reason ?? '',
      message: status.message ?? 'unknown',
      ...(status.details === undefined ? {} : { details: status.details }),
      ...(status.metadata?.continue === undefined ? {} : { continueToken: status.metadata.continue }),
    });
  }
}

/** The subject of an error: `resource` is the plural name, `group` is empty for core. */
export interface ResourceName {
  readonly group: string;
  readonly resource: string;
}

const qualified = ({ group, resource }: ResourceName): string => (group === '' ? resource : `${resource}.${group}`);

const detailsOf = ({ group, resource }: ResourceName, name: string): StatusDetails => ({
  ...(name === '' ? {} : { name }),
  ...(group === '' ? {} : { group }),
  kind: resource,
});

export const badRequest = (message: string): StatusError => new StatusError({ code: 400, reason: 'BadRequest', message });

export const unauthorized = (message = 'Unauthorized'): StatusError => new StatusError({ code: 401, reason: 'Unauthorized', message });

/** `why` is the text after "is forbidden: ". */
export const forbidden = (what: ResourceName, name: string, why: string): StatusError =>
  new StatusError({
    code: 403,
    reason: 'Forbidden',
    message: `${qualified(what)}${name === '' ? '' : ` "${name}"`} is forbidden: ${why}`,
    details: detailsOf(what, name),
  });

/** There is no room for what is to be written. */
export const insufficientStorage = (message: string): StatusError => new StatusError({ code: 507, reason: 'InsufficientStorage', message });

export const notFound = (what: ResourceName, name: string): StatusError =>
  new StatusError({ code: 404, reason: 'NotFound', message: `${qualified(what)} "${name}" not found`, details: detailsOf(what, name) });

export const methodNotAllowed = (): StatusError =>
  new StatusError({
    code: 405,
    reason: 'MethodNotAllowed',
    message: 'the server does not allow this method on the requested resource',
    details: {},
  });

export const alreadyExists = (what: ResourceName, name: string): StatusError =>
  new StatusError({
    code: 409,
    reason: 'AlreadyExists',
    message: `${qualified(what)} "${name}" already exists`,
    details: detailsOf(what, name),
  });

/** `why` defaults to the text of a lost optimistic lock. */
export const conflict = (
  what: ResourceName,
  name: string,
  why = 'the object has been modified; please apply your changes to the latest version and try again',
): StatusError =>
  new StatusError({
    code: 409,
    reason: 'Conflict',
    message: `Operation cannot be fulfilled on ${qualified(what)} "${name}": ${why}`,
    details: detailsOf(what, name),
  });

export const expired = (message: string, continueToken?: string): StatusError =>
  new StatusError({ code: 410, reason: 'Expired', message, ...(continueToken === undefined ? {} : { continueToken }) });

export const internalError = (message: string, cause?: unknown): StatusError =>
  new StatusError({
    code: 500,
    reason: 'InternalError',
    message: `Internal error occurred: ${message}`,
    details: { causes: [{ message }] },
    cause,
  });

/** 413 for an object that is larger than any may be, worded as the real server words it. */
/** @param retryAfterSeconds  after which clients ask again by themselves */
export const serviceUnavailable = (message: string, retryAfterSeconds: number, cause?: unknown): StatusError =>
  new StatusError({ code: 503, reason: 'ServiceUnavailable', message, details: { retryAfterSeconds }, cause });

export const tooLarge = (limitBytes: number): StatusError =>
  new StatusError({ code: 413, reason: 'RequestEntityTooLarge', message: `Request entity too large: limit is ${limitBytes}` });

/** Something the real API has and Midship does not: said plainly, never pretended. */
export const notImplemented = (what: string): StatusError =>
  new StatusError({ code: 501, reason: 'NotImplemented', message: `not supported: ${what}` });

/** One broken rule of a field; `type` becomes the cause's reason. */
export interface FieldError {
  readonly type:
    | 'FieldValueInvalid'
    | 'FieldValueRequired'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueDuplicate'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany'
    | 'FieldValueTypeInvalid'
    | 'FieldValueNotFound';
  /** `spec.containers[0].name` */
  readonly field: string;
  /** The whole text, for example `Invalid value: "x": must be lower case` or `Required value: why`. */
  readonly message: string;
}

/**
 * Largest number of broken rules in one answer. A body of some megabytes can break millions, and an answer has each
 * twice. The last entry gives the number of the omitted ones.
 */
const maxCauses = 200;

/** 422 with one cause a broken rule, worded as the real server words it. */
export function invalid(kind: { readonly group: string; readonly kind: string }, name: string, errors: readonly FieldError[]): StatusError {
  const shown = errors.length <= maxCauses ? errors : errors.slice(0, maxCauses);
  // The real server says each sentence once, however many causes there are.
  const texts = [...new Set(shown.map((error) => `${error.field}: ${error.message}`))];
  if (shown !== errors) texts.push(`and ${errors.length - maxCauses} more`);
  const [first = ''] = texts;
  return new StatusError({
    code: 422,
    reason: 'Invalid',
    message: `${kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`} "${name}" is invalid: ${texts.length === 1 ? first : `[${texts.join(', ')}]`}`,
    details: {
      ...(name === '' ? {} : { name }),
      ...(kind.group === '' ? {} : { group: kind.group }),
      ...(kind.kind === '' ? {} : { kind: kind.kind }),
      causes: shown.map((error) => ({ reason: error.type, message: error.message, field: error.field })),
    },
  });
}

export const isStatusError = (err: unknown): err is StatusError => err instanceof StatusError;
const hasReason = (err: unknown, reason: StatusReason): err is StatusError => isStatusError(err) && err.reason === reason;
export const isNotFound = (err: unknown): err is StatusError => hasReason(err, 'NotFound');
/** Not an object that is missing: the server does not know the resource, or this version of it. */
export const isUnknownResource = (err: unknown): boolean => isNotFound(err) && err.details?.name === undefined;
export const isInsufficientStorage = (err: unknown): err is StatusError => hasReason(err, 'InsufficientStorage');
export const isConflict = (err: unknown): err is StatusError => hasReason(err, 'Conflict');
export const isAlreadyExists = (err: unknown): err is StatusError => hasReason(err, 'AlreadyExists');
export const isInvalid = (err: unknown): err is StatusError => hasReason(err, 'Invalid');
export const isForbidden = (err: unknown): err is StatusError => hasReason(err, 'Forbidden');
export const isUnauthorized = (err: unknown): err is StatusError => hasReason(err, 'Unauthorized');
/** The server answered, and did nothing. After any other failure a write may have been done, or may yet be. */
export const isRefusal = (err: unknown): err is StatusError => isStatusError(err) && err.code >= 400 && err.code < 500;
export const isExpired = (err: unknown): err is StatusError => isStatusError(err) && err.code === 410;

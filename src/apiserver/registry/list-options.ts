import { badRequest, type FieldError, invalid, StatusError } from '../../machinery/status-error.ts';

/** Reading of `resourceVersion` and `resourceVersionMatch`, in the words of the real server. */

const listOptionsKind = { group: 'meta.k8s.io', kind: 'ListOptions' };

const forbiddenField = (field: string, why: string): FieldError => ({ type: 'FieldValueForbidden', field, message: `Forbidden: ${why}` });

const unsupportedMatch = (match: string): FieldError => ({
  type: 'FieldValueNotSupported',
  field: 'resourceVersionMatch',
  message: `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan", ""`,
});

const notANumber = (text: string): string =>
  `resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`;

const isRevision = (text: string): boolean => /^[0-9]{1,16}$/.test(text);

interface VersionOptions {
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: string | undefined;
}

/** State that a list asks for: `any`, the `newest`, one `notOlderThan` a revision, or `exact`ly the one of a revision. */
export type ListVersion = { readonly type: 'any' | 'newest' } | { readonly type: 'notOlderThan' | 'exact'; readonly revision: number };

export function listVersionOf({
  resourceVersion: version = '',
  resourceVersionMatch: match = '',
  continue: token = '',
}: VersionOptions & { readonly continue?: string | undefined }): ListVersion {
  const errors: FieldError[] = [];
  if (match !== '') {
    if (version === '')
      errors.push(forbiddenField('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided'));
    if (token !== '') errors.push(forbiddenField('resourceVersionMatch', 'resourceVersionMatch is forbidden for continue'));
    if (match !== 'Exact' && match !== 'NotOlderThan') errors.push(unsupportedMatch(match));
    if (match === 'Exact' && version === '0') {
      errors.push(forbiddenField('resourceVersionMatch', 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'));
    }
  }
  if (errors.length > 0) throw invalid(listOptionsKind, '', errors);
  if (version !== '' && !isRevision(version)) throw badRequest(`invalid resource version: ${notANumber(version)}`);
  if (token !== '' && version !== '' && version !== '0') throw badRequest('specifying resource version is not allowed when using continue');
  if (version === '') return { type: 'newest' };
  if (version === '0') return { type: 'any' };
  return { type: match === 'Exact' ? 'exact' : 'notOlderThan', revision: Number(version) };
}

/** Start of a watch. */
export interface WatchStart {
  /** The current state comes first. */
  readonly initialEvents: boolean;
  /** A bookmark marks the end of the initial events. */
  readonly closingBookmark: boolean;
  /** Changes after it are wanted; 0 when the client named none. */
  readonly revision: number;
}

export function watchStartOf({
  resourceVersion: version = '',
  resourceVersionMatch: match = '',
  sendInitialEvents,
  allowBookmarks = false,
}: VersionOptions & { readonly sendInitialEvents?: boolean | undefined; readonly allowBookmarks?: boolean | undefined }): WatchStart {
  const errors: FieldError[] = [];
  if (sendInitialEvents === undefined) {
    if (match !== '') {
      errors.push(
        forbiddenField('resourceVersionMatch', 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'),
      );
    }
  } else if (match === '') {
    errors.push(forbiddenField('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'));
  } else if (match !== 'NotOlderThan') {
    errors.push({ ...unsupportedMatch(match), message: `Unsupported value: ${JSON.stringify(match)}: supported values: "NotOlderThan"` });
  }
  if (errors.length > 0) throw invalid(listOptionsKind, '', errors);
  if (version !== '' && !isRevision(version)) throw new StatusError({ code: 500, reason: '', message: notANumber(version) });
  const revision = Number(version);
  const initialEvents = sendInitialEvents ?? revision === 0;
  return { initialEvents, closingBookmark: initialEvents && allowBookmarks && (sendInitialEvents === true || revision === 0), revision };
}

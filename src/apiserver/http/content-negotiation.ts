import { StatusError, type StatusErrorOptions } from '../../machinery/status-error.ts';

/** The form an answer takes. Errors are always a plain `Status`, in the same encoding. */
export interface Representation {
  readonly encoding: 'json' | 'yaml';
  /** `Table` and `PartialObjectMetadata` (also for lists of it) transform the object; undefined sends it as it is. */
  readonly as?: 'Table' | 'PartialObjectMetadata';
  /** In which version of `meta.k8s.io` those are asked for; absent: v1. */
  readonly version?: 'v1beta1';
  readonly pretty: boolean;
}

export type Purpose = 'object' | 'watch';

const plainJson: Representation = { encoding: 'json', pretty: false };

/**
 * Takes the first alternative of an `Accept` header that can be served, by descending `q`.
 *
 * Alternatives in protobuf or CBOR are skipped: clients that ask for them list JSON as well. `application/*` matches nothing and a
 * missing header means JSON, as on the real server.
 *
 * @throws StatusError `NotAcceptable` (406)
 */
export function negotiate(accept: string | undefined, purpose: Purpose, pretty = false): Representation {
  if (accept === undefined || accept.trim() === '') return pretty ? { ...plainJson, pretty } : plainJson;
  let anyMediaTypeKnown = false;
  for (const { type, parameters } of parseAccept(accept)) {
    const encoding = encodingOf(type);
    if (encoding === undefined) continue;
    anyMediaTypeKnown = true;
    if (purpose === 'watch' && encoding === 'yaml') continue;
    const transform = transformOf(parameters);
    if (transform === 'unknown') continue;
    if (transform === undefined) return { encoding, pretty };
    return { encoding, as: transform, ...(parameters.get('v') === 'v1beta1' ? { version: 'v1beta1' as const } : {}), pretty };
  }
  throw notAcceptable(anyMediaTypeKnown, purpose);
}

interface Alternative {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** Alternatives in the order of preference; a stable sort keeps the order of the header among equals. */
export function parseAccept(accept: string): readonly Alternative[] {
  const alternatives = accept.split(',', 32).flatMap((part): Alternative[] => {
    const [type = '', ...rest] = part.split(';').map((piece) => piece.trim());
    if (type === '') return [];
    const parameters = new Map(
      rest.map((piece) => {
        const equals = piece.indexOf('=');
        return equals === -1 ? [piece.toLowerCase(), ''] : [piece.slice(0, equals).toLowerCase(), piece.slice(equals + 1)];
      }),
    );
    const quality = Number(parameters.get('q') ?? '1');
    return [{ type: type.toLowerCase(), parameters, quality: Number.isFinite(quality) ? quality : 0 }];
  });
  return alternatives.filter(({ quality }) => quality > 0).sort((a, b) => b.quality - a.quality);
}

function encodingOf(type: string): 'json' | 'yaml' | undefined {
  switch (type) {
    case 'application/json':
    case '*/*':
      return 'json';
    case 'application/yaml':
      return 'yaml';
    default:
      return undefined;
  }
}

const metaVersions: ReadonlySet<string | undefined> = new Set(['v1', 'v1beta1']);

export const metaVersionOf = ({ version }: Representation): string => `meta.k8s.io/${version ?? 'v1'}`;

function transformOf(parameters: ReadonlyMap<string, string>): Representation['as'] | 'unknown' {
  const as = parameters.get('as');
  if (as === undefined) return undefined;
  if (parameters.get('g') !== 'meta.k8s.io' || !metaVersions.has(parameters.get('v'))) return 'unknown';
  switch (as) {
    case 'Table':
      return 'Table';
    case 'PartialObjectMetadata':
    case 'PartialObjectMetadataList':
      return 'PartialObjectMetadata';
    default:
      return 'unknown';
  }
}

const mediaTypes = 'application/json, application/yaml';

/** The real server has two texts: one for media types it does not know, one for parameters it cannot satisfy. */
function notAcceptable(mediaTypeKnown: boolean, purpose: Purpose): StatusError {
  const options: Omit<StatusErrorOptions, 'message'> = { code: 406, reason: 'NotAcceptable' };
  if (mediaTypeKnown) {
    const accepted = purpose === 'watch' ? 'application/json;stream=watch' : mediaTypes;
    return new StatusError({ ...options, message: `only the following media types are accepted: ${accepted}` });
  }
  const available = purpose === 'watch' ? `${mediaTypes}, application/json;stream=watch` : mediaTypes;
  return new StatusError({ ...options, message: `406: Not Acceptable\n\nAvailable representations: ${available}`, details: {} });
}

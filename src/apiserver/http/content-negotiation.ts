import { BoundedMap } from '../../base/bounded-map.ts';
import { StatusError, type StatusErrorOptions } from '../../machinery/status-error.ts';

/** The form an answer takes. Errors are always a plain `Status`, in the same encoding. */
export interface Representation {
  readonly encoding: 'json' | 'yaml' | 'protobuf';
  /** `Table` and `PartialObjectMetadata` (also for lists of it) transform the object; undefined sends it as it is. */
  readonly as?: 'Table' | 'PartialObjectMetadata';
  /** In which version of `meta.k8s.io` those are asked for; absent: v1. */
  readonly version?: 'v1beta1';
  readonly pretty: boolean;
}

export type Purpose = 'object' | 'watch';

interface NegotiationOptions {
  readonly pretty?: boolean;
  /** Custom resources have a protobuf form of their metadata alone, and documents have none. */
  readonly protobuf?: 'objects' | 'metadata' | 'none';
}

export const protobufType = 'application/vnd.kubernetes.protobuf';

const plainJson: Representation = { encoding: 'json', pretty: false };

/**
 * Takes the first alternative of an `Accept` header that can be served, by descending `q`.
 *
 * Alternatives in CBOR are skipped: clients that ask for it list JSON as well. `application/*` matches nothing and a missing header
 * means JSON, as on the real server.
 *
 * @throws StatusError `NotAcceptable` (406)
 */
export function negotiate(accept: string | undefined, purpose: Purpose, options: NegotiationOptions = {}): Representation {
  const { pretty = false, protobuf = 'none' } = options;
  if (accept === undefined || accept.trim() === '') return pretty ? { ...plainJson, pretty } : plainJson;
  let anyMediaTypeKnown = false;
  for (const { type, parameters } of parseAccept(accept)) {
    const encoding = encodingOf(type);
    if (encoding === undefined || (encoding === 'protobuf' && protobuf === 'none')) continue;
    anyMediaTypeKnown = true;
    if (purpose === 'watch' && encoding === 'yaml') continue;
    const transform = transformOf(parameters);
    if (transform === 'unknown') continue;
    // Tables are for people, and have no protobuf form.
    if (encoding === 'protobuf' && (transform === 'Table' || (transform === undefined && protobuf === 'metadata'))) continue;
    if (transform === undefined) return { encoding, pretty };
    return { encoding, as: transform, ...(parameters.get('v') === 'v1beta1' ? { version: 'v1beta1' as const } : {}), pretty };
  }
  throw notAcceptable(anyMediaTypeKnown, purpose, protobuf);
}

interface Alternative {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** Clients send the same few headers with every request. */
const maxParsedHeaders = 64;
/** A longer header is parsed each time, since it would take the memory of many. */
const maxParsedLength = 512;
const parsedHeaders = new BoundedMap<string, readonly Alternative[]>(maxParsedHeaders);

/** Alternatives in the order of preference; a stable sort keeps the order of the header among equals. */
export function parseAccept(accept: string): readonly Alternative[] {
  const known = parsedHeaders.get(accept);
  if (known !== undefined) return known;
  const alternatives = alternativesOf(accept);
  if (accept.length <= maxParsedLength) parsedHeaders.set(accept, alternatives);
  return alternatives;
}

function alternativesOf(accept: string): readonly Alternative[] {
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

function encodingOf(type: string): Representation['encoding'] | undefined {
  switch (type) {
    case 'application/json':
    case '*/*':
      return 'json';
    case 'application/yaml':
      return 'yaml';
    case protobufType:
      return 'protobuf';
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

/** The real server has two texts: one for media types it does not know, one for parameters it cannot satisfy. */
function notAcceptable(mediaTypeKnown: boolean, purpose: Purpose, protobuf: NegotiationOptions['protobuf']): StatusError {
  const mediaTypes = ['application/json', 'application/yaml'];
  const streamTypes = ['application/json;stream=watch'];
  if (protobuf !== 'none') {
    mediaTypes.push(protobufType);
    streamTypes.push(`${protobufType};stream=watch`);
  }
  const options: Omit<StatusErrorOptions, 'message'> = { code: 406, reason: 'NotAcceptable' };
  if (mediaTypeKnown) {
    const accepted = purpose === 'watch' ? streamTypes : mediaTypes;
    return new StatusError({ ...options, message: `only the following media types are accepted: ${accepted.join(', ')}` });
  }
  const available = purpose === 'watch' ? [...mediaTypes, ...streamTypes] : mediaTypes;
  return new StatusError({
    ...options,
    message: `406: Not Acceptable\n\nAvailable representations: ${available.join(', ')}`,
    details: {},
  });
}

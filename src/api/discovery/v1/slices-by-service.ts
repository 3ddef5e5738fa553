import { labels } from '../../well-known.ts';
import type { EndpointSlice } from './endpoint-slice.ts';

/** An index of slices by the key of their Service, for a cache that several parts share. */
export const slicesByService = { name: 'service', keysOf: serviceKeysOf };

function serviceKeysOf({ metadata }: EndpointSlice): readonly string[] {
  const name = metadata.labels?.[labels.serviceName];
  return name === undefined ? [] : [`${metadata.namespace}/${name}`];
}

import { describe, expect, it } from 'vitest';
import { negotiate } from '../../../../src/apiserver/http/content-negotiation.ts';

const table = 'application/json;as=Table;v=v1;g=meta.k8s.io';

describe('negotiate', () => {
  it.each([
    [undefined, { encoding: 'json' }],
    ['', { encoding: 'json' }],
    ['*/*', { encoding: 'json' }],
    ['application/yaml', { encoding: 'yaml' }],
    ['application/json, */*', { encoding: 'json' }],
    ['application/vnd.kubernetes.protobuf,application/json', { encoding: 'json' }],
    ['application/cbor,application/json', { encoding: 'json' }],
    [`${table},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json`, { encoding: 'json', as: 'Table' }],
    ['application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json', { encoding: 'json', as: 'Table', version: 'v1beta1' }],
    ['application/json;as=Table;v=v1alpha1;g=meta.k8s.io,application/json', { encoding: 'json' }],
    [
      'application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
      { encoding: 'json', as: 'PartialObjectMetadata' },
    ],
    ['application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1', { encoding: 'json', as: 'PartialObjectMetadata' }],
    ['application/json;q=0.5,application/yaml', { encoding: 'yaml' }],
    ['application/yaml;q=0,application/json', { encoding: 'json' }],
  ])('answers %s', (accept, expected) => {
    // The second look finds the parsed header.
    for (let look = 0; look < 2; look += 1) expect(negotiate(accept, 'object')).toEqual({ pretty: false, ...expected });
  });

  it.each(['text/plain', 'application/cbor', 'application/*', 'application/vnd.kubernetes.protobuf'])('cannot serve %s', (accept) => {
    expect(() => negotiate(accept, 'object')).toThrow(
      '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml',
    );
  });

  it.each(['application/json;as=Table;v=v9;g=meta.k8s.io', 'application/json;as=Foo;v=v1;g=meta.k8s.io'])(
    'cannot transform to %s',
    (accept) => {
      expect(() => negotiate(accept, 'object')).toThrow('only the following media types are accepted: application/json, application/yaml');
    },
  );

  const partial = 'application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
  it.each([
    ['objects', 'application/vnd.kubernetes.protobuf,application/json', { encoding: 'protobuf' }],
    ['objects', 'application/json,application/vnd.kubernetes.protobuf', { encoding: 'json' }],
    ['objects', `${partial},application/json`, { encoding: 'protobuf', as: 'PartialObjectMetadata' }],
    ['objects', `application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,${table}`, { encoding: 'json', as: 'Table' }],
    ['metadata', 'application/vnd.kubernetes.protobuf,application/json', { encoding: 'json' }],
    ['metadata', partial, { encoding: 'protobuf', as: 'PartialObjectMetadata' }],
  ] as const)('answers a kind with protobuf for its %s: %s', (protobuf, accept, expected) => {
    expect(negotiate(accept, 'object', { protobuf })).toEqual({ pretty: false, ...expected });
  });

  it('refuses protobuf alone for the object of a kind that has only metadata in it', () => {
    expect(() => negotiate('application/vnd.kubernetes.protobuf', 'object', { protobuf: 'metadata' })).toThrow(
      'only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf',
    );
  });

  it('watches in JSON or protobuf, never in YAML', () => {
    expect(negotiate('application/vnd.kubernetes.protobuf;stream=watch', 'watch', { protobuf: 'objects' }).encoding).toBe('protobuf');
    expect(negotiate('application/yaml,application/json', 'watch').encoding).toBe('json');
    expect(() => negotiate('application/yaml', 'watch')).toThrow(
      'only the following media types are accepted: application/json;stream=watch',
    );
  });
});

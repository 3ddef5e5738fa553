import { expect, test } from 'vitest';
import { createIndexer } from '../../../src/client/indexer.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';

const labelled = (name: string, node: string, version = '1'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', resourceVersion: version, labels: { node } },
});

function openIndexer() {
  const indexer = createIndexer();
  indexer.addIndex('node', ({ metadata }) => [metadata.labels?.node ?? '']);
  return {
    put: (object: KubeObject) => indexer.put(`default/${object.metadata.name}`, object),
    remove: (name: string) => indexer.remove(`default/${name}`),
    on: (node: string) => indexer.byIndex('node', node).map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`),
  };
}

test('an index has the newest version of each object, in the order in which they came', () => {
  const { put, remove, on } = openIndexer();
  expect(on('a')).toEqual([]);
  put(labelled('x', 'a'));
  put(labelled('x', 'a', '2'));
  expect(on('a')).toEqual(['x 2']);
  put(labelled('y', 'a'));
  put(labelled('x', 'a', '3'));
  expect(on('a')).toEqual(['x 3', 'y 1']);
  remove('x');
  expect(on('a')).toEqual(['y 1']);
  remove('y');
  expect(on('a')).toEqual([]);
});

test('an object that moves leaves its bucket, whether it was alone there or not', () => {
  const { put, on } = openIndexer();
  put(labelled('x', 'a'));
  put(labelled('x', 'b', '2'));
  expect([on('a'), on('b')]).toEqual([[], ['x 2']]);
  put(labelled('y', 'b'));
  put(labelled('x', 'a', '3'));
  expect([on('a'), on('b')]).toEqual([['x 3'], ['y 1']]);
});

test('a change leaves what a reader got before as it was', () => {
  const indexer = createIndexer();
  indexer.put('default/x', labelled('x', 'a'));
  const before = indexer.inNamespace('default');
  indexer.put('default/y', labelled('y', 'a'));
  indexer.put('default/x', labelled('x', 'a', '2'));
  expect(before.map(({ metadata }) => metadata.name)).toEqual(['x']);
  expect(indexer.inNamespace('default')).toHaveLength(2);
});

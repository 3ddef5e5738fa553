import { expect, it } from 'vitest';
import { readDocuments } from '../../../../src/gitops/manifests/documents.ts';

const read = (text: string) => readDocuments(new TextEncoder().encode(text));
const map = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n';

it.each(['', '# only a comment\n', '---\n---\n', 'null\n', '~\n', '{}\n'])('skips an empty document as kustomize does: %j', (text) => {
  expect(read(text)).toMatchObject({ documents: [], errors: [] });
  const { documents, errors } = read(`---\n${text}---\n${map}---\n${text}`);
  expect(errors).toEqual([]);
  expect(documents).toMatchObject([{ object: { kind: 'ConfigMap' } }]);
});

it('skips a list whose items are null, as kustomize does', () => {
  expect(read('apiVersion: v1\nkind: ConfigMapList\nitems: null\n')).toMatchObject({ documents: [], errors: [] });
});

it.each(['[]\n', '""\n', '0\n', 'false\n', 'apiVersion: v1\nkind: List\nitems: [null]\n'])('refuses what is no object: %j', (text) => {
  expect(read(text)).toMatchObject({ documents: [], errors: [{ line: 1, message: 'is not an object' }] });
});

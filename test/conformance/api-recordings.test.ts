import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestApiServer, type TestApiServer } from '../support/api-server.ts';
import { answeredEssence, isServed, recordedEssence, recordingsIn, replay } from '../support/recordings.ts';

/** Recordings that are not compared, and the reason. Titles are those of the recordings. */
const left: Readonly<Record<string, string>> = {
  '401': 'the bad token was taken out of the recording',
  'array body': 'the real text prints the bytes of the body and a Go type',
  '400 bad continue': 'the real text is that of the Go JSON decoder',
  '410 Expired: list at compacted/too old exact': 'nothing is compacted in a new store',
  '413 too large': 'the body was taken out of the recording',
  '422 configmap over 1MiB': 'the body was taken out of the recording',
  'patch to wrong type': 'the real text prints the whole object',
  'patch apiVersion': 'the real text prints the whole object',
  'strategic: unknown field with Strict': 'the real details leave the empty kind out',
};

describe('answers of the API, as the real server gives them', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const post = (path: string, body: unknown) => cluster.fetch(path, { method: 'POST', body });
    await post('/api/v1/namespaces', { metadata: { name: 'raw' } });
    await post('/api/v1/namespaces/raw/serviceaccounts', { metadata: { name: 'default' } });
    await post('/api/v1/namespaces/raw/configmaps', { metadata: { name: 'e1' } });
  });
  afterAll(() => cluster.stop());

  // One after the other: later requests see what earlier ones did.
  describe.each(['errors', 'patches', 'ssa'])('%s', (file) => {
    it.each(recordingsIn(file).filter((recording) => isServed(recording) && left[recording.title] === undefined))(
      '$title',
      async (recording) => {
        const recorded = recordedEssence(recording);
        expect(answeredEssence(await replay(cluster, recording), recorded)).toEqual(recorded);
      },
    );
  });
});

import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { Overview } from '../../../src/base/overview.ts';
import { thisProcess } from '../../../src/base/process-identity.ts';
import { status } from '../../../src/cli/status.ts';
import { temporaryDirectory } from '../../support/git.ts';

describe('midship status', () => {
  it('gives one line an app, and lets no control character of a file name or a message reach the terminal', async () => {
    const overview: Overview = {
      verdict: '1 of 1 app is not applied.',
      matches: false,
      revision: 'a'.repeat(40),
      apps: [
        {
          name: 'web',
          namespace: 'flux-system',
          state: 'NotApplied',
          sync: 'Failed',
          health: 'Unknown',
          revision: '',
          reason: 'web/a\r\u001b[2J\u001b]0;title\u0007.yaml is not UTF-8 text\nweb/b.yaml:1 next\nweb/c.yaml:1 last',
          pinned: '',
          differences: [],
          notes: [],
          cause: undefined,
          why: {
            state: 'Matches',
            verdict: '',
            blocking: '',
            differences: [],
            notes: [],
            commit: undefined,
            cause: undefined,
            phases: [],
            nextRetryAt: undefined,
            tries: 0,
            fix: '',
          },
        },
      ],
      nodes: [],
    };
    const server = createServer((_request, response) => response.end(JSON.stringify(overview)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const dataDirectory = await temporaryDirectory('status');
    const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await writeFile(join(dataDirectory, 'endpoints.json'), JSON.stringify({ http, ...(await thisProcess()) }));
    const output = new PassThrough();
    await status({ dataDirectory, format: 'text', failOnDifference: false, output });
    output.end();
    server.close();
    const line = (await text(output)).split('\n').find((candidate) => candidate.includes('web/a'));
    expect(line).toMatch(/web\/a {2}\[2J \]0;title \.yaml is not UTF-8 text \(and 2 more\)$/);
  });
});

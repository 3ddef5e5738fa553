import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { writeDashboards } from '../../../src/cli/dashboards.ts';
import { tryExplainSystemError } from '../../../src/cli/failure.ts';
import { initRepository } from '../../../src/cli/init.ts';
import { mergeKubeconfig } from '../../../src/cli/merge-kubeconfig.ts';
import { formatKubeconfig } from '../../../src/client/kubeconfig.ts';
import { temporaryDirectory } from '../../support/git.ts';

// The kernel answers ENOENT there, on which the recursive mkdir of Node tries without an end.
it.each(['/proc/none', '/proc/none/below'])('a command ends at once where no directory can be made: %s', async (place) => {
  const dataDirectory = await temporaryDirectory('no-directories');
  const clientCertificate = { certificate: 'crt', key: 'key' };
  const kubeconfig = formatKubeconfig({ name: 'midship', server: 'https://127.0.0.1:6443', caCertificate: 'ca', clientCertificate });
  await writeFile(join(dataDirectory, 'kubeconfig'), kubeconfig);
  const output = new PassThrough();
  const environment = { KUBECONFIG: join(place, 'config') };
  const attempts = [
    initRepository({ directory: place, output }),
    writeDashboards({ directory: place, dataDirectory, force: false, output }),
    mergeKubeconfig({ dataDirectory, name: 'midship', environment, output }),
  ];
  for (const attempt of attempts) {
    const err = await attempt.catch((reason: unknown) => reason);
    expect(tryExplainSystemError(err)).toMatchObject({
      message: '/proc/none cannot be used (ENOENT)',
      why: 'The file system takes no new directory there.',
      fix: 'Name another place.',
      exitCode: 2,
    });
  }
});

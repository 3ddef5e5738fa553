import { resolve } from 'node:path';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Pki } from '../../base/pki.ts';
import { formatKubeconfig } from '../../client/kubeconfig.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { dataDirectoryExtension } from '../find-cluster.ts';

/** Writes the kubeconfig, and again when its certificate was renewed. */
export async function keepKubeconfig(options: {
  readonly configuration: Configuration;
  readonly pki: Pki;
  readonly server: string;
}): Promise<string> {
  const { configuration, pki, server } = options;
  const path = filesOf(configuration.dataDirectory).kubeconfig;
  const admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
  const write = (): Promise<void> => {
    const text = formatKubeconfig({
      name: 'midship',
      server,
      caCertificate: pki.caCertificate,
      clientCertificate: admin,
      extensions: { [dataDirectoryExtension]: { path: resolve(configuration.dataDirectory) } },
    });
    return writeDurableFile(path, text, { mode: configuration.kubeconfigMode });
  };
  await write();
  admin.onRenewed(write);
  return path;
}

import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { json } from 'node:stream/consumers';
import { networkErrorText } from '../base/network-error.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { tryEndpoints } from './data-directory.ts';
import { type ExitCode, Failure } from './failure.ts';
import type { Format } from './format.ts';
import { writeResult } from './output.ts';

export interface VersionOptions {
  readonly dataDirectory: string;
  /** A kubeconfig to use in place of the running cluster's. */
  readonly kubeconfig: string | undefined;
  /** Ask no cluster. */
  readonly clientOnly: boolean;
  readonly version: string;
  readonly format: Format;
  readonly output: NodeJS.WritableStream;
}

interface Versions {
  readonly clientVersion: { readonly gitVersion: string; readonly platform: string };
  /** Answer of the server; absent when it was not asked or none runs. */
  readonly serverVersion?: { readonly gitVersion: string };
}

const timeoutMs = 10_000;

/** The version of this program and of the cluster, as `kubectl version` gives them. 1 when there is no cluster to ask. */
export async function showVersion(options: VersionOptions): Promise<ExitCode> {
  const { dataDirectory, clientOnly, version } = options;
  const kubeconfig = clientOnly ? undefined : (options.kubeconfig ?? (await tryEndpoints(dataDirectory))?.kubeconfig);
  const versions: Versions = {
    clientVersion: { gitVersion: `v${version}`, platform: `${process.platform}/${process.arch}` },
    ...(kubeconfig === undefined ? {} : { serverVersion: await askServer(kubeconfig) }),
  };
  await writeResult(options, versions, ({ clientVersion, serverVersion }) => {
    const server = serverVersion === undefined ? 'no cluster runs here' : serverVersion.gitVersion;
    return `Client Version: ${clientVersion.gitVersion}\n${clientOnly ? '' : `Server Version: ${server}\n`}`;
  });
  return clientOnly || kubeconfig !== undefined ? 0 : 1;
}

async function askServer(kubeconfig: string): Promise<{ readonly gitVersion: string }> {
  const { server, caCertificate, clientCertificate, serverName } = await loadKubeconfig(kubeconfig);
  const options = {
    agent: false as const,
    signal: AbortSignal.timeout(timeoutMs),
    ...(caCertificate === undefined ? {} : { ca: caCertificate }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(clientCertificate === undefined ? {} : { cert: clientCertificate.certificate, key: clientCertificate.key }),
  };
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request(`${server.replace(/\/$/, '')}/version`, options, resolve)
        .once('error', reject)
        .end();
    });
    return (await json(response)) as { readonly gitVersion: string };
  } catch (cause) {
    throw new Failure(`${server} does not answer`, {
      why: cause instanceof Error ? networkErrorText(cause) : String(cause),
      fix: 'Is the cluster running? "midship version --client" asks none.',
      cause,
    });
  }
}

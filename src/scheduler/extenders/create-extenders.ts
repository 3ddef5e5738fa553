import { nodes } from '../../api/core/v1/node.ts';
import { pods } from '../../api/core/v1/pod.ts';
import type { Log } from '../../base/log.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createExtender, type ExtenderConfiguration, type ExtenderTls, type PemSource } from './extender.ts';
import { createExtenders, type Extenders } from './extenders.ts';
import { createExtenderTransport, type TransportTls } from './transport.ts';

export interface ConfiguredExtenders extends Extenders {
  close(): void;
}

/** The extenders of a configuration, over HTTP. */
export function createConfiguredExtenders(
  configurations: readonly ExtenderConfiguration[],
  { informers, log }: { readonly informers: InformerSet; readonly log: Log },
): ConfiguredExtenders {
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const transports = configurations.map(({ urlPrefix, timeoutMs, tls }) =>
    createExtenderTransport({ urlPrefix, timeoutMs, tls: tls === undefined ? undefined : materialOf(tls) }),
  );
  const extenders = transports.map((transport, index) =>
    createExtender({
      configuration: configurations[index] as ExtenderConfiguration,
      transport,
      nodeOf: (name) => nodeInformer.get({ name }),
      podOf: ({ key, pod }) => podInformer.getByKey(key) ?? pod,
    }),
  );
  return {
    ...createExtenders(extenders, log),
    close() {
      for (const transport of transports) transport.close();
    },
  };
}

function materialOf({ insecure, serverName, cert, key, ca }: ExtenderTls): TransportTls {
  return { insecure, serverName, cert: textOf(cert), key: textOf(key), ca: textOf(ca) };
}

function textOf(source: PemSource | undefined): string | undefined {
  if (source === undefined || 'text' in source) return source?.text;
  throw new Error(`file ${source.file} of an extender was not read`);
}

import { configMaps } from '../api/core/v1/config-map.ts';
import { namespaces } from '../api/core/v1/namespace.ts';
import { rootCaConfigMap } from '../api/well-known.ts';
import { isAlreadyExists } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import { isNamespaceTerminating } from './refusals.ts';

export interface RootCaOptions extends ControllerDependencies {
  /** The certificate of the cluster's CA, PEM. */
  readonly caCertificate: string;
}

const descriptionAnnotation = 'kubernetes.io/description';
const description =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';

/** Keeps the ConfigMap `kube-root-ca.crt` in every namespace, so that programs in pods can verify the API server. */
export function createRootCaController(options: RootCaOptions): Controller {
  const { client, informers, caCertificate } = options;
  const namespaceInformer = informers.get(namespaces);
  const mapInformer = informers.get(configMaps);

  const controller = createInformedController(options, {
    name: 'root-ca-certificate-publisher',
    workers: 8,
    reconcile,
  });
  namespaceInformer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(after.metadata.name);
  });
  mapInformer.addHandler(({ before, after }) => {
    const { name, namespace } = (after ?? before)?.metadata ?? {};
    if (name === rootCaConfigMap && namespace !== undefined) controller.enqueue(namespace);
  });
  return controller;

  async function reconcile(namespace: string, { signal }: ReconcileContext): Promise<undefined> {
    const owner = namespaceInformer.get({ name: namespace });
    if (owner === undefined || owner.metadata.deletionTimestamp !== undefined) return;
    const known = mapInformer.get({ namespace, name: rootCaConfigMap });
    const data = { 'ca.crt': caCertificate };
    try {
      if (known === undefined) {
        const metadata = { name: rootCaConfigMap, namespace, annotations: { [descriptionAnnotation]: description } };
        await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data }, { signal });
      } else if (known.data?.['ca.crt'] !== caCertificate || known.metadata.annotations?.[descriptionAnnotation] !== description) {
        const annotations = { ...known.metadata.annotations, [descriptionAnnotation]: description };
        await client.update(configMaps, { ...known, metadata: { ...known.metadata, annotations }, data }, { signal });
      }
    } catch (err) {
      if (!isAlreadyExists(err) && !isNamespaceTerminating(err)) throw err;
    }
  }
}

import { namespaces } from '../../../api/core/v1/namespace.ts';
import { labels, rootCaConfigMap } from '../../../api/well-known.ts';
import type { Client } from '../../../client/client.ts';
import { type DynamicObject, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';

/** Put into each Namespace by Kubernetes, OpenShift and Istio, also where there are too few Namespaces to see that. */
const knownCopies: readonly string[] = [rootCaConfigMap, 'openshift-service-ca.crt', 'istio-ca-root-cert'];
/** Kinds that controllers copy from Namespace to Namespace. */
const copiedKinds: readonly string[] = [
  'ConfigMap',
  'Secret',
  'ServiceAccount',
  'Role',
  'RoleBinding',
  'NetworkPolicy',
  'ResourceQuota',
  'LimitRange',
];
/** Other Namespaces that must be there before an object counts as a copy. */
const minOthers = 2;
/** Namespaces, and objects of one name, that are compared. */
const pageSize = 500;
/** Different names that are looked for in other Namespaces, for each Namespace that goes. */
const maxNames = 50;

/** Recognizes objects that come with every Namespace, so that deleting one of them loses nothing. It keeps its answers. */
export interface NamespaceCopies {
  /** True when Kubernetes or a controller puts such an object into every Namespace. */
  has(resource: Resource, item: KubeObject): boolean | Promise<boolean>;
}

/** Made for one prune: the answers hold for as long as that takes. */
export function createNamespaceCopies({ client }: { readonly client: Pick<Client, 'list'> }): NamespaceCopies {
  const answers = new Map<string, Promise<boolean>>();
  let activeNames: Promise<readonly string[]> | undefined;

  async function listActive(): Promise<readonly string[]> {
    const { items } = await client.list(namespaces, { limit: pageSize });
    return items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined && !metadata.name.startsWith('kube-'))
      .map(({ metadata }) => metadata.name);
  }

  /**
   * Most other Namespaces have an object of the same kind, name and content. A controller copies it, so deleting one copy loses
   * nothing. Those of Kubernetes itself are left out, as copiers leave them out.
   */
  async function isCopy(resource: Resource, item: KubeObject): Promise<boolean> {
    const { name, namespace } = item.metadata;
    activeNames ??= listActive();
    const others = (await activeNames).filter((other) => other !== namespace);
    if (others.length < minOthers) return false;
    const { items } = await client.list(resource, { fieldSelector: `metadata.name=${name}`, limit: pageSize });
    const content = contentOfCopy(item);
    const same = new Set(items.filter((twin) => deepEqual(contentOfCopy(twin), content)).map((twin) => twin.metadata.namespace));
    return others.filter((other) => same.has(other)).length * 2 > others.length;
  }

  return {
    has(resource, item) {
      const { name, namespace, labels: all } = item.metadata;
      if (!copiedKinds.includes(resource.kind) || all?.[labels.fluxKustomizeName] !== undefined) return false;
      if (resource.kind === 'ConfigMap' && knownCopies.includes(name)) return true;
      if (resource.kind === 'ServiceAccount' && name === 'default') return true;
      // It goes with its account.
      if (resource.kind === 'Secret' && (item as Secret).type === 'kubernetes.io/service-account-token') return true;
      const key = `${resource.kind} ${namespace}/${name}`;
      let answer = answers.get(key);
      if (answer === undefined) {
        if (answers.size >= maxNames) return false;
        answer = isCopy(resource, item);
        answers.set(key, answer);
      }
      return answer;
    },
  };
}

interface Secret extends KubeObject {
  readonly type?: string;
}

/** Without what differs from copy to copy: who and when, and the Secrets that were made for an account. */
function contentOfCopy(object: KubeObject): unknown {
  const {
    apiVersion: _,
    kind: __,
    metadata: ___,
    status: ____,
    secrets: _____,
    imagePullSecrets: ______,
    ...content
  } = object as DynamicObject;
  return content;
}

import { namespaces } from '../api/core/v1/namespace.ts';
import { serviceAccounts } from '../api/core/v1/service-account.ts';
import { isAlreadyExists } from '../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import { isNamespaceTerminating } from './refusals.ts';

const defaultName = 'default';

/** Keeps a ServiceAccount `default` in every namespace: without it no pod can be created there, so it comes first. */
export function createServiceAccountController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const namespaceInformer = informers.get(namespaces);
  const accountInformer = informers.get(serviceAccounts);

  const controller = createInformedController(dependencies, {
    name: 'serviceaccount',
    workers: 8,
    reconcile,
  });
  namespaceInformer.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(after.metadata.name);
  });
  accountInformer.addHandler(({ before, after }) => {
    if (after === undefined && before?.metadata.name === defaultName) controller.enqueue(before.metadata.namespace ?? '');
  });
  return controller;

  async function reconcile(namespace: string, { signal }: ReconcileContext): Promise<undefined> {
    const owner = namespaceInformer.get({ name: namespace });
    if (owner === undefined || owner.metadata.deletionTimestamp !== undefined) return;
    if (accountInformer.get({ namespace, name: defaultName }) !== undefined) return;
    try {
      await client.create(
        serviceAccounts,
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: defaultName, namespace } },
        { signal },
      );
    } catch (err) {
      if (!isAlreadyExists(err) && !isNamespaceTerminating(err)) throw err;
    }
  }
}

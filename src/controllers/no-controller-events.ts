import { nodes } from '../api/core/v1/node.ts';
import { builtInKinds } from '../api/kinds.ts';
import { mayLackController, noControllerText } from '../api/kinds-without-controller.ts';
import { ingressClasses } from '../api/networking/v1/ingress-class.ts';
import { enforcesPoliciesEverywhere } from '../api/policy-enforcement.ts';
import type { Component } from '../base/component.ts';
import { groupResourceOf } from '../machinery/resource.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';

/** Records an Event on each object that nothing acts on, when it is made or changed and at each start. */
export function createNoControllerEvents({ informers, recorder }: Pick<ControllerDependencies, 'informers' | 'recorder'>): Component {
  const nodeInformer = informers.get(nodes);
  const classInformer = informers.get(ingressClasses);
  let removers: readonly (() => void)[] = [];
  return {
    name: 'no-controller-events',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      const resources = builtInKinds.filter(mayLackController);
      // Each once: the versions of a kind hold the same objects.
      const byName = new Map(resources.map((resource) => [groupResourceOf(resource), resource]));
      removers = [...byName.values()].map((resource) =>
        informers.get(resource).addHandler(({ before, after }) => {
          if (after === undefined || after.metadata.deletionTimestamp !== undefined) return;
          if (before !== undefined && before.metadata.generation === after.metadata.generation) return;
          const message = noControllerText(after, {
            arePoliciesEnforced: () => enforcesPoliciesEverywhere(nodeInformer.list()),
            ingressClasses: () => classInformer.list(),
          });
          if (message !== undefined) recorder.record(after, { type: 'Warning', reason: 'NoController', message });
        }),
      );
    },
    async stop() {
      for (const remove of removers) remove();
      removers = [];
    },
  };
}

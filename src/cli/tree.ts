import pc from 'picocolors';
import { nameOfApp } from '../api/kustomize/v1/app-name.ts';
import { systemClock } from '../base/clock.ts';
import { plain } from '../base/plain-text.ts';
import { createObjectContext } from '../gitops/verbs/object-context.ts';
import { type TreeNode, treeOf } from '../gitops/verbs/tree.ts';
import { keyOf } from '../machinery/object.ts';
import { type AppCommand, findApp, noControllerTextAt, withClient } from './connect.ts';
import { type ExitCode, Failure } from './failure.ts';
import { cutTo, writeResult } from './output.ts';

export interface TreeOptions extends AppCommand {
  readonly app: string;
}

/** Shows the objects of an app, those made from them, and the health of each. 1 when one is degraded, missing or without a controller. */
export function showTree(options: TreeOptions): Promise<ExitCode> {
  return withClient(options, async (client): Promise<ExitCode> => {
    const app = await findApp(client, options.app, options.namespace);
    if (app.spec.kubeConfig !== undefined) {
      throw new Failure(`${app.metadata.name} is applied to another cluster`, {
        why: 'Its spec.kubeConfig names one, and its objects are there.',
        fix: 'Look there: kubectl get all -l kustomize.toolkit.fluxcd.io/name=NAME --kubeconfig FILE',
      });
    }
    const context = createObjectContext({ client, clock: systemClock, noControllerText: await noControllerTextAt(client) });
    const objects = await treeOf(context, app);
    await writeResult(options, { app: keyOf(app), objects }, () => textOf(nameOfApp(app.metadata), objects));
    return objects.some(isBad) ? 1 : 0;
  });
}

const isBad = ({ health, children }: TreeNode): boolean =>
  health.status === 'Degraded' || health.status === 'Missing' || health.status === 'NoController' || children.some(isBad);

const glyphs: Readonly<Record<TreeNode['health']['status'], string>> = {
  Healthy: pc.green('●'),
  Progressing: pc.blue('◔'),
  Degraded: pc.red('▲'),
  Missing: pc.red('▲'),
  NoController: pc.yellow('◆'),
  Suspended: pc.magenta('■'),
  Unknown: '○',
};

function textOf(app: string, objects: readonly TreeNode[]): string {
  if (objects.length === 0) return `${app} has no objects\n`;
  const lines: string[] = [app];
  const walk = (nodes: readonly TreeNode[], indent: string): void => {
    for (const [index, { kind, namespace, name, health, children }] of nodes.entries()) {
      const isLast = index === nodes.length - 1;
      const where = indent === '' && namespace !== '' ? `${namespace}/` : '';
      const how = health.status === 'Healthy' ? '' : `  ${health.status}${health.reason === '' ? '' : `: ${health.reason}`}`;
      lines.push(`${indent}${isLast ? '└─ ' : '├─ '}${glyphs[health.status]} ${plain(`${kind} ${where}${name}${how}`)}`);
      walk(children, `${indent}${isLast ? '   ' : '│  '}`);
    }
  };
  walk(objects, '');
  return lines.map((line) => `${cutTo(line)}\n`).join('');
}

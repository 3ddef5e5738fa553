import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type Node, nodes } from '../api/core/v1/node.ts';
import type { Clock } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { InformerSet } from '../client/informer.ts';

export interface HostRoutesOptions {
  readonly nodeName: string;
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
}

const run = promisify(execFile);
/** Marks routes as ours in the kernel, so that those of a killed process are found; above the numbers that others reserve. */
const protocol = '117';
const retryMs = 10_000;

/**
 * Routes the pods of every other node to that node, as flannel's host-gw backend: the machines share a segment. The kernel
 * then passes packets on by itself. Changes arrive with the Nodes, and all of them are compared with the kernel's table.
 */
export function createHostRoutes({ nodeName, informers, clock, log: parent }: HostRoutesOptions): Component {
  const log = parent.child({ component: 'host-routes' });
  const informer = informers.get(nodes);
  let unsubscribe: () => void = () => undefined;
  let cancelRetry: (() => void) | undefined;
  let syncing: Promise<void> = Promise.resolve();
  let isQueued = false;
  let stopped = false;
  let told = '';

  /** One at a time; changes that come meanwhile are covered by the next. */
  function queue(): void {
    if (isQueued || stopped) return;
    isQueued = true;
    syncing = syncing.then(async () => {
      isQueued = false;
      if (stopped) return;
      cancelRetry?.();
      try {
        await syncRoutes(routesOf(informer.list(), nodeName), log);
        told = '';
      } catch (err) {
        const text = err instanceof Error ? err.message : String(err);
        if (text !== told) log.warn({ err }, 'Could not route to the pods of another node');
        told = text;
        cancelRetry = clock.after(retryMs, queue);
      }
    });
  }

  return {
    name: 'host-routes',
    async start({ signal }) {
      await informers.waitForSync({ signal });
      // The kernel drops what arrives for others unless it is a router.
      await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
      unsubscribe = informer.addHandler(({ before, after }) => {
        if (routeOf(before) !== routeOf(after)) queue();
      });
      queue();
      await syncing;
    },
    async stop() {
      stopped = true;
      unsubscribe();
      cancelRetry?.();
      await syncing;
      await syncRoutes(new Map(), log).catch((err: unknown) => log.warn({ err }, 'Could not remove routes'));
    },
  };
}

/** Ranges by the address behind which they are: `10.42.1.0/24` to `192.168.1.12`. */
export function routesOf(all: Iterable<Node>, nodeName: string): ReadonlyMap<string, string> {
  const routes = new Map<string, string>();
  for (const node of all) {
    const range = node.spec?.podCIDR ?? '';
    const address = addressOf(node);
    if (node.metadata.name !== nodeName && range !== '' && address !== undefined) routes.set(range, address);
  }
  return routes;
}

const addressOf = ({ status }: Node): string | undefined => status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;

const routeOf = (node: Node | undefined): string | undefined => node && `${node.spec?.podCIDR ?? ''} ${addressOf(node) ?? ''}`;

/** @throws Error of the first route that cannot be set, after all others are */
async function syncRoutes(wanted: ReadonlyMap<string, string>, log: Log): Promise<void> {
  const { stdout } = await run('ip', ['-j', '-4', 'route', 'show', 'proto', protocol]);
  const present = new Map(
    (JSON.parse(stdout === '' ? '[]' : stdout) as readonly { readonly dst: string; readonly gateway?: string }[]).map((route) => [
      route.dst,
      route.gateway,
    ]),
  );
  let failure: unknown;
  for (const [range, gateway] of wanted) {
    if (present.get(range) === gateway) continue;
    try {
      await run('ip', ['route', 'replace', range, 'via', gateway, 'proto', protocol]);
      log.info({ range, gateway }, 'Routed pods to their node');
    } catch (err) {
      failure ??= err;
    }
  }
  for (const range of present.keys()) {
    if (!wanted.has(range)) await run('ip', ['route', 'del', range, 'proto', protocol]).catch(() => undefined);
  }
  if (failure !== undefined) throw failure;
}

import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { createNftKeeper, type NftKeeper } from '../../base/nft/keeper.ts';
import { hook, type NftFrame, noRules } from '../../base/nft/rules.ts';
import type { RunProgram } from '../../base/nft/run-program.ts';

export interface PodRanges {
  /** Addresses of this machine's pods, `10.42.1.0/24`. */
  readonly podCidr: string;
  /** Addresses of the pods of all machines, `10.42.0.0/16`. */
  readonly clusterCidr: string;
}

export interface MasqueradeOptions extends PodRanges {
  /** Name of the table. */
  readonly name: string;
  readonly run?: RunProgram;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Gives packets of pods the machine's address where they leave the cluster, and only there. Pods of other machines see the address of the
 * pod, by which policies judge it. Multicast keeps its source, as with flannel.
 */
export function createMasquerade({ run, clock, log, ...options }: MasqueradeOptions): NftKeeper<undefined> {
  return createNftKeeper({
    frame: masqueradeFrame(options),
    read: () => undefined,
    rulesOf: () => noRules,
    ...(run === undefined ? {} : { run }),
    clock,
    log,
  });
}

const masqueradeFrame = ({ name, podCidr, clusterCidr }: PodRanges & { readonly name: string }): NftFrame => ({
  name,
  maps: {},
  chains: [
    ['nat-postrouting', [hook('nat', 'postrouting', 100), `ip saddr ${podCidr} ip daddr != { ${clusterCidr}, 224.0.0.0/4 } masquerade`]],
  ],
});

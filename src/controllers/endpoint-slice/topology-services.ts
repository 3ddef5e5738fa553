import type { Node } from '../../api/core/v1/node.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { Informer } from '../../client/informer.ts';
import { keyOf } from '../../machinery/object.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { asksForTopologyHints, type HintsOutcome, topologyFactsOf, type ZoneShares, zoneSharesOf } from './topology-hints.ts';

/** The Services that ask for hints by the CPU of zones. */
export interface TopologyServices {
  /** Shares of the zones now; undefined for a Service that does not ask. */
  sharesFor(service: Service): ZoneShares | undefined;
  /** Says in Events when hints of a Service begin, end, or cannot be given, each once until that changes. */
  report(service: Service, outcomes: readonly HintsOutcome[]): void;
  forget(serviceKey: string): void;
}

export interface TopologyServicesOptions {
  readonly nodes: Informer<Node>;
  readonly recorder: EventRecorder;
  /** The shares of zones changed, so the Service needs a look. */
  readonly onChange: (serviceKey: string) => void;
}

export function createTopologyServices({ nodes, recorder, onChange }: TopologyServicesOptions): TopologyServices {
  /** By Service: what was said last for each type of addresses. Only Services that ask are here. */
  const said = new Map<string, ReadonlyMap<string, string>>();
  let shares: ZoneShares | undefined;

  nodes.addHandler(({ before, after }) => {
    if (topologyFactsOf(before) === topologyFactsOf(after)) return;
    shares = undefined;
    for (const key of said.keys()) onChange(key);
  });

  return {
    sharesFor(service) {
      if (!asksForTopologyHints(service)) return undefined;
      shares ??= zoneSharesOf(nodes.list());
      return shares;
    },
    report(service, outcomes) {
      const key = keyOf(service);
      const before = said.get(key);
      if (!asksForTopologyHints(service)) {
        for (const [addressType, last] of before ?? []) if (last === '') recordDisabled(service, disabled, addressType);
        said.delete(key);
        return;
      }
      for (const { addressType, problem } of outcomes) {
        if (before?.get(addressType) === (problem ?? '')) continue;
        if (problem === undefined) {
          const message = `Topology Aware Hints has been enabled, addressType: ${addressType}`;
          recorder.record(service, { type: 'Normal', reason: 'TopologyAwareHintsEnabled', message });
        } else recordDisabled(service, problem, addressType);
      }
      said.set(key, new Map(outcomes.map(({ addressType, problem }) => [addressType, problem ?? ''])));
    },
    forget: (key) => void said.delete(key),
  };

  function recordDisabled(service: Service, why: string, addressType: string): void {
    const message = `${why}, addressType: ${addressType}`;
    recorder.record(service, { type: 'Warning', reason: 'TopologyAwareHintsDisabled', message });
  }
}

const disabled = 'Topology Aware Hints has been disabled';

import type { Component } from '../base/component.ts';
import { mapBounded } from '../base/concurrency.ts';
import type { NodeAgent } from './agent.ts';

/** Enough to fill the store's batches. */
const atOnce = 128;

export interface AgentGroupOptions {
  readonly name: string;
  readonly agents: readonly NodeAgent[];
}

/** Many agents as one part: they register together, since one after the other a thousand nodes would take seconds. */
export function createAgentGroup({ name, agents }: AgentGroupOptions): Component {
  return {
    name,
    async start({ signal }) {
      await mapBounded(agents, atOnce, (agent) => agent.start({ signal }));
    },
    async stop() {
      await mapBounded(agents, atOnce, (agent) => agent.stop());
    },
  };
}

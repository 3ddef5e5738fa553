import type { Component } from '../base/component.ts';
import type { NodeAgent } from './agent.ts';

export interface AgentGroupOptions {
  readonly name: string;
  readonly agents: readonly NodeAgent[];
}

/** Many agents as one part: they register together, since one after the other a thousand nodes would take seconds. */
export function createAgentGroup({ name, agents }: AgentGroupOptions): Component {
  return {
    name,
    async start({ signal }) {
      await inParallel(agents, (agent) => agent.start({ signal }));
    },
    async stop() {
      await inParallel(agents, (agent) => agent.stop());
    },
  };
}

/** Enough to fill the store's batches. */
const atOnce = 128;

async function inParallel(agents: readonly NodeAgent[], action: (agent: NodeAgent) => Promise<void>): Promise<void> {
  let next = 0;
  const run = async (): Promise<void> => {
    for (let agent = agents[next++]; agent !== undefined; agent = agents[next++]) await action(agent);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, agents.length) }, run));
}

import { systemClock } from '../../../src/base/clock.ts';
import { createSimulatedHost } from '../../../src/node-agent/simulated/simulated-host.ts';
import type { RuntimeUnderTest } from '../../support/container-runtime.ts';
import { containerdRuntime } from '../../support/containerd.ts';
import { hosts, processRuntime } from '../../support/process-runtime.ts';

const simulated: RuntimeUnderTest = {
  name: 'simulated',
  runsPrograms: false,
  skip: undefined,
  open: async () => createSimulatedHost({ clock: systemClock, version: '0' }).createRuntime(),
  image: 'nginx:1',
  badImage: undefined,
  survivesRestart: false,
  hasContainers: false,
  hasVolumes: false,
  isFirstProcess: false,
  seesEndBehindChild: true,
  listener: () => [],
};

/** Every container runtime of the node agent. A new one joins the suite by its line here. */
const all: readonly RuntimeUnderTest[] = [
  processRuntime('namespaces', hosts.namespaces),
  processRuntime('plain', hosts.plain),
  containerdRuntime,
  simulated,
];

/** The runtime that alone runs. Without it all run but containerd, which takes as long as the rest: `npm run fault` names it. */
const onlyRuntime = process.env.MIDSHIP_CONFORMANCE_RUNTIME;
export const runtimes = all.filter((runtime) => (onlyRuntime === undefined ? runtime !== containerdRuntime : runtime.name === onlyRuntime));

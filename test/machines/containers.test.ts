import { afterAll, beforeAll, describe } from 'vitest';
import { attackTests } from './containers/attacks.ts';
import { debugTests } from './containers/debug.ts';
import { imageTests } from './containers/images.ts';
import { lifeTests } from './containers/lives.ts';
import { networkTests } from './containers/network.ts';
import { probeTests } from './containers/probes.ts';
import { programTests } from './containers/programs.ts';
import { resourceTests } from './containers/resources.ts';
import { streamTests } from './containers/streams.ts';
import { volumeTests } from './containers/volumes.ts';
import { ContainerWorld, whyNot } from './containers/world.ts';

describe.skipIf(whyNot !== undefined)(
  `pods as containers (skipped where they cannot run: ${whyNot ?? 'they can here'})`,
  { shuffle: false },
  () => {
    const world = new ContainerWorld();
    beforeAll(() => world.create());
    afterAll(() => world.remove());

    networkTests(world);
    programTests(world);
    probeTests(world);
    streamTests(world);
    volumeTests(world);
    resourceTests(world);
    attackTests(world);
    debugTests(world);
    imageTests(world);
    lifeTests(world);
  },
);

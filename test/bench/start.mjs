// Start to API ready (warm dist), demo to healthy, resident memory of the idle demo.
import { startCluster } from './cluster.mjs';

export async function start() {
  const ready = [];
  const healthy = [];
  const idle = [];
  const settled = [];
  for (let run = 0; run < 5; run += 1) {
    const cluster = await startCluster('demo', []);
    ready.push(cluster.apiReadyMs());
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    healthy.push(cluster.healthyMs());
    idle.push(cluster.rssMiB());
    // An idle cluster fills its young generation once in some 20 s; the collection that follows gives back what the start needed.
    if (run === 4) {
      await new Promise((resolve) => setTimeout(resolve, 52_000));
      settled.push(cluster.rssMiB());
    }
    await cluster.stop();
  }
  return [
    { name: 'process start to API ready', unit: 'ms', samples: ready },
    { name: 'process start to demo healthy', unit: 'ms', samples: healthy },
    { name: 'resident memory, idle demo, after 8 s', unit: 'MiB', samples: idle },
    { name: 'resident memory, idle demo, after 60 s', unit: 'MiB', samples: settled },
  ];
}

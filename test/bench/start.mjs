// Start to API ready (warm dist), demo to healthy, resident memory of the idle demo.
import { startCluster } from './cluster.mjs';

export async function start() {
  const ready = [];
  const healthy = [];
  const idle = [];
  for (let run = 0; run < 5; run += 1) {
    const cluster = await startCluster('demo', []);
    ready.push(cluster.apiReadyMs());
    // Memory settles when the start's garbage is collected; the apps are healthy long before.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    healthy.push(cluster.healthyMs());
    idle.push(cluster.rssMiB());
    await cluster.stop();
  }
  return [
    { name: 'process start to API ready', unit: 'ms', samples: ready },
    { name: 'process start to demo healthy', unit: 'ms', samples: healthy },
    { name: 'resident memory, idle demo', unit: 'MiB', samples: idle },
  ];
}

import { services } from '../../api/core/v1/service.ts';
import { createCertificateKeeper } from '../../base/pki/certificate-keeper.ts';
import { describeDamage } from '../../storage/damage-report.ts';
import { createStorageWatch } from '../storage-watch.ts';
import type { ControlPlane } from './control-plane.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

export interface WarningsOptions extends Surroundings {
  readonly controlPlane: Pick<ControlPlane, 'storage' | 'pki' | 'frontProxy' | 'events' | 'ownClient'>;
  onWarning(text: string): void;
}

/** Damaged rows of the store that the terminal names. */
const shownDamage = 10;

/** Tells of what a person has to attend to while the cluster runs: damage of the store, writes that it refuses, certificates that end. */
export function startWarnings(options: WarningsOptions): Promise<Running> {
  const { controlPlane, onWarning, clock, log } = options;
  const { storage, pki, frontProxy, events, ownClient } = controlPlane;
  return startPart(options, async ({ start }) => {
    const apiEvents = events.recorder('kube-apiserver');
    const apiServerService = await ownClient.get(services, { namespace: 'default', name: 'kubernetes' });
    for (const [at, { reason, message }] of storage.damage.map(describeDamage).entries()) {
      if (at < shownDamage) onWarning(message);
      if (at === shownDamage) onWarning(`${storage.damage.length - at} more damaged rows of the store are named in the log.`);
      apiEvents.record(apiServerService, { type: reason === 'StoreRestored' ? 'Normal' : 'Warning', reason, message });
    }
    await start([
      createStorageWatch({
        storage,
        clock,
        onChange(failure) {
          onWarning(failure?.message ?? 'The store takes writes again.');
          if (failure !== undefined) log.warn({ err: failure }, 'Store refuses writes');
        },
      }),
      createCertificateKeeper({
        authorities: { cluster: pki, 'front proxy': frontProxy },
        onTrouble(message) {
          onWarning(message);
          log.warn({ problem: message }, 'Found certificate authority that needs to be replaced');
          apiEvents.record(apiServerService, { type: 'Warning', reason: 'CertificateExpirationWarning', message });
        },
        clock,
        log: log.child({ component: 'certificate-keeper' }),
      }),
    ]);
    return {};
  });
}

import type { Clock } from '../clock.ts';
import type { Component } from '../component.ts';
import type { Log } from '../log.ts';
import type { Pki } from '../pki.ts';
import { dayMs } from './authority.ts';
import { type Life, lifeOf } from './key-pair.ts';

export interface CertificateKeeperOptions {
  /** By what they are called in messages. */
  readonly authorities: Readonly<Record<string, Pick<Pki, 'caCertificate' | 'renew'>>>;
  /** Called at most once a day for each authority that a person has to replace. */
  onTrouble(message: string): void;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Between two looks, which cost some comparisons. A clock that jumps, as after a long sleep of the machine, may end every certificate at
 * once. Clients are then refused for as long as this.
 */
const lookIntervalMs = 10_000;
/** After a renewal that failed. */
const retryIntervalMs = 300_000;
const warnBeforeMs = 30 * dayMs;

/** Renews the certificates of a running process, and says in time that an authority ends. */
export function createCertificateKeeper({ authorities, onTrouble, clock, log }: CertificateKeeperOptions): Component {
  const lives = new Map(Object.entries(authorities).map(([name, { caCertificate }]) => [name, lifeOf(caCertificate)]));
  const warnedAt = new Map<string, number>();
  let cancel: () => void = () => undefined;
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();

  async function look(): Promise<void> {
    let waitMs = lookIntervalMs;
    for (const [name, life] of lives) warn(name, life);
    for (const [name, authority] of Object.entries(authorities)) {
      try {
        const certificates = await authority.renew();
        if (certificates.length > 0) log.info({ authority: name, certificates }, 'Renewed certificates');
      } catch (err) {
        log.error({ err, authority: name }, 'Could not renew certificates');
        waitMs = retryIntervalMs;
      }
    }
    if (!stopped) cancel = clock.after(waitMs, schedule);
  }

  function schedule(): void {
    looking = look();
  }

  function warn(name: string, life: Life): void {
    const trouble = tryAuthorityTrouble(name, life, clock.now());
    // By the monotonic clock: one that is set back and forth must not repeat the message.
    const at = clock.monotonicMs();
    if (trouble === undefined || at - (warnedAt.get(name) ?? Number.NEGATIVE_INFINITY) < dayMs) return;
    warnedAt.set(name, at);
    onTrouble(trouble);
  }

  return {
    name: 'certificate-keeper',
    async start() {
      await look();
    },
    async stop() {
      stopped = true;
      cancel();
      await looking;
    },
  };
}

/** Names what is wrong with an authority's certificate, or will be within 30 days, and what to do; undefined when nothing is. */
export function tryAuthorityTrouble(name: string, { from, to }: Life, now: number): string | undefined {
  const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
  const fix = 'Stop the cluster, run "midship certs rotate --ca", and start it again.';
  if (now < from) return `the ${name} authority is valid from ${day(from)} on: the clock of this machine is behind. Set the clock.`;
  if (now >= to) return `the ${name} authority ended on ${day(to)}: clients refuse its certificates. ${fix}`;
  if (to - now > warnBeforeMs) return undefined;
  return `the ${name} authority ends on ${day(to)}, in ${Math.floor((to - now) / dayMs)} days. ${fix}`;
}

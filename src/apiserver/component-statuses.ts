import { request as httpsRequest } from 'node:https';
import type { ComponentStatus } from '../api/core/v1/component-status.ts';
import type { Clock } from '../base/clock.ts';
import { networkErrorText } from '../base/network-error.ts';

/** Answers `componentstatuses`: asks each part of the control plane how it is. */
export interface ComponentStatuses {
  list(): Promise<readonly ComponentStatus[]>;
  /** Undefined when there is no such part. */
  get(name: string): Promise<ComponentStatus | undefined>;
}

export interface ComponentStatusesOptions {
  /** True when the scheduler and the controllers run in this process, which then need no health check. */
  readonly runsComponents: boolean;
  /** Rejects when the store does not answer. */
  checkStore(): Promise<unknown>;
  readonly clock: Clock;
}

/** Health endpoints of upstream's parts on the machine of the API server. */
const ports: Readonly<Record<string, number>> = { scheduler: 10_259, 'controller-manager': 10_257 };
const timeoutMs = 5_000;
const maxAnswerLength = 1_024;

export function createComponentStatuses({ runsComponents, checkStore, clock }: ComponentStatusesOptions): ComponentStatuses {
  const checks: Readonly<Record<string, () => Promise<string>>> = {
    scheduler: () => (runsComponents ? Promise.resolve('ok') : askHealth(ports.scheduler ?? 0, clock)),
    'controller-manager': () => (runsComponents ? Promise.resolve('ok') : askHealth(ports['controller-manager'] ?? 0, clock)),
    'etcd-0': () => checkStore().then(() => 'ok'),
  };
  const statusOf = async (name: string, check: () => Promise<string>): Promise<ComponentStatus> => {
    const condition = await check().then(
      (message) => ({ type: 'Healthy', status: 'True', message }),
      (err: unknown) => ({ type: 'Healthy', status: 'False', message: err instanceof Error ? err.message : String(err) }),
    );
    return { kind: 'ComponentStatus', apiVersion: 'v1', metadata: { name }, conditions: [condition] };
  };
  return {
    list: () => Promise.all(Object.entries(checks).map(([name, check]) => statusOf(name, check))),
    async get(name) {
      const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
      return check === undefined ? undefined : statusOf(name, check);
    },
  };
}

/** Their certificates are their own: that the answer comes from this machine is all that counts. */
function askHealth(port: number, clock: Clock): Promise<string> {
  const url = `https://127.0.0.1:${port}/healthz`;
  return new Promise((resolve, reject) => {
    const request = httpsRequest(url, { rejectUnauthorized: false, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text = `${text}${chunk}`.slice(0, maxAnswerLength);
      });
      answer.once('end', () => (answer.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    const cancel = clock.after(timeoutMs, () => request.destroy(new Error('context deadline exceeded')));
    request.once('close', cancel);
    request.once('error', (err) => reject(new Error(`Get "${url}": ${networkErrorText(err)}`, { cause: err })));
    request.end();
  });
}

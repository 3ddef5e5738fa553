import type { Container } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import type { ContainerRuntime } from './container-runtime.ts';
import { isHttpSuccess, runHttpAction } from './http-action.ts';

type Hook = NonNullable<NonNullable<Container['lifecycle']>['preStop']>;

export interface HookOptions {
  readonly hook: Hook;
  readonly container: Container;
  readonly containerId: string;
  readonly podIP: string;
  readonly timeoutMs: number;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
}

const limitBytes = 10 * 1024;

/** Runs a postStart or preStop hook to its end, within `timeoutMs`. @throws Error that says how it failed */
export async function runHook({ hook, container, containerId, podIP, timeoutMs, runtime, clock }: HookOptions): Promise<void> {
  if (hook.exec !== undefined) {
    const { exitCode, timedOut, stdout, stderr } = await runtime.exec(containerId, hook.exec.command ?? [], { timeoutMs, limitBytes });
    if (timedOut) throw new Error(`command '${(hook.exec.command ?? []).join(' ')}' did not end in ${timeoutMs / 1_000}s`);
    if (exitCode !== 0) {
      throw new Error(`command '${(hook.exec.command ?? []).join(' ')}' exited with ${exitCode}: ${stdout}${stderr}`);
    }
    return;
  }
  if (hook.httpGet !== undefined) {
    const { url, status } = await runHttpAction({ action: hook.httpGet, container, podIP, timeoutMs, clock });
    if (!isHttpSuccess(status)) throw new Error(`GET ${url} answered ${status}`);
    return;
  }
  const { seconds } = (hook as { readonly sleep?: { readonly seconds: number } }).sleep ?? {};
  if (seconds !== undefined) {
    await new Promise<void>((resolve) => clock.after(Math.min(seconds * 1_000, timeoutMs), resolve));
    return;
  }
  throw new Error(`hooks of type ${Object.keys(hook)[0] ?? 'none'} are not supported`);
}

import { connect } from 'node:net';
import type { Container, Pod, Probe } from '../api/core/v1/pod.ts';
import type { Clock } from '../base/clock.ts';
import type { ContainerRuntime } from './container-runtime.ts';
import { checkGrpcHealth } from './grpc-health.ts';
import { isHttpSuccess, portOf, runHttpAction } from './http-action.ts';

export type ProbeType = 'startup' | 'readiness' | 'liveness';

/** `unknown`: the runtime could not ask the container, which says nothing about the program. */
export type ProbeResult = 'success' | 'failure' | 'unknown';

/** Result of one probe. `message` is for people: the output of a command, or the reason why there was no answer. */
interface ProbeOutcome {
  readonly result: ProbeResult;
  readonly message: string;
}

interface ProbeRunOptions {
  readonly probe: Probe;
  readonly container: Container;
  readonly containerId: string;
  readonly podIP: string;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
}

const maxOutputBytes = 10 * 1024;

/** Runs a probe once. Never throws. */
async function runProbe(options: ProbeRunOptions): Promise<ProbeOutcome> {
  const { probe, container, podIP, clock } = options;
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1_000;
  if (probe.exec !== undefined) return runCommand(options, probe.exec.command ?? [], timeoutMs);
  try {
    if (probe.httpGet !== undefined) {
      const { status } = await runHttpAction({ action: probe.httpGet, container, podIP, timeoutMs, clock });
      return outcomeOf(isHttpSuccess(status), `HTTP probe failed with statuscode: ${status}`);
    }
    if (probe.tcpSocket !== undefined) {
      await tcpConnect(probe.tcpSocket.host ?? podIP, portOf(container, probe.tcpSocket.port), timeoutMs, clock);
      return outcomeOf(true);
    }
    if (probe.grpc !== undefined) {
      await checkGrpcHealth({ host: podIP, port: probe.grpc.port, service: probe.grpc.service ?? '', timeoutMs, clock });
      return outcomeOf(true);
    }
    return outcomeOf(false, 'the probe has no handler');
  } catch (err) {
    return outcomeOf(false, messageOf(err));
  }
}

/** A program that cannot be started has failed, by its exit code. A runtime that is away must not cost a container its life. */
async function runCommand({ containerId, runtime }: ProbeRunOptions, command: readonly string[], timeoutMs: number): Promise<ProbeOutcome> {
  try {
    const { exitCode, timedOut, stdout, stderr } = await runtime.exec(containerId, command, { timeoutMs, limitBytes: maxOutputBytes });
    if (timedOut) return outcomeOf(false, `command timed out: "${command.join(' ')}" timed out after ${timeoutMs / 1_000}s`);
    return outcomeOf(exitCode === 0, `${stdout}${stderr}`);
  } catch (err) {
    return { result: 'unknown', message: messageOf(err) };
  }
}

const outcomeOf = (success: boolean, message = ''): ProbeOutcome => ({ result: success ? 'success' : 'failure', message });
const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

function tcpConnect(host: string, port: number, timeoutMs: number, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new Error(`dial tcp ${host}:${port}: ${why}`));
    };
    const cancel = clock.after(timeoutMs, () => fail('i/o timeout'));
    socket.once('connect', () => {
      cancel();
      socket.destroy();
      resolve();
    });
    socket.once('error', (err: NodeJS.ErrnoException) => {
      cancel();
      fail(err.code === 'ECONNREFUSED' ? 'connect: connection refused' : err.message);
    });
  });
}

/** The probes of one container run. */
export interface ContainerProbes {
  readonly results: { readonly started: boolean; readonly ready: boolean; readonly unhealthy: 'liveness' | 'startup' | undefined };
  /** The pod goes: a failing liveness probe no longer matters, readiness goes on. */
  stopKilling(): void;
  stop(): void;
}

export interface ContainerProbesOptions {
  readonly pod: Pod;
  readonly container: Container;
  readonly containerId: string;
  readonly podIP: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
  onChange(): void;
  onFailure(type: ProbeType, result: Exclude<ProbeResult, 'success'>, message: string): void;
  onResult(type: ProbeType, result: ProbeResult): void;
}

const defaultPeriodSeconds = 10;
/** A program needs some milliseconds until it listens; waiting a whole period for that would make every start seconds long. */
const firstRetryMs = 50;

/**
 * Runs a container's probes as the kubelet does. The startup probe holds the others back, and thresholds count in a row. A container
 * without a probe passes it. An unknown result is reported and leaves the counts as they are. In addition, startup and readiness are
 * tried at growing intervals from 50 ms until the first period is over. Failures of these tries are neither counted nor reported.
 */
export function startProbes(options: ContainerProbesOptions): ContainerProbes {
  const { container, clock, startedAt } = options;
  const timers = new Map<ProbeType, () => void>();
  let started = container.startupProbe === undefined;
  let ready = started && container.readinessProbe === undefined;
  let unhealthy: 'liveness' | 'startup' | undefined;
  let stopped = false;
  let killing = true;

  const begin = (type: ProbeType, probe: Probe): void => {
    const periodMs = (probe.periodSeconds ?? defaultPeriodSeconds) * 1_000;
    const begunAt = clock.monotonicMs();
    const initialMs = Math.max(0, startedAt + (probe.initialDelaySeconds ?? 0) * 1_000 - clock.now());
    let successes = 0;
    let failures = 0;
    let retryMs = firstRetryMs;

    const next = (delayMs: number): void => {
      if (!stopped) timers.set(type, clock.after(delayMs, run));
    };
    const run = (): void => {
      void runProbe({ probe, ...options }).then(({ result, message }) => {
        if (stopped) return;
        const early =
          result !== 'success' &&
          type !== 'liveness' &&
          clock.monotonicMs() - begunAt < initialMs + periodMs &&
          failures === 0 &&
          successes === 0;
        if (early) {
          next(Math.max(1, Math.min(retryMs, initialMs + periodMs - (clock.monotonicMs() - begunAt))));
          retryMs *= 2;
          return;
        }
        options.onResult(type, result);
        if (result === 'success') {
          successes += 1;
          failures = 0;
          if (successes >= (probe.successThreshold ?? 1)) passed(type);
        } else if (result === 'unknown') {
          options.onFailure(type, result, message);
        } else {
          failures += 1;
          successes = 0;
          options.onFailure(type, result, message);
          if (failures >= (probe.failureThreshold ?? 3)) failed(type);
        }
        if (type === 'startup' && started) return;
        next(periodMs);
      });
    };
    next(initialMs);
  };

  const beginOthers = (): void => {
    if (container.readinessProbe !== undefined) begin('readiness', container.readinessProbe);
    if (container.livenessProbe !== undefined) begin('liveness', container.livenessProbe);
  };
  const set = (change: () => void): void => {
    const before = `${started} ${ready} ${unhealthy}`;
    change();
    if (before !== `${started} ${ready} ${unhealthy}`) options.onChange();
  };
  function passed(type: ProbeType): void {
    set(() => {
      if (type === 'readiness') ready = true;
      if (type === 'startup') {
        started = true;
        if (container.readinessProbe === undefined) ready = true;
      }
    });
    if (type === 'startup' && !stopped) beginOthers();
  }
  function failed(type: ProbeType): void {
    set(() => {
      if (type === 'readiness') ready = false;
      else if (killing) unhealthy = type;
    });
  }

  if (container.startupProbe !== undefined) begin('startup', container.startupProbe);
  else beginOthers();

  return {
    get results() {
      return { started, ready, unhealthy };
    },
    stopKilling() {
      killing = false;
      unhealthy = undefined;
    },
    stop() {
      stopped = true;
      for (const cancel of timers.values()) cancel();
      timers.clear();
    },
  };
}

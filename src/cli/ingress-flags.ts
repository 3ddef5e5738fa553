import { type Command, InvalidArgumentError, Option } from 'commander';
import type { IngressSettings } from './configuration.ts';
import { Failure } from './failure.ts';

export interface IngressFlags {
  readonly ingressHttpPort?: number;
  readonly ingressHttpsPort?: number;
}

/** Ports of Ingresses on a machine of several: those that everybody expects. */
const machinePorts = { http: 80, https: 443 } as const;

/** @param defaults  true: the ports are open unless they are switched off */
export function withIngressFlags(command: Command, hasDefaults: boolean): Command {
  const option = (flag: string, description: string, port: number): Option => {
    const made = new Option(`--${flag} <port>`, description).argParser(parsePort);
    return hasDefaults ? made.default(port) : made;
  };
  const open = hasDefaults ? '' : '; without it none is open';
  return command
    .addOption(option('ingress-http-port', `port of Ingresses by HTTP on this machine; 0: any free${open}`, machinePorts.http))
    .addOption(option('ingress-https-port', `port of Ingresses by HTTPS on this machine; 0: any free${open}`, machinePorts.https));
}

/** Undefined: this machine serves no Ingresses. @throws Failure for HTTPS alone */
export function ingressSettingsOf(
  { ingressHttpPort, ingressHttpsPort }: IngressFlags,
  disabled: readonly string[],
): IngressSettings | undefined {
  if (disabled.includes('ingress')) return undefined;
  if (ingressHttpPort !== undefined) return { httpPort: ingressHttpPort, httpsPort: ingressHttpsPort };
  if (ingressHttpsPort === undefined) return undefined;
  throw new Failure('--ingress-https-port needs --ingress-http-port', {
    why: 'Ingresses without TLS are served by HTTP, and the others are redirected from there.',
    fix: 'Name both ports: --ingress-http-port 8080 --ingress-https-port 8443',
  });
}

export function parsePort(value: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port > 65_535) throw new InvalidArgumentError('A port is a number from 0 to 65535.');
  return port;
}

import { resolve } from 'node:path';
import type { Command, Option } from 'commander';

export type ServiceRole = 'server' | 'agent';

/** The unit of a role, as k3s names its own. */
export const serviceNameOf = (role: ServiceRole): string => (role === 'server' ? 'midship.service' : 'midship-agent.service');

export interface ServiceUnit {
  readonly role: ServiceRole;
  /** Node, and the file that it runs; both absolute. */
  readonly program: readonly string[];
  readonly args: readonly string[];
  /** Holds the variables that are no one else's to read; absent: there are none. */
  readonly environmentFile?: string;
}

/**
 * The text of a systemd unit. Containers outlive the program, as they outlive its `kill -9`: only the program itself is signalled, and
 * its control group is delegated to it.
 *
 * @see systemd.service(5), systemd.kill(5), systemd.resource-control(5)
 */
export function unitText({ role, program, args, environmentFile }: ServiceUnit): string {
  const lines = [
    '[Unit]',
    `Description=Midship ${role}`,
    'Wants=network-online.target',
    'After=network-online.target',
    '',
    '[Service]',
    'Type=exec',
    ...(environmentFile === undefined ? [] : [`EnvironmentFile=${environmentFile}`]),
    `ExecStart=${[...program, role, ...args].map(quoteArgument).join(' ')}`,
    'Restart=always',
    'RestartSec=5s',
    'Delegate=yes',
    'KillMode=process',
    // Pods have their grace periods at a stop.
    'TimeoutStopSec=150s',
    'LimitNOFILE=1048576',
    'LimitNPROC=infinity',
    'LimitCORE=infinity',
    'TasksMax=infinity',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
  return `${lines.join('\n')}\n`;
}

/** An argument as a unit writes it: `%` and `$` have a meaning there, within quotes too. */
function quoteArgument(text: string): string {
  const escaped = text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('$', '$$$$').replaceAll('%', '%%');
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

/** Lines of an EnvironmentFile. */
export const environmentText = (variables: Readonly<Record<string, string>>): string =>
  Object.entries(variables)
    .map(([name, value]) => `${name}="${value.replace(/[\\"`$]/g, '\\$&')}"\n`)
    .join('');

/** Flags whose values other users of the machine may not read. */
const secretFlags: ReadonlySet<string> = new Set(['--token', '--token-file']);
const pathPlaceholder = /<(?:file|dir|url-or-dir)>/;

/**
 * Arguments as a unit needs them, which runs in another directory: paths are absolute, and secrets are left out.
 *
 * @param args  which `command` has taken already
 */
export function serviceArguments(command: Command, args: readonly string[], directory: string): readonly string[] {
  const kept: string[] = [];
  for (let at = 0; at < args.length; at += 1) {
    const [name = '', ...rest] = (args[at] ?? '').split('=');
    const option = command.options.find(({ long, short }) => long === name || short === name);
    if (option === undefined) {
      kept.push(args[at] ?? '');
      continue;
    }
    const isFollowed = rest.length === 0 && (option.required || (option.optional && args[at + 1]?.startsWith('-') === false));
    if (isFollowed) at += 1;
    const value = isFollowed ? args[at] : rest.length === 0 ? undefined : rest.join('=');
    if (secretFlags.has(name)) continue;
    kept.push(name, ...(value === undefined ? [] : [absoluteValue(option, value, directory)]));
  }
  return kept;
}

const absoluteValue = ({ flags }: Option, value: string, directory: string): string =>
  pathPlaceholder.test(flags) && !/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? resolve(directory, value) : value;

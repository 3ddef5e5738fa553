import type { Command, Option } from 'commander';
import type { Taint } from '../api/core/v1/node.ts';
import { redactUrl } from '../base/redact-url.ts';
import type { Setting } from './configuration.ts';

/** Variables that are the default of a flag. */
const variables: Readonly<Record<string, string>> = {
  '--data-dir': 'MIDSHIP_DATA_DIR',
  '--api-port': 'MIDSHIP_API_PORT',
  '--http-port': 'MIDSHIP_HTTP_PORT',
};

/** Flags that have the secret itself. Every other secret is in a file that a flag names. */
const secretFlags: ReadonlySet<string> = new Set(['--token']);

/**
 * The flags of a start as they were parsed, or their defaults before that. Values of secret flags are left out, and addresses lose their
 * passwords: support bundles have these settings.
 */
export function settingsOf(command: Command, environment: NodeJS.ProcessEnv): readonly Setting[] {
  const ofFlags = command.options
    .filter(({ hidden, long }) => !hidden && long !== '--detach')
    .map((option): Setting => {
      const name = option.long ?? '';
      const source = command.getOptionValueSource(option.attributeName());
      const variable = variables[name];
      const isFromVariable = source === 'env' || (variable !== undefined && (environment[variable] ?? '') !== '');
      const value = textOf(option, command.getOptionValue(option.attributeName()));
      return { name, value, from: source === 'cli' ? 'flag' : isFromVariable ? 'environment' : 'default' };
    });
  const level = environment.MIDSHIP_LOG_LEVEL;
  return [...ofFlags, { name: 'MIDSHIP_LOG_LEVEL', value: level ?? 'info', from: level === undefined ? 'default' : 'environment' }];
}

function textOf({ long, defaultValueDescription, defaultValue }: Option, value: unknown): string {
  if (value === undefined) return '';
  if (secretFlags.has(long ?? '')) return '(not shown)';
  if (long === '--write-kubeconfig-mode') return `0${Number(value).toString(8)}`;
  const texts = [value].flat().flatMap(wordsOf);
  if (texts.length === 0) return value === defaultValue ? (defaultValueDescription ?? '') : '';
  return texts.map((text) => (text.includes('://') ? redactUrl(text) : text)).join(', ');
}

/** A value of a flag as it is given: labels and arguments of a kubelet are records of `KEY=VALUE`, taints are objects. */
function wordsOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return [String(value)];
  if ('key' in value && 'effect' in value) {
    const { key, value: text, effect } = value as Taint;
    return [`${key}${text === undefined ? '' : `=${text}`}:${effect}`];
  }
  return Object.entries(value).flatMap(([key, texts]) => [texts].flat().map((text) => `${key}=${text}`));
}

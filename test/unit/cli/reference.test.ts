import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Command, Option } from 'commander';
import { expect, it } from 'vitest';
import { createCommands } from '../../../src/cli/program.ts';

const root = join(import.meta.dirname, '../../..');
const page = join(root, 'docs/reference/cli.md');
const marker = '<!-- From here on: UPDATE_GOLDEN=1 npx vitest run --project unit test/unit/cli/reference.test.ts -->\n';

const stdout = new Writable({ write: (_chunk, _encoding, done) => done() }) as NodeJS.WriteStream;
const program = createCommands({ environment: {}, stdout, stderr: stdout, version: '1.2.3' }, [], () => undefined);

const cell = (text: string): string => text.replaceAll('|', '\\|');

function defaultOf({ defaultValue, defaultValueDescription }: Option): string {
  if (defaultValueDescription !== undefined) return defaultValueDescription;
  return defaultValue === undefined || defaultValue === false || (Array.isArray(defaultValue) && defaultValue.length === 0)
    ? ''
    : String(defaultValue);
}

function describeFlag(option: Option): string {
  const choices = option.argChoices === undefined ? '' : ` (${option.argChoices.join(', ')})`;
  return `| \`${cell(option.flags)}\` | ${cell(option.description)}${choices} | ${cell(defaultOf(option))} |\n`;
}

function describeCommand(command: Command, parent: string): string {
  const name = `${parent} ${command.name()}`;
  const usage = command.registeredArguments.map((each) => {
    const text = `${each.name()}${each.variadic ? '...' : ''}`;
    return each.required ? ` <${text}>` : ` [${text}]`;
  });
  const alias = command.alias() === undefined ? '' : ` Also: \`${command.alias()}\`.`;
  const head = `## ${name}${usage.join('')}\n\n${command.description()}.${alias}\n`;
  const details = command.registeredArguments
    .filter(({ description, argChoices }) => description !== '' || argChoices !== undefined)
    .map((each) => `\n- \`${each.name()}\`: ${each.description || each.argChoices?.join(', ')}`);
  const flags = command.options.filter(({ hidden }) => !hidden);
  const table = flags.length === 0 ? '' : `\n| flag | what it does | default |\n| --- | --- | --- |\n${flags.map(describeFlag).join('')}`;
  const nested = command.commands.map((each) => `\n${describeCommand(each, name)}`).join('');
  return `${head}${details.length === 0 ? '' : `${details.join('')}\n`}${table}${nested}`;
}

it('docs/reference/cli.md has every command and flag as the program has them', () => {
  const text = readFileSync(page, 'utf8');
  const at = text.indexOf(marker);
  const generated = program.commands.map((command) => describeCommand(command, 'midship')).join('\n');
  const wanted = `${text.slice(0, at < 0 ? text.length : at)}${marker}\n${generated}`;
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(page, wanted);
  expect(readFileSync(page, 'utf8')).toBe(wanted);
});

it('docs/reference/cli.md has every environment variable that the commands read', () => {
  const directory = join(root, 'src/cli');
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const sources = [...files.map((name) => join(directory, name)), join(root, 'src/main.ts')];
  const read = new Set<string>();
  for (const source of sources) {
    const text = readFileSync(source, 'utf8');
    for (const [, name = ''] of text.matchAll(/(?:environment|process\.env)\.([A-Z_]+)/g)) read.add(name);
    for (const [, names = ''] of text.matchAll(/\{ ([A-Z_, ]+) \}: NodeJS\.ProcessEnv/g))
      for (const name of names.split(', ')) read.add(name);
  }
  const rows = [...readFileSync(page, 'utf8').matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name = '']) => name);
  expect([...read].filter((name) => !rows.includes(name))).toEqual([]);
});

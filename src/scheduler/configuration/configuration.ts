import { parseYamlDocuments, YamlError } from '../../machinery/yaml.ts';
import type { ExtenderConfiguration } from '../extenders/extender.ts';
import { type NodeResourcesFitArgs, nodeResourcesFitDefaults } from '../plugins/node-resources-fit.ts';
import { defaultSchedulerName } from '../pod-record.ts';
import { builtInPlugins, defaultPlugins, type PluginUse, type ProfileConfiguration, type ScheduledPoint } from '../profile.ts';
import { readExtenders } from './extenders.ts';
import { Field, SchedulerConfigurationError } from './fields.ts';
import { argumentReaders } from './plugin-arguments.ts';

/** The part of a KubeSchedulerConfiguration that has an effect here. */
export interface SchedulerConfiguration {
  /** At least one; names differ. */
  readonly profiles: readonly ProfileConfiguration[];
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly extenders: readonly ExtenderConfiguration[];
  /** Fields that are upstream's and change nothing here. */
  readonly ignored: readonly string[];
}

const apiVersion = 'kubescheduler.config.k8s.io/v1';
const kind = 'KubeSchedulerConfiguration';
const maxBytes = 1024 * 1024;
const maxProfiles = 16;

/** Settings of a process and of how it reaches the API: flags give those here. */
const ignoredFields = [
  'parallelism',
  'leaderElection',
  'clientConnection',
  'enableProfiling',
  'enableContentionProfiling',
  'delayCacheUntilActive',
] as const;

const points = [
  'preEnqueue',
  'queueSort',
  'preFilter',
  'filter',
  'postFilter',
  'preScore',
  'score',
  'reserve',
  'permit',
  'preBind',
  'bind',
  'postBind',
] as const;

/** Points that decide here; a plugin that is on at one of them does its own preparations. */
const scheduledPoints: readonly ScheduledPoint[] = ['filter', 'postFilter', 'score', 'reserve', 'preBind'];

/**
 * Reads a file for `--scheduler-config`.
 *
 * @throws SchedulerConfigurationError with file, line and a fix: for another kind, an unknown field or plugin, and a wrong value
 * @see Kubernetes reference, "kube-scheduler Configuration (v1)"
 */
export function parseSchedulerConfiguration(text: string, file: string): SchedulerConfiguration {
  const root = readRoot(text, file);
  const fields = root.object([
    'apiVersion',
    'kind',
    'profiles',
    'percentageOfNodesToScore',
    'podInitialBackoffSeconds',
    'podMaxBackoffSeconds',
    'extenders',
    ...ignoredFields,
  ]);
  fields.apiVersion.oneOf([apiVersion]);
  fields.kind.oneOf([kind]);
  const percentage = fields.percentageOfNodesToScore.integer({ least: 0, most: 100, otherwise: 0 });
  const initial = fields.podInitialBackoffSeconds.integer({ least: 1, most: 86_400, otherwise: 1 });
  const most = fields.podMaxBackoffSeconds.integer({ least: 1, most: 86_400, otherwise: Math.max(10, initial) });
  if (most < initial) fields.podMaxBackoffSeconds.fail('is less than podInitialBackoffSeconds', `Give at least ${initial}.`);

  const listed = fields.profiles.list();
  if (listed.length > maxProfiles) fields.profiles.fail(`has more than ${maxProfiles} items`, 'Join profiles that differ in little.');
  const profiles = listed.map((profile) => readProfile(profile, percentage));
  for (const [index, { schedulerName }] of profiles.entries()) {
    if (profiles.findIndex((one) => one.schedulerName === schedulerName) === index) continue;
    listed[index]?.fail(`has the schedulerName ${schedulerName} of another profile`, 'Give each profile a name of its own.');
  }
  const { extenders, ignoredResources } = readExtenders(fields.extenders);
  const used = profiles.length > 0 ? profiles : [{ ...defaultProfile, percentageOfNodesToScore: percentage }];
  return {
    profiles: ignoredResources.length === 0 ? used : used.map((profile) => withIgnored(profile, ignoredResources)),
    extenders,
    initialBackoffMs: initial * 1_000,
    maxBackoffMs: most * 1_000,
    ignored: ignoredFields.filter((name) => !fields[name].isAbsent),
  };
}

function readRoot(text: string, file: string): Field {
  try {
    const [document, second] = parseYamlDocuments(text, { maxBytes, maxDepth: 32, maxAliases: 0, maxDocuments: 2, filename: file });
    const source = { file, text, line: document?.line ?? 1 };
    const root = new Field(document?.value, '', source);
    if (document === undefined) root.fail('is empty', `Write a ${kind} of ${apiVersion}.`);
    if (second !== undefined)
      new Field(second.value, '', { ...source, line: second.line }).fail('is a second document', 'Leave one document.');
    return root;
  } catch (err) {
    if (!(err instanceof YamlError)) throw err;
    throw new SchedulerConfigurationError(err.message, 'Repair the YAML at that place.');
  }
}

/** Resources that an extender counts are not counted here, in any profile. */
function withIgnored(profile: ProfileConfiguration, names: readonly string[]): ProfileConfiguration {
  const args = (profile.args.get('NodeResourcesFit') as NodeResourcesFitArgs | undefined) ?? nodeResourcesFitDefaults;
  const ignoredResources = new Set([...args.ignoredResources, ...names]);
  return { ...profile, args: new Map([...profile.args, ['NodeResourcesFit', { ...args, ignoredResources }]]) };
}

/** The profile without a configuration: every plugin at every point it has. */
export const defaultProfile: ProfileConfiguration = {
  schedulerName: defaultSchedulerName,
  percentageOfNodesToScore: 0,
  uses: usesOf(() => defaultPlugins),
  args: new Map(),
};

function usesOf(at: (point: ScheduledPoint) => readonly PluginUse[]): ProfileConfiguration['uses'] {
  return { filter: at('filter'), postFilter: at('postFilter'), score: at('score'), reserve: at('reserve'), preBind: at('preBind') };
}

function readProfile(profile: Field, percentage: number): ProfileConfiguration {
  const { schedulerName, percentageOfNodesToScore, plugins, pluginConfig } = profile.object([
    'schedulerName',
    'percentageOfNodesToScore',
    'plugins',
    'pluginConfig',
  ]);
  const sets = plugins.object(['multiPoint', ...points]);
  const everywhere = merge(defaultPlugins, readSet(sets.multiPoint), 'in place');
  const args = new Map<string, unknown>();
  for (const entry of pluginConfig.list()) {
    const fields = entry.object(['name', 'args']);
    const name = readName(fields.name);
    const read =
      argumentReaders[name] ?? entry.fail(`${name} takes no arguments here`, `These do: ${Object.keys(argumentReaders).join(', ')}.`);
    if (args.has(name)) entry.fail(`has a second entry for ${name}`, 'Join both into one.');
    args.set(name, read(fields.args));
  }
  for (const point of points) if (!(scheduledPoints as readonly string[]).includes(point)) readSet(sets[point]);
  return {
    schedulerName: schedulerName.isAbsent ? defaultSchedulerName : schedulerName.text(),
    percentageOfNodesToScore: percentageOfNodesToScore.integer({ least: 0, most: 100, otherwise: percentage }),
    uses: usesOf((point) => merge(everywhere, readSet(sets[point]), 'first')),
    args,
  };
}

interface PluginSet {
  readonly enabled: readonly PluginUse[];
  readonly disabled: ReadonlySet<string>;
}

function readSet(set: Field): PluginSet {
  const { enabled, disabled } = set.object(['enabled', 'disabled']);
  return {
    enabled: enabled.list().map((plugin) => {
      const { name, weight } = plugin.object(['name', 'weight']);
      return { name: readName(name), weight: weight.integer({ least: 0, most: 1_000_000, otherwise: 0 }) };
    }),
    disabled: new Set(
      disabled.list().map((plugin) => {
        const { name } = plugin.object(['name']);
        if (name.value === '*') return '*';
        const known = readName(name);
        if (builtInPlugins.has(known)) name.fail(`${known} cannot be left out`, 'There is no other plugin for what it does.');
        return known;
      }),
    ),
  };
}

function readName(name: Field): string {
  return name.oneOf([...defaultPlugins.map((plugin) => plugin.name), ...builtInPlugins]);
}

/** Plugins of `base` that are not disabled, with the enabled ones: `in place` of the same name or behind, or `first`. */
function merge(base: readonly PluginUse[], { enabled, disabled }: PluginSet, order: 'in place' | 'first'): readonly PluginUse[] {
  const left = disabled.has('*') ? [] : base.filter(({ name }) => !disabled.has(name));
  const added = enabled.filter(({ name }) => !builtInPlugins.has(name));
  const isAdded = (name: string) => added.some((one) => one.name === name);
  if (order === 'first') return [...added, ...left.filter(({ name }) => !isAdded(name))];
  const replaced = left.map((use) => added.find(({ name }) => name === use.name) ?? use);
  return [...replaced, ...added.filter(({ name }) => !left.some((one) => one.name === name))];
}

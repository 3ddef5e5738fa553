import { describe, expect, it } from 'vitest';
import { parseSchedulerConfiguration } from '../../../../src/scheduler/configuration/configuration.ts';
import { SchedulerConfigurationError } from '../../../../src/scheduler/configuration/fields.ts';
import { createProfile } from '../../../../src/scheduler/profile.ts';
import { nodeOf, podOf } from '../../../support/cluster-objects.ts';
import { createManualClock } from '../../../support/manual-clock.ts';
import { detachedHandle } from '../../../support/scheduler-profile.ts';
import { schedulingCluster } from '../../../support/scheduling-cluster.ts';

const head = 'apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n';
const parse = (text: string) => parseSchedulerConfiguration(head + text, 'scheduler.yaml');

/** The first profile of the text, as plugins run. */
function profileOf(text: string) {
  const [first] = parse(text).profiles;
  if (first === undefined) throw new Error('no profile');
  return createProfile(detachedHandle(createManualClock()), first);
}

const scoresOf = (text: string) => Object.fromEntries(profileOf(text).scores.map(({ name, weight }) => [name, weight]));
const filtersOf = (text: string) => profileOf(text).filters.map(({ name }) => name);

describe('profiles of the scheduler', () => {
  it('are one with the plugins and weights of upstream by default', () => {
    const { profiles, initialBackoffMs, maxBackoffMs } = parse('');
    expect(profiles.map(({ schedulerName }) => schedulerName)).toEqual(['default-scheduler']);
    expect([initialBackoffMs, maxBackoffMs]).toEqual([1_000, 10_000]);
    expect(scoresOf('')).toMatchObject({
      TaintToleration: 3,
      NodeAffinity: 2,
      PodTopologySpread: 2,
      InterPodAffinity: 2,
      NodeResourcesFit: 1,
      NodeResourcesBalancedAllocation: 1,
      ImageLocality: 1,
    });
  });

  it('leave out a plugin at one point, at all of them, or all plugins but the named ones', () => {
    const plugins = (text: string) => `profiles:\n- plugins:\n${text}`;
    expect(scoresOf(plugins('    score: {disabled: [{name: ImageLocality}]}\n'))).not.toHaveProperty('ImageLocality');
    expect(filtersOf(plugins('    score: {disabled: [{name: NodeResourcesFit}]}\n'))).toContain('NodeResourcesFit');
    const without = plugins('    multiPoint: {disabled: [{name: PodTopologySpread}, {name: DefaultPreemption}]}\n');
    expect(filtersOf(without)).not.toContain('PodTopologySpread');
    expect(scoresOf(without)).not.toHaveProperty('PodTopologySpread');
    expect(profileOf(without).preemption).toBeUndefined();
    expect(
      scoresOf(plugins("    score: {disabled: [{name: '*'}], enabled: [{name: NodeAffinity, weight: 7}, {name: ImageLocality}]}\n")),
    ).toEqual({
      NodeAffinity: 7,
      ImageLocality: 1,
    });
    expect(scoresOf(plugins('    multiPoint: {enabled: [{name: TaintToleration, weight: 9}]}\n'))).toMatchObject({ TaintToleration: 9 });
  });

  it('have names, shares of nodes and arguments of their own', () => {
    const { profiles } = parse(`percentageOfNodesToScore: 30
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  percentageOfNodesToScore: 80
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}
`);
    expect(profiles.map(({ schedulerName, percentageOfNodesToScore }) => [schedulerName, percentageOfNodesToScore])).toEqual([
      ['default-scheduler', 30],
      ['packed', 80],
    ]);
  });

  it('says which fields change nothing here', () => {
    expect(parse('parallelism: 16\nleaderElection: {leaderElect: false}\n').ignored).toEqual(['parallelism', 'leaderElection']);
  });
});

describe('arguments of plugins', () => {
  const withArgs = (name: string, args: string) => `profiles:\n- pluginConfig:\n  - name: ${name}\n    args: ${args}\n`;
  const nodes = [nodeOf('n1'), nodeOf('n2')];
  const there = podOf('there', { cpu: '2', memory: '2Gi' });
  const choose = (text: string, pod = podOf('a', { cpu: '1', memory: '1Gi' })) =>
    schedulingCluster(nodes, [[there, 'n1']], { profileOf: () => profileOf(text) }).choose(pod);

  it('choose the strategy by which resources are scored', () => {
    expect(choose('')).toBe('n2');
    expect(choose(withArgs('NodeResourcesFit', '{scoringStrategy: {type: MostAllocated}}'))).toBe('n1');
    const packing =
      '{type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}';
    expect(choose(withArgs('NodeResourcesFit', `{scoringStrategy: ${packing}}`))).toBe('n1');
    const spreading = packing.replace('score: 0}', 'score: 10}').replace('100, score: 10', '100, score: 0');
    expect(choose(withArgs('NodeResourcesFit', `{scoringStrategy: ${spreading}}`))).toBe('n2');
  });

  it('leave out extended resources that someone else counts', () => {
    const pod = podOf('a', { containers: [{ name: 'm', resources: { requests: { 'example.com/gpu': '1' } } }] });
    expect(choose('', pod)).toContain('2 Insufficient example.com/gpu');
    expect(choose(withArgs('NodeResourcesFit', '{ignoredResourceGroups: [example.com]}'), pod)).toBe('n2');
  });

  it('add node affinity to every pod', () => {
    const term = '{nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}]}';
    const args = withArgs('NodeAffinity', `{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: ${term}}}`);
    expect(choose(args)).toBe('n1');
    expect(choose(args, podOf('a', { cpu: '3' }))).toContain("1 node(s) didn't match scheduler-enforced node affinity");
  });

  it('spread pods of Services by constraints of the cluster', () => {
    const args = withArgs(
      'PodTopologySpread',
      '{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]}',
    );
    const web = (name: string) => podOf(name, {}, { labels: { app: 'web' } });
    const cluster = schedulingCluster([nodeOf('n1'), nodeOf('n2', { spec: { unschedulable: true } })], [[web('w1'), 'n1']], {
      profileOf: () => profileOf(args),
      serviceSelectors: { shop: [{ app: 'web' }] },
    });
    expect(cluster.choose(web('w2'))).toContain("1 node(s) didn't match pod topology spread constraints");
    expect(cluster.choose(podOf('other'))).toBe('n1');
  });
});

describe('a wrong configuration', () => {
  it.each<[string, string, string, string]>([
    ['another kind', 'x: 1', 'scheduler.yaml:3: x: is not known', 'There are: apiVersion, kind,'],
    [
      'an unknown plugin',
      'profiles:\n- plugins:\n    score:\n      enabled:\n      - name: ImageLocalty\n',
      'scheduler.yaml:7: profiles[0].plugins.score.enabled[0].name: "ImageLocalty" is not known',
      'ImageLocality',
    ],
    [
      'a number out of range',
      'percentageOfNodesToScore: 101\n',
      'scheduler.yaml:3: percentageOfNodesToScore: is out of range',
      'from 0 to 100',
    ],
    [
      'two profiles of one name',
      'profiles:\n- schedulerName: a\n- schedulerName: a\n',
      'scheduler.yaml:5: profiles[1]: has the schedulerName a of another profile',
      'name of its own',
    ],
    ['an extender without a verb', 'extenders:\n- urlPrefix: http://x\n', 'scheduler.yaml:4: extenders[0]: has no verb', 'filterVerb'],
    [
      'scores of an extender without a weight',
      'extenders:\n- urlPrefix: http://x\n  prioritizeVerb: p\n',
      'scheduler.yaml:4: extenders[0]: has a prioritizeVerb and no weight',
      'at least 1',
    ],
    [
      'an extender over plain HTTP that wants TLS',
      'extenders:\n- urlPrefix: http://x\n  filterVerb: f\n  enableHTTPS: true\n',
      'scheduler.yaml:6: extenders[0].enableHTTPS: does not fit http://x',
      'https://',
    ],
    [
      'a password in the URL of an extender',
      'extenders:\n- urlPrefix: https://a:b@x\n  filterVerb: f\n',
      'scheduler.yaml:4: extenders[0].urlPrefix: has a password in it',
      'client certificate',
    ],
    [
      'a verb that leads elsewhere',
      'extenders:\n- urlPrefix: http://x\n  filterVerb: ../admin\n',
      'scheduler.yaml:5: extenders[0].filterVerb: is no path',
      'Give a word',
    ],
    [
      'an extender that may take for ever',
      'extenders:\n- urlPrefix: http://x\n  filterVerb: f\n  httpTimeout: 1h\n',
      'scheduler.yaml:6: extenders[0].httpTimeout: is out of range',
      'from 1ms to 60s',
    ],
    [
      'a resource of upstream that an extender manages',
      'extenders:\n- urlPrefix: http://x\n  filterVerb: f\n  managedResources: [{name: cpu}]\n',
      'scheduler.yaml:6: extenders[0].managedResources[0].name: cpu is no extended resource',
      'example.com/gpu',
    ],
    [
      'two extenders that bind',
      'extenders:\n- {urlPrefix: http://x, bindVerb: b}\n- {urlPrefix: http://y, bindVerb: b}\n',
      'scheduler.yaml:3: extenders: has two extenders with a bindVerb',
      'bound once',
    ],
    [
      'the queue order left out',
      'profiles:\n- plugins:\n    queueSort: {disabled: [{name: PrioritySort}]}\n',
      'scheduler.yaml:5: profiles[0].plugins.queueSort.disabled[0].name: PrioritySort cannot be left out',
      'no other plugin',
    ],
    [
      'arguments of a plugin that takes none',
      'profiles:\n- pluginConfig:\n  - name: ImageLocality\n    args: {}\n',
      'scheduler.yaml:5: profiles[0].pluginConfig[0]: ImageLocality takes no arguments here',
      'NodeResourcesFit',
    ],
    [
      'a shape that falls back',
      'profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 1}, {utilization: 50, score: 2}]}}}\n',
      'is not in the order of utilization',
      'Sort the points',
    ],
    [
      'a back-off that shrinks',
      'podInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 2\n',
      'scheduler.yaml:4: podMaxBackoffSeconds: is less',
      'at least 5',
    ],
    ['text that is no YAML', 'profiles: [\n', 'scheduler.yaml:', 'Repair the YAML'],
    ['a second document', '---\nkind: Pod\n', 'is a second document', 'Leave one document'],
    ['aliases', 'profiles: &a [*a]\n', 'scheduler.yaml:3', 'Repair the YAML'],
  ])('with %s is refused with its place and a fix', (_, text, what, fix) => {
    const act = () => parse(text);
    expect(act).toThrow(SchedulerConfigurationError);
    try {
      act();
    } catch (err) {
      expect((err as SchedulerConfigurationError).message).toContain(what);
      expect((err as SchedulerConfigurationError).fix).toContain(fix);
    }
  });

  it('is not taken in another version', () => {
    expect(() =>
      parseSchedulerConfiguration('apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n', 'f'),
    ).toThrow('f:1: apiVersion: "kubescheduler.config.k8s.io/v1beta3" is not known');
    expect(() => parseSchedulerConfiguration('', 'f')).toThrow('f:1: is empty');
  });
});

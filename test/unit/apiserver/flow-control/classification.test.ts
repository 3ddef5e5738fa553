import { describe, expect, it } from 'vitest';
import type { FlowSchema } from '../../../../src/api/flowcontrol/v1/flow-schema.ts';
import { createClassifier } from '../../../../src/apiserver/flow-control/classification.ts';
import { initialLevels, initialSchemas } from '../../../../src/apiserver/flow-control/configuration.ts';
import type { RequestAttributes } from '../../../../src/apiserver/kube-api.ts';
import type { UserInfo } from '../../../../src/apiserver/user.ts';

const levels = new Map(initialLevels.map((level) => [level.metadata.name, level]));
const classifier = createClassifier(initialSchemas, levels);
const user = (name: string, ...groups: readonly string[]): UserInfo => ({ name, groups: [...groups, 'system:authenticated'] });
const account = (namespace: string, name: string): UserInfo =>
  user(`system:serviceaccount:${namespace}:${name}`, 'system:serviceaccounts', `system:serviceaccounts:${namespace}`);
const on = (verb: string, resource: string, rest: Partial<RequestAttributes> = {}): RequestAttributes => ({
  verb,
  group: '',
  resource,
  ...rest,
});

describe('the flow of a request', () => {
  it.each<[string, UserInfo, RequestAttributes, string, string]>([
    ['exempt', user('root', 'system:masters'), on('list', 'pods'), 'exempt', 'exempt/'],
    ['probes', user('a'), { verb: 'get', path: '/readyz' }, 'exempt', 'probes/'],
    ['global-default', user('a'), { verb: 'get', path: '/readyz/x' }, 'global-default', 'global-default/a'],
    ['global-default', user('a'), on('get', 'pods', { namespace: 'x' }), 'global-default', 'global-default/a'],
    [
      'global-default',
      { name: 'system:anonymous', groups: ['system:unauthenticated'] },
      on('get', 'pods'),
      'global-default',
      'global-default/system:anonymous',
    ],
    ['service-accounts', account('web', 'app'), on('get', 'pods'), 'workload-low', 'service-accounts/system:serviceaccount:web:app'],
    [
      'kube-system-service-accounts',
      account('kube-system', 'app'),
      on('get', 'pods', { namespace: 'x' }),
      'workload-high',
      'kube-system-service-accounts/x',
    ],
    [
      'system-leader-election',
      account('kube-system', 'app'),
      on('update', 'leases', { group: 'coordination.k8s.io', namespace: 'x' }),
      'leader-election',
      'system-leader-election/system:serviceaccount:kube-system:app',
    ],
    [
      'system-node-high',
      user('system:node:a', 'system:nodes'),
      on('patch', 'nodes', { subresource: 'status', name: 'a' }),
      'node-high',
      'system-node-high/system:node:a',
    ],
    ['system-nodes', user('system:node:a', 'system:nodes'), on('get', 'pods', { namespace: 'x' }), 'system', 'system-nodes/system:node:a'],
    [
      'kube-scheduler',
      user('system:kube-scheduler'),
      on('create', 'pods', { subresource: 'binding', namespace: 'x' }),
      'workload-high',
      'kube-scheduler/x',
    ],
  ])('%s: %j %j', (name, who, attributes, level, flow) => {
    expect(classifier.classify(who, () => attributes)).toMatchObject({ schema: { metadata: { name } }, level, flow });
  });

  it('does not look at the request of those whose schema takes everything', () => {
    const who = user('root', 'system:masters');
    const asked = (): never => {
      throw new Error('asked');
    };
    expect(classifier.classify(who, asked)?.level).toBe('exempt');
  });

  it('leaves out schemas whose level is missing, and takes the name where two are alike', () => {
    const schema = (name: string, level: string): FlowSchema => ({
      ...(initialSchemas[0] as FlowSchema),
      metadata: { name },
      spec: { priorityLevelConfiguration: { name: level }, matchingPrecedence: 5, rules: initialSchemas[0]?.spec?.rules ?? [] },
    });
    const own = createClassifier([schema('c', 'exempt'), schema('b', 'exempt'), schema('a', 'missing')], levels);
    expect(own.classify(user('root', 'system:masters'), () => on('get', 'pods'))?.schema.metadata.name).toBe('b');
    expect(own.classify(user('a'), () => on('get', 'pods'))).toBeUndefined();
  });
});

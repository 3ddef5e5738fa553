import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki } from '../../../src/base/pki.ts';
import { encoded, makeCertificateRequest } from '../../support/certificate-requests.ts';
import { type ClientTools, findClientTools } from '../../support/client-tools.ts';
import { type CommandResult, type RunningCluster, run, startCluster } from '../../support/cluster.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { clientId, type OidcIssuer, startOidcIssuer } from '../../support/oidc-issuer.ts';
import { until } from '../../support/until.ts';

/** Everyday commands of kubectl and helm, with the published programs, against the built program with simulated nodes. */

const found = await findClientTools();
const tools: ClientTools | undefined = typeof found === 'string' ? undefined : found;
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';

let cluster: RunningCluster;
let directory: string;
let issuer: OidcIssuer;
beforeAll(async () => {
  if (!hasKubectl && tools === undefined) return;
  directory = await temporaryDirectory('clients');
  const pki = await openPki({ directory: join(directory, 'issuer'), clock: systemClock });
  issuer = await startOidcIssuer(await pki.serverCertificate({ name: 'issuer', commonName: 'issuer', hosts: ['127.0.0.1'] }));
  await writeFile(join(directory, 'issuer.crt'), pki.caCertificate);
  const policy = {
    apiVersion: 'audit.k8s.io/v1',
    kind: 'Policy',
    rules: [{ level: 'Request', resources: [{ group: 'certificates.k8s.io' }] }],
  };
  await writeFile(join(directory, 'audit.yaml'), JSON.stringify(policy));
  cluster = await startCluster({
    command: 'up',
    args: [
      ...['--runtime', 'simulated', '--simulate-nodes', '3'],
      ...['--oidc-issuer-url', issuer.url, '--oidc-client-id', clientId, '--oidc-ca-file', join(directory, 'issuer.crt')],
      ...['--oidc-username-prefix', 'oidc:', '--oidc-groups-claim', 'groups', '--oidc-groups-prefix', 'oidc:'],
      ...['--audit-policy-file', join(directory, 'audit.yaml')],
    ],
  });
  // Simulated nodes take no pod that does not ask for them.
  const kubectl = hasKubectl ? 'kubectl' : (tools?.kubectl ?? '');
  const untaint = () => run(kubectl, ['taint', 'nodes', '--all', 'midship.dev/simulated-'], environment());
  await until(async () => (await untaint()).stdout.split('untainted').length === 4, { what: 'three nodes are there' });
});
afterAll(async () => {
  await cluster?.stop();
  await issuer?.stop();
});

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig, NO_COLOR: '1', HOME: directory });

/** When both are there, `npm test` runs the newer one. `npm run fault` sets `MIDSHIP_CLIENTS=system` for the other one; `all` runs both. */
const wanted = process.env.MIDSHIP_CLIENTS ?? (tools === undefined ? 'system' : 'newer');
const system: readonly [title: string, kubectl: string | undefined] =
  wanted === 'newer'
    ? ['kubectl of the system (skipped: npm run fault runs it)', undefined]
    : [`kubectl of the system${hasKubectl ? '' : ' (needs kubectl)'}`, hasKubectl ? 'kubectl' : undefined];

const programs: readonly (readonly [title: string, kubectl: string | undefined])[] = [
  system,
  wanted === 'system' && tools !== undefined
    ? ['kubectl 1.35 (skipped: npm test runs it)', undefined]
    : [`kubectl 1.35${why}`, tools?.kubectl],
];

describe.each(programs)('%s', (title, program) => {
  const kubectl = program ?? '';
  const namespace = title.includes('1.35') ? 'k135' : 'system';
  const node = title.includes('1.35') ? 'sim-0' : 'sim-1';
  const it_ = it.skipIf(program === undefined);

  const exec = (...args: readonly string[]): Promise<CommandResult> =>
    run(kubectl, ['-n', namespace, '--cache-dir', join(directory, `cache-${namespace}`), ...args], environment(), directory);
  async function ok(...args: readonly string[]): Promise<string> {
    const result = await exec(...args);
    if (result.code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${result.code}\n${result.stdout}${result.stderr}`);
    return result.stdout;
  }
  async function file(name: string, ...objects: readonly object[]): Promise<string> {
    const path = join(directory, `${namespace}-${name}.json`);
    await writeFile(path, objects.map((object) => JSON.stringify(object)).join('\n'));
    return path;
  }
  const jsonpath = (path: string, ...args: readonly string[]): Promise<string> => ok('get', ...args, '-o', `jsonpath=${path}`);
  const configMap = (name: string, data: Readonly<Record<string, string>>, labels?: Readonly<Record<string, string>>) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, ...(labels === undefined ? {} : { labels }) },
    data,
  });

  it_('looks around', async () => {
    expect(await ok('version')).toMatch(/Server Version: v1\.36\.0\+midship/);
    expect(await ok('cluster-info')).toContain('Kubernetes control plane');
    expect(await ok('api-resources', '--verbs=list', '-o', 'name')).toContain('deployments.apps\n');
    expect(await ok('api-resources')).toMatch(/deployments +deploy +apps\/v1 +true +Deployment/);
    expect(await ok('api-versions')).toContain('flowcontrol.apiserver.k8s.io/v1\n');
    expect(await ok('get', '--raw', '/readyz')).toBe('ok');
    expect(await ok('explain', 'deployment.spec.strategy')).toMatch(/GROUP: +apps[\s\S]*rollingUpdate/);
    expect(await ok('explain', 'hpa.spec.behavior.scaleDown')).toMatch(/stabilizationWindowSeconds\t<integer>\n +Seconds to look back /);
    expect(await ok('explain', 'pods', '--recursive')).toMatch(/containers\t<\[\]Container>[\s\S]*imagePullPolicy/);
    expect((await exec('top', 'nodes')).stderr).toContain('Metrics API not available');
    expect(await ok('get', 'nodes', '-o', 'wide')).toMatch(/sim-0 +Ready/);
  });

  it_('creates', async () => {
    await ok('create', 'namespace', namespace);
    await until(async () => (await exec('get', 'serviceaccount', 'default')).code === 0, { what: 'the namespace has its account' });
    await ok('create', 'deployment', 'web', '--image=host/web:1', '--replicas=2');
    await ok('create', 'configmap', 'settings', '--from-literal=a=1', '--from-literal=b=2');
    await ok('create', 'secret', 'generic', 'secret', '--from-literal=password=x');
    await ok('create', 'serviceaccount', 'robot');
    await ok('create', 'role', 'reader', '--verb=get,list', '--resource=pods,configmaps');
    await ok('create', 'rolebinding', 'reader', '--role=reader', `--serviceaccount=${namespace}:robot`);
    await ok('create', 'quota', 'many', '--hard=configmaps=100');
    await ok('create', 'ingress', 'web', '--rule=web.example/*=web:80');
    await ok('create', 'poddisruptionbudget', 'none', '--selector=app=nothing', '--min-available=1');
    await ok('create', 'cronjob', 'nightly', '--image=host/x', '--schedule=0 0 1 1 *', '--', 'true');
    expect(await ok('create', 'job', 'tonight', '--from=cronjob/nightly', '--dry-run=server', '-o', 'name')).toBe('job.batch/tonight\n');
    expect((await exec('create', 'configmap', 'settings')).stderr).toContain('already exists');
    expect(await ok('create', 'deployment', 'dry', '--image=x', '--dry-run=server', '-o', 'name')).toBe('deployment.apps/dry\n');
    expect((await exec('get', 'deployment', 'dry')).stderr).toContain('NotFound');
    const token = (await ok('create', 'token', 'robot', '--duration=10m')).trim();
    expect(
      await ok(
        'auth',
        'whoami',
        '--token',
        token,
        '--kubeconfig',
        '/dev/null',
        '--server',
        cluster.endpoints.api,
        '--insecure-skip-tls-verify',
      ),
    ).toContain(`system:serviceaccount:${namespace}:robot`);
  });

  it_('asks what may be done', async () => {
    const robot = `--as=system:serviceaccount:${namespace}:robot`;
    expect(await ok('auth', 'can-i', 'list', 'pods', robot)).toBe('yes\n');
    expect((await exec('auth', 'can-i', 'delete', 'pods', robot)).stdout).toBe('no\n');
    expect(await ok('auth', 'can-i', '--list', robot)).toMatch(/configmaps +\[\] +\[\] +\[get list\]/);
    expect((await exec('delete', 'configmap', 'settings', robot)).stderr).toContain('Forbidden');
  });

  it_('knows people by a certificate that it approves, and by a token of their issuer', async () => {
    const stranger = ['--kubeconfig', '/dev/null', '--server', cluster.endpoints.api, '--insecure-skip-tls-verify'];
    const { request, key } = await makeCertificateRequest({ commonName: 'dave', organizations: ['devs'] });
    const spec = {
      request: encoded(request),
      signerName: 'kubernetes.io/kube-apiserver-client',
      usages: ['client auth'],
      expirationSeconds: 3600,
    };
    const name = `dave-${namespace}`;
    await ok(
      'create',
      '-f',
      await file('csr', { apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', metadata: { name }, spec }),
    );
    await ok('certificate', 'approve', name);
    const issued = await until(async () => (await jsonpath('{.status.certificate}', 'csr', name)) || undefined, {
      what: 'the certificate is issued',
    });
    const [certificateFile, keyFile] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
    await Promise.all([writeFile(certificateFile, Buffer.from(issued, 'base64')), writeFile(keyFile, key)]);
    expect(await ok(...stranger, '--client-certificate', certificateFile, '--client-key', keyFile, 'auth', 'whoami')).toMatch(
      /Username +dave\nGroups +\[devs/,
    );
    const token = await issuer.token({ sub: 'jane', groups: ['ops'] });
    expect(await ok(...stranger, '--token', token, 'auth', 'whoami')).toMatch(
      /Username +oidc:jane\nGroups +\[oidc:ops system:authenticated\]/,
    );
    const audit = await until(
      async () => {
        // Written a moment after what it tells of; the file is not there before.
        const text = await readFile(join(cluster.dataDirectory, 'logs', 'audit.log'), 'utf8').catch(() => '');
        return text.includes(`"name":"${name}","apiGroup":"certificates.k8s.io","apiVersion":"v1","subresource":"approval"`)
          ? text
          : undefined;
      },
      { what: 'the audit log tells of the approval' },
    );
    expect(audit).toContain('"requestObject":{"kind":"CertificateSigningRequest"');
    expect(audit).not.toContain('"resource":"namespaces"');
  });

  it_('follows rollouts, back and forth', async () => {
    expect(await ok('rollout', 'status', 'deployment/web', '--timeout=60s')).toContain('successfully rolled out');
    await ok('annotate', 'deployment/web', 'kubernetes.io/change-cause=first');
    await ok('set', 'image', 'deployment/web', 'web=host/web:2');
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
    expect(await ok('rollout', 'history', 'deployment/web')).toMatch(/REVISION +CHANGE-CAUSE\n1 +first/);
    expect(await ok('rollout', 'history', 'deployment/web', '--revision=2')).toContain('host/web:2');
    await ok('rollout', 'undo', 'deployment/web');
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
    expect(await jsonpath('{.spec.template.spec.containers[0].image}', 'deployment', 'web')).toBe('host/web:1');
    await ok('rollout', 'restart', 'deployment/web');
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
    await ok('rollout', 'pause', 'deployment/web');
    await ok('rollout', 'resume', 'deployment/web');
    await ok('scale', 'deployment/web', '--replicas=3', '--current-replicas=2');
    expect((await exec('scale', 'deployment/web', '--replicas=9', '--current-replicas=2')).code).toBe(1);
    await ok('wait', '--for=condition=Available', 'deployment/web', '--timeout=60s');
    await ok('wait', '--for=jsonpath={.status.readyReplicas}=3', 'deployment/web', '--timeout=60s');
    await ok('set', 'env', 'deployment/web', 'MODE=fast');
    await ok('set', 'resources', 'deployment/web', '--limits=cpu=100m');
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
  });

  it_('exposes, scales by itself, labels and annotates', async () => {
    expect(await ok('expose', 'deployment/web', '--port=80', '--target-port=8080')).toContain('service/web exposed');
    await ok('autoscale', 'deployment/web', '--min=2', '--max=5', '--cpu-percent=80');
    expect(await jsonpath('{.spec.maxReplicas}', 'hpa', 'web')).toBe('5');
    await ok('delete', 'hpa', 'web');
    await ok('label', 'deployment', 'web', 'tier=front');
    expect((await exec('label', 'deployment', 'web', 'tier=back')).code).toBe(1);
    await ok('label', 'deployment', 'web', 'tier=back', '--overwrite');
    await ok('label', 'deployment', 'web', 'tier-');
    await ok('annotate', 'configmap', '--all', 'seen=yes');
    expect(await jsonpath('{.metadata.annotations.seen}', 'configmap', 'settings')).toBe('yes');
  });

  it_('gets in every form', async () => {
    const pods = await ok('get', 'pods');
    expect(pods).toMatch(/^NAME +READY +STATUS +RESTARTS +AGE\n/);
    expect(await ok('get', 'pods', '-o', 'wide')).toMatch(/NODE +NOMINATED NODE +READINESS GATES/);
    expect(await ok('get', 'pods', '--show-labels', '-l', 'app=web')).toContain('pod-template-hash=');
    expect(await ok('get', 'pods', '-o', 'name')).toMatch(/^pod\/web-/);
    expect(JSON.parse(await ok('get', 'pods', '-o', 'json'))).toMatchObject({ kind: 'List' });
    expect(await ok('get', 'deployment', 'web', '-o', 'yaml')).toContain('kind: Deployment\n');
    expect(await ok('get', 'pods', '-o', 'custom-columns=N:.metadata.name,NODE:.spec.nodeName')).toMatch(/^N +NODE\nweb-/);
    // Those of the last revision may still be on their way out.
    await until(async () => (await ok('get', 'pods', '-o', 'go-template={{len .items}}')) === '3', { what: 'three pods are left' });
    expect(await ok('get', 'deployment', 'web', '-o', 'jsonpath-as-json={.spec.replicas}')).toContain('3');
    expect(await ok('get', 'pods', '--sort-by=.metadata.name', '--no-headers')).toMatch(/^web-/);
    expect(await ok('get', 'pods', '--field-selector', `spec.nodeName=${node}`, '--chunk-size=1')).toMatch(/web-|^$/);
    expect(await ok('get', 'deployment', 'web', '--subresource=scale')).toMatch(/web +3 +3/);
    expect(await ok('get', 'deploy,rs,svc,ing')).toMatch(
      /deployment.apps\/web[\s\S]*replicaset.apps\/web-[\s\S]*service\/web[\s\S]*ingress.networking.k8s.io\/web/,
    );
    expect(await ok('get', 'all')).toContain('cronjob.batch/nightly');
    expect(await ok('get', 'pods', '-A')).toMatch(/^NAMESPACE +NAME/);
    expect((await exec('get', 'pods', 'nope')).stderr).toBe('Error from server (NotFound): pods "nope" not found\n');
    expect((await exec('get', 'nothings')).stderr).toContain('the server doesn\'t have a resource type "nothings"');
    expect(await ok('describe', 'deployment', 'web')).toMatch(/Replicas: +3 desired[\s\S]*ScalingReplicaSet/);
    expect(await ok('describe', 'pods', '-l', 'app=web')).toMatch(/Node: +sim-\d[\s\S]*Events:/);
    expect(await ok('describe', 'node', node)).toMatch(
      /Allocated resources:[\s\S]*Non-terminated Pods:|Non-terminated Pods:[\s\S]*Allocated resources:/,
    );
    expect(await ok('describe', 'namespace', namespace)).toMatch(/Resource Quotas|many/);
    expect(await ok('describe', 'quota,svc,ingress,secret,serviceaccount,pdb,cronjob')).toContain('web.example');
    expect(await ok('events', '--for', 'deployment/web')).toContain('ScalingReplicaSet');
    expect(await ok('get', 'events')).toContain('Scaled up replica set');
  });

  it_('applies on the client, prunes, and shows what would change', async () => {
    const labels = { set: 'one' };
    const both = await file('both', configMap('one', { a: '1' }, labels), configMap('two', { a: '1' }, labels));
    expect(await ok('apply', '-f', both)).toBe('configmap/one created\nconfigmap/two created\n');
    expect(await ok('apply', '-f', both)).toBe('configmap/one unchanged\nconfigmap/two unchanged\n');
    expect(await ok('apply', 'view-last-applied', 'configmap/one')).toContain('a: "1"');
    const one = await file('one', configMap('one', { a: '2' }, labels));
    const diff = await exec('diff', '-f', one);
    expect(diff.code).toBe(1);
    expect(diff.stdout).toMatch(/- {2}a: "1"\n\+ {2}a: "2"/);
    expect(await ok('apply', '-f', one, '--dry-run=server')).toContain('configmap/one configured (server dry run)');
    expect(await ok('apply', '-f', one, '--prune', '-l', 'set=one', '--prune-allowlist=core/v1/ConfigMap')).toMatch(
      /one configured[\s\S]*two pruned/,
    );
    const strict = await file('strict', { ...configMap('three', {}), dato: {} });
    expect((await exec('apply', '-f', strict)).stderr).toMatch(/unknown field "dato"/);
    await writeFile(
      join(directory, 'kustomization.yaml'),
      `namePrefix: ${namespace}-\nconfigMapGenerator:\n- name: gen\n  literals: [a=1]\n`,
    );
    expect(await ok('apply', '-k', '.')).toMatch(new RegExp(`configmap/${namespace}-gen-\\w+ created`));
    expect(await ok('delete', '-k', '.')).toContain('deleted');
    // The other way to prune: an object of the cluster represents the set.
    const apply = (path: string) =>
      run(kubectl, ['-n', namespace, 'apply', '-f', path, '--prune', '--applyset=configmaps/set', '--server-side'], {
        ...environment(),
        KUBECTL_APPLYSET: 'true',
      });
    expect(await apply(await file('set', configMap('in', { a: '1' }), configMap('out', { a: '1' })))).toMatchObject({ code: 0 });
    expect((await apply(await file('set', configMap('in', { a: '1' })))).stdout).toMatch(/in serverside-applied[\s\S]*out pruned/);
  });

  it_('applies on the server, and meets conflicts', async () => {
    const ssa = await file('ssa', configMap('ssa', { a: '1' }));
    expect(await ok('apply', '--server-side', '-f', ssa)).toBe('configmap/ssa serverside-applied\n');
    const other = await file('ssa-other', configMap('ssa', { a: '2' }));
    const conflict = await exec('apply', '--server-side', '--field-manager=other', '-f', other);
    expect(conflict.stderr).toMatch(/conflict with "kubectl": \.data\.a/);
    expect((await exec('diff', '--server-side', '--field-manager=other', '--force-conflicts', '-f', other)).code).toBe(1);
    expect(await ok('apply', '--server-side', '--field-manager=other', '--force-conflicts', '-f', other)).toContain('serverside-applied');
    expect(await ok('get', 'configmap', 'ssa', '-o', 'yaml', '--show-managed-fields')).toContain('manager: other');
    // From client-side to server-side.
    const moved = await file('moved', configMap('moved', { a: '1' }));
    await ok('apply', '-f', moved);
    expect(await ok('apply', '--server-side', '-f', moved)).toContain('serverside-applied');
  });

  it_('patches, edits and replaces', async () => {
    await ok(
      'patch',
      'deployment',
      'web',
      '-p',
      '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"2"}]}]}}}}',
    );
    expect(await jsonpath('{.spec.template.spec.containers[0].env[*].name}', 'deployment', 'web')).toMatch(/MODE/);
    await ok('patch', 'configmap', 'settings', '--type=merge', '-p', '{"data":{"a":null,"c":"3"}}');
    await ok('patch', 'configmap', 'settings', '--type=json', '-p', '[{"op":"replace","path":"/data/b","value":"9"}]');
    expect(await jsonpath('{.data}', 'configmap', 'settings')).toBe('{"b":"9","c":"3"}');
    expect((await exec('patch', 'configmap', 'settings', '--type=json', '-p', '[{"op":"test","path":"/data/b","value":"0"}]')).code).toBe(
      1,
    );
    await ok('patch', 'deployment', 'web', '--subresource=scale', '--type=merge', '-p', '{"spec":{"replicas":2}}');
    const editor = join(directory, 'editor.sh');
    await writeFile(editor, '#!/bin/sh\nsed -i \'s/b: "9"/b: "10"/\' "$1"\n');
    await chmod(editor, 0o755);
    const edited = await run(kubectl, ['-n', namespace, 'edit', 'configmap', 'settings'], {
      ...environment(),
      // More than one word with a quote in it is given to a shell: the path may have blanks.
      KUBE_EDITOR: `sh '${editor}'`,
    });
    expect(edited).toMatchObject({ code: 0, stdout: 'configmap/settings edited\n' });
    expect(await jsonpath('{.data.b}', 'configmap', 'settings')).toBe('10');
    const replacement = await file('settings', configMap('settings', { z: '26' }));
    expect(await ok('replace', '-f', replacement)).toBe('configmap/settings replaced\n');
    expect(await ok('replace', '--force', '-f', replacement)).toMatch(/deleted[\s\S]*replaced/);
    expect(await jsonpath('{.data}', 'configmap', 'settings')).toBe('{"z":"26"}');
  });

  it_('taints, cordons, drains and brings back a node', async () => {
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
    await ok('taint', 'node', node, 'key=value:NoSchedule');
    expect(await jsonpath('{.spec.taints[*].key}', 'node', node)).toBe('key');
    await ok('taint', 'node', node, 'key:NoSchedule-');
    await ok('cordon', node);
    expect(await ok('get', 'node', node)).toContain('SchedulingDisabled');
    const drained = await ok('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=60s');
    expect(drained).toContain(`node/${node} drained`);
    expect(await ok('get', 'pods', '--field-selector', `spec.nodeName=${node}`)).toBe('');
    await ok('uncordon', node);
    await ok('rollout', 'status', 'deployment/web', '--timeout=60s');
  });

  it_('waits for what comes and goes', async () => {
    await ok('create', 'job', 'once', '--image=host/true', '--', 'true');
    await ok('wait', '--for=create', 'job/once', '--timeout=30s');
    expect((await exec('wait', '--for=condition=Never', 'job/once', '--timeout=1s')).stderr).toContain('timed out waiting');
    const gone = exec('wait', '--for=delete', 'configmap/ssa', '--timeout=30s');
    await ok('delete', 'configmap', 'ssa');
    expect(await gone).toMatchObject({ code: 0 });
    await ok('run', 'box', '--image=host/box', '--restart=Never');
    await ok('wait', '--for=condition=Ready', 'pod/box', '--timeout=60s');
  });

  it_('deletes, with everything that follows or without', async () => {
    expect(await ok('delete', 'pod', 'box', '--now')).toContain('pod "box" deleted');
    await ok('delete', 'job', 'once', '--cascade=foreground', '--timeout=60s');
    expect(await ok('delete', 'deployment', 'web', '--dry-run=server')).toContain('(server dry run)');
    await ok('delete', 'deployment', 'web', '--cascade=orphan');
    expect(await ok('get', 'rs', '-l', 'app=web', '-o', 'name')).toMatch(/replicaset/);
    await ok('delete', 'rs', '-l', 'app=web', '--cascade=background');
    await ok('wait', '--for=delete', 'pods', '-l', 'app=web', '--timeout=60s');
    expect((await exec('delete', 'configmap', 'nope')).stderr).toContain('NotFound');
    await ok('delete', 'configmap', 'nope', '--ignore-not-found');
    expect(await ok('delete', 'svc,ingress', '--all')).toMatch(/service "web" deleted[\s\S]*ingress.networking.k8s.io "web" deleted/);
    await ok('delete', 'namespace', namespace, '--timeout=60s');
    expect((await exec('get', 'namespace', namespace)).stderr).toContain('NotFound');
  });
});

describe.skipIf(tools === undefined)(`helm 4${why}`, () => {
  let chart: string;
  const helm = async (...args: readonly string[]): Promise<string> => {
    const result = await run(tools?.helm ?? '', ['-n', 'charts', ...args], environment(), directory);
    if (result.code !== 0) throw new Error(`helm ${args.join(' ')}: ${result.code}\n${result.stdout}${result.stderr}`);
    return result.stdout;
  };
  const kubectl = async (...args: readonly string[]): Promise<CommandResult> =>
    run(tools?.kubectl ?? '', ['-n', 'charts', ...args], environment());

  beforeAll(async () => {
    chart = await temporaryDirectory('chart');
    await run('mkdir', ['templates'], process.env, chart);
    await writeFile(join(chart, 'Chart.yaml'), 'apiVersion: v2\nname: shop\nversion: 0.1.0\n');
    await writeFile(join(chart, 'values.yaml'), 'replicas: 1\ntext: first\nextra: true\n');
    await writeFile(
      join(chart, 'templates', 'all.yaml'),
      `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-text}
data: {text: {{ .Values.text | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: main, image: "host/shop:1"}]}
{{- if .Values.extra }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
{{- end }}
`,
    );
  });

  it('installs, upgrades, rolls back and uninstalls a chart', async () => {
    expect(await helm('install', 'shop', chart, '--create-namespace', '--wait', '--timeout', '60s')).toContain('STATUS: deployed');
    expect(await helm('list')).toMatch(/shop\s+charts\s+1\s+.*deployed\s+shop-0\.1\.0/);
    expect((await kubectl('get', 'deployment', 'shop', '-o', 'jsonpath={.status.readyReplicas}')).stdout).toBe('1');
    await helm('upgrade', 'shop', chart, '--set', 'text=second,replicas=2,extra=false', '--wait', '--timeout', '60s');
    expect((await kubectl('get', 'configmap', 'shop-text', '-o', 'jsonpath={.data.text}')).stdout).toBe('second');
    expect((await kubectl('get', 'service', 'shop')).stderr).toContain('NotFound');
    expect(await helm('history', 'shop')).toMatch(/1\s+.*superseded[\s\S]*2\s+.*deployed/);
    expect(await helm('get', 'values', 'shop')).toContain('text: second');
    await helm('rollback', 'shop', '1', '--wait', '--timeout', '60s');
    expect((await kubectl('get', 'configmap', 'shop-text', '-o', 'jsonpath={.data.text}')).stdout).toBe('first');
    expect((await kubectl('get', 'service', 'shop', '-o', 'name')).stdout).toBe('service/shop\n');
    expect(await helm('status', 'shop')).toContain('REVISION: 3');
    expect(await helm('uninstall', 'shop', '--wait', '--timeout', '60s')).toContain('release "shop" uninstalled');
    // Helm waits for what is in the chart; pods follow their Deployment.
    await until(async () => (await kubectl('get', 'all,secrets', '-o', 'name')).stdout === '', { what: 'nothing of the chart is left' });
  });
});

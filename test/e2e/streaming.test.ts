import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandResult, type RunningCluster, startCluster } from '../support/cluster.ts';
import { temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

/** Streams as people use them: kubectl against the built program, whose pods are processes of this machine. */
describe.skipIf(!hasKubectl)('streams between kubectl and pods (needs kubectl)', () => {
  let cluster: RunningCluster;
  const children = new Set<() => void>();

  beforeAll(async () => {
    cluster = await startCluster({ args: ['--simulate-nodes', '1'] });
    const web =
      "require('http').createServer((q,s)=>{let n=0;q.on('data',(c)=>{n+=c.length});q.on('end',()=>s.end(q.method+' '+q.url+' '+n+'\\n'))})" +
      '.listen(8080,process.env.POD_IP)';
    const manifest = join(await temporaryDirectory('streams'), 'pods.json');
    const pod = (name: string, spec: object) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: name } }, spec });
    const items = [
      pod('box', {
        terminationGracePeriodSeconds: 0,
        containers: [
          { name: 'main', image: 'host/node', command: ['node', '-e', web], ports: [{ containerPort: 8080 }] },
          { name: 'side', image: 'host/sh', command: ['sh', '-c', 'while :; do echo tick; sleep 0.2; done'] },
        ],
      }),
      pod('pretended', {
        nodeName: 'sim-0',
        tolerations: [{ operator: 'Exists' }],
        containers: [{ name: 'main', image: 'host/sh', command: ['sh'] }],
      }),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'box' },
        spec: { selector: { app: 'box' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
    ];
    await writeFile(manifest, items.map((item) => JSON.stringify(item)).join('\n'));
    // The namespace's ServiceAccount is made by a controller.
    let applied: CommandResult | undefined;
    await until(
      async () => {
        applied = await cluster.kubectl('apply', '-f', manifest);
        return applied.code === 0;
      },
      { timeoutMs: 10_000, what: () => applied?.stderr ?? 'kubectl' },
    );
    expect(await cluster.kubectl('wait', '--for=condition=Ready', 'pod/box', '--timeout=30s')).toMatchObject({ code: 0 });
    await until(async () => (await cluster.kubectl('get', '--raw', '/api/v1/namespaces/default/pods/box/proxy/')).code === 0, {
      what: 'the program answers',
    });
  }, 120_000);
  afterAll(async () => {
    for (const end of children) end();
    await cluster?.stop();
  });

  /** kubectl with an input; what it prints can be watched while it runs. */
  function start(args: readonly string[], input?: Buffer) {
    const child = spawn('kubectl', [...args], { env: { ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig } });
    const end = (): void => void child.kill('SIGINT');
    children.add(end);
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (chunk) => (output[name] += String(chunk)));
    child.stdin.on('error', () => undefined);
    if (input !== undefined) child.stdin.end(input);
    const done = new Promise<CommandResult>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        children.delete(end);
        resolve({ code: code ?? -1, ...output });
      });
    });
    return { child, output, done, end };
  }

  it('reaches a pod from outside through a node port', async () => {
    const expose = ['expose', 'pod', 'box', '--name=outside', '--port=80', '--target-port=8080', '--type=NodePort'];
    expect(await cluster.kubectl(...expose)).toMatchObject({ code: 0, stdout: 'service/outside exposed\n' });
    const { stdout: nodePort } = await cluster.kubectl('get', 'service', 'outside', '-o', 'jsonpath={.spec.ports[0].nodePort}');
    const { stdout: node } = await cluster.kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].status.addresses[0].address}');
    for (const host of ['127.0.0.1', node]) {
      const url = `http://${host}:${nodePort}/here`;
      await until(async () => (await fetch(url).catch(() => undefined))?.ok === true, { what: url });
      for (let n = 0; n < 5; n += 1) expect(await (await fetch(url)).text()).toBe('GET /here 0\n');
    }
    expect(await cluster.kubectl('delete', 'service', 'outside')).toMatchObject({ code: 0 });
  });

  it('exec gives output and exit codes', async () => {
    expect(await cluster.kubectl('exec', 'box', '-c', 'side', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7')).toMatchObject({
      code: 7,
      stdout: 'out\n',
      stderr: expect.stringContaining('err\ncommand terminated with exit code 7\n'),
    });
    expect(await cluster.kubectl('exec', 'box', '-c', 'nope', '--', 'ls')).toMatchObject({
      code: 1,
      stderr: 'Error from server (BadRequest): container nope is not valid for pod box\n',
    });
    expect((await cluster.kubectl('exec', 'none', '--', 'ls')).stderr).toBe('Error from server (NotFound): pods "none" not found\n');
  });

  it('exec -i takes a megabyte and gives it back', async () => {
    const bytes = Buffer.alloc(1024 * 1024, 'abcdefg\n');
    expect((await start(['exec', '-i', 'box', '-c', 'side', '--', 'sh', '-c', 'cat | wc -c'], bytes).done).stdout.trim()).toBe('1048576');
    expect((await start(['exec', '-i', 'box', '-c', 'side', '--', 'cat'], bytes).done).stdout).toBe(bytes.toString());
  });

  it('exec -it has a terminal', async () => {
    // kubectl asks for one only when it has one itself.
    const command = 'kubectl exec -it box -c side -- sh -c \'test -t 0 && read -r line && echo "terminal: $line"; exit 3\'';
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, KUBECONFIG: cluster.endpoints.kubeconfig } });
    let text = '';
    child.stdout.on('data', (chunk) => (text += String(chunk)));
    const code = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    child.stdin.write('hello\n');
    expect([await code, text]).toEqual([3, expect.stringContaining('terminal: hello\r\n')]);
  });

  it('cp copies 20 MB there and back', async () => {
    const directory = await temporaryDirectory('cp');
    const bytes = randomBytes(20 * 1024 * 1024);
    await writeFile(join(directory, 'there'), bytes);
    const there = join(directory, 'there');
    const back = join(directory, 'back');
    expect(await cluster.kubectl('cp', there, 'box:/tmp/there', '-c', 'side')).toMatchObject({ code: 0 });
    expect(await cluster.kubectl('cp', 'box:/tmp/there', back, '-c', 'side')).toMatchObject({ code: 0 });
    expect((await readFile(back)).equals(bytes)).toBe(true);
  });

  it('attach follows what is printed from now on', async () => {
    const { output, done, end } = start(['attach', 'box', '-c', 'side']);
    await until(() => output.stdout.includes('tick\ntick\n'), { what: () => `ticks: ${output.stdout}${output.stderr}` });
    end();
    await done;
  });

  it('run -i --rm attaches to a new pod and leaves nothing', async () => {
    const { child, output, done } = start([
      'run',
      'once',
      '-i',
      '--rm',
      '--quiet',
      '--image=host/sh',
      '--restart=Never',
      '--command',
      '--',
      'cat',
    ]);
    await until(async () => (await cluster.kubectl('get', 'pod', 'once', '-o', 'jsonpath={.status.phase}')).stdout === 'Running', {
      what: 'the pod runs',
    });
    // Only what is printed once kubectl has attached is seen, as everywhere.
    await until(
      () => {
        child.stdin.write('hello\n');
        return output.stdout.includes('hello\n');
      },
      { what: () => `echo: ${output.stdout}${output.stderr}`, intervalMs: 100 },
    );
    child.stdin.end();
    expect((await done).code).toBe(0);
    expect((await cluster.kubectl('get', 'pod', 'once')).code).toBe(1);
  });

  it.each(['pod/box', 'service/box'])('port-forward reaches %s', async (target) => {
    const { output, done, end } = start(['port-forward', target, target === 'pod/box' ? ':8080' : ':80', '--address=127.0.0.1']);
    const port = await until(() => /127\.0\.0\.1:(\d+) ->/.exec(output.stdout)?.[1], { what: () => `address: ${output.stderr}` });
    const body = 'x'.repeat(500_000);
    for (let count = 0; count < 5; count += 1) {
      const answer = await fetch(`http://127.0.0.1:${port}/here`, { method: 'POST', body });
      expect(await answer.text()).toBe('POST /here 500000\n');
    }
    const together = await Promise.all(Array.from({ length: 100 }, () => fetch(`http://127.0.0.1:${port}/`)));
    expect(together.map(({ status }) => status)).toEqual(together.map(() => 200));
    end();
    await done;
  });

  it('proxies to nodes, pods and Services', async () => {
    const raw = async (path: string): Promise<string> => (await cluster.kubectl('get', '--raw', path)).stdout;
    expect(await raw('/api/v1/nodes/node-a/proxy/metrics/cadvisor')).toContain('# TYPE container_cpu_usage_seconds_total counter\n');
    expect(await raw('/api/v1/namespaces/default/pods/box:8080/proxy/a?b=1')).toBe('GET /a?b=1 0\n');
    expect(await raw('/api/v1/namespaces/default/services/box:80/proxy/c/')).toBe('GET /c/ 0\n');
  });

  it('says what a simulated pod cannot do', async () => {
    expect((await cluster.kubectl('exec', 'pretended', '--', 'ls')).stderr).toContain('node sim-0 is simulated');
  });

  // Late, because nodes are looked at every 15 seconds.
  it('tells what pods and nodes use', async () => {
    let shown: CommandResult | undefined;
    await until(
      async () => {
        shown = await cluster.kubectl('top', 'pods', '--containers', '--no-headers');
        return shown.code === 0 && shown.stdout.includes('side');
      },
      { timeoutMs: 60_000, intervalMs: 500, what: () => `usage of pods: ${shown?.stderr}` },
    );
    const main = shown?.stdout.split('\n').find((line) => /^box\s+main/.test(line));
    // A Node program holds some dozens of MiB.
    expect(Number(/(\d+)Mi/.exec(main ?? '')?.[1])).toBeGreaterThan(5);
    const { stdout } = await cluster.kubectl('top', 'nodes', '--no-headers');
    expect(stdout).toMatch(/^node-[ab]\s+\d+m\s+\d+%\s+\d+Mi\s+\d+%/m);
  }, 90_000);
});

import { expect, it } from 'vitest';
import { run } from '../../support/cluster.ts';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import { basic, type ContainerWorld, marker, mirrorLogin, ownLogin, socketOf } from './world.ts';

/** Images: where they come from, by which secrets, and how long they stay. */
export function imageTests(world: ContainerWorld): void {
  const { kubectl, apply, eventsOf } = world;

  it('say why an image cannot be had, and how a program ended', async () => {
    await kubectl('run', 'missing', `--image=localhost/${marker}:1`, '--restart=Never');
    await kubectl(
      'run',
      'failing',
      `--image=${busyboxImage}`,
      '--restart=Never',
      '--',
      'sh',
      '-c',
      'echo why > /dev/termination-log; exit 3',
    );
    const read = (name: string, path: string) => kubectl('get', 'pod', name, '-o', `jsonpath={.status.containerStatuses[0].state.${path}}`);
    await until(async () => /ErrImagePull|ImagePullBackOff/.test(await read('missing', 'waiting.reason')), { what: 'a failed pull' });
    await until(async () => (await read('failing', 'terminated.exitCode')) === '3', { what: 'the end' });
    expect(await read('failing', 'terminated.message')).toBe('why\n');
    await kubectl('delete', 'pod', 'missing', 'failing', '--wait=false');
  });

  it('get private images by the secrets of their pod or account, and ask again where the policy says so', async () => {
    const { username, password } = ownLogin;
    const flags = [`--docker-server=${world.registry.host}`, `--docker-username=${username}`, `--docker-password=${password}`];
    await kubectl('create', 'secret', 'docker-registry', 'pull', ...flags);
    await kubectl('create', 'serviceaccount', 'puller');
    await kubectl('patch', 'serviceaccount', 'puller', '-p', '{"imagePullSecrets":[{"name":"pull"}]}');
    const podOf = (name: string, spec: object, container: object = {}) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        restartPolicy: 'Never',
        ...spec,
        containers: [{ name: 'main', image: `${world.registry.host}/team/app:1`, command: ['echo', 'pulled'], ...container }],
      },
    });
    const done = async (object: ReturnType<typeof podOf>): Promise<void> => {
      await apply(object);
      await kubectl('wait', `pod/${object.metadata.name}`, '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
    };
    await apply(podOf('stranger', { imagePullSecrets: [{ name: 'missing' }] }));
    await until(async () => /ErrImagePull|ImagePullBackOff/.test(await kubectl('get', 'pod', 'stranger')), { what: 'a refused pull' });
    const refusals = await eventsOf('stranger');
    expect(refusals).toContain(`Pulling: Pulling image "${world.registry.host}/team/app:1"`);
    expect(refusals).toContain('FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing);');
    expect(refusals).toMatch(/Failed: Failed to pull image ".*": .*(?:401|authorization|unauthorized)/i);
    expect(refusals).not.toContain(password);
    await apply(podOf('never', {}, { imagePullPolicy: 'Never' }));
    await until(async () => (await kubectl('get', 'pod', 'never')).includes('ErrImageNeverPull'), {
      what: 'an image that is not pulled',
    });

    await done(podOf('by-secret', { imagePullSecrets: [{ name: 'pull' }] }));
    expect(await eventsOf('by-secret')).toMatch(
      /Pulled: Successfully pulled image ".*" in [\d.]+s \([\d.]+s including waiting\)\. Image size: \d+ bytes\./,
    );
    const first = world.registry.pulls.length;
    expect(first).toBeGreaterThan(0);
    await done(podOf('present', {}));
    expect(world.registry.pulls).toHaveLength(first);
    expect(await eventsOf('present')).toContain('already present on machine');
    // The tag decides where the pod does not.
    await done(podOf('latest', { serviceAccountName: 'puller' }, { image: `${world.registry.host}/team/app` }));
    const second = world.registry.pulls.length;
    await done(podOf('latest-again', { serviceAccountName: 'puller' }, { image: `${world.registry.host}/team/app` }));
    expect(world.registry.pulls.slice(second)).toContain('team/app:latest');
    await kubectl('delete', 'pod', 'stranger', 'never', 'by-secret', 'present', 'latest', 'latest-again', '--wait=false');
  });

  it('get images by the mirrors of the machine, whose passwords no other host sees', async () => {
    await kubectl('run', 'mirrored', '--image=registry.example/far/app:1', '--restart=Never', '--', 'true');
    await kubectl('wait', 'pod/mirrored', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=30s');
    expect(world.mirror.pulls).toContain('far/app:1');
    expect([...world.mirror.credentials]).toEqual([basic(mirrorLogin)]);
    expect([...world.registry.credentials]).toEqual([basic(ownLogin)]);
    await kubectl('delete', 'pod', 'mirrored', '--wait=false');
  });

  it('keep the images of archives from their collection, and name a file that is no archive', async () => {
    expect(await eventsOf('node-a')).toMatch(
      /ImageImportFailed: containerd takes no images from \S+notes\.tar: .+\. Make the archive again/,
    );
    const socket = await socketOf(world.cluster.dataDirectory);
    const { stdout } = await run('ctr', ['-a', socket, '-n', 'k8s.io', 'images', 'ls', 'labels."io.cri-containerd.pinned"==pinned']);
    expect(stdout).toContain(busyboxImage);
    expect(stdout).not.toContain('/team/app');
  });
}

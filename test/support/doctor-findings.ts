import type { Finding } from '../../src/cli/doctor.ts';

const makeRoom = /Make room on the file system of \S+ \(df -h, df -i\), or start with another --data-dir\./;

/** Result, then what, why and fix. A text is exact, and a pattern is for all of it. Without a third one there is no why. */
type Row = readonly [Finding['result'], string | RegExp, string | RegExp | undefined, string | RegExp];

/** Every finding of doctor that is no pass, but for those below. */
export const findingsAnywhere: readonly Row[] = [
  ['problem', 'git was not found on PATH', 'Pushes and fetches need it.', 'Install git 2.30 or newer (Debian: apt install git).'],
  [
    'problem',
    'git version 2.20.1 is too old',
    'Pushes and fetches need a newer one.',
    'Install git 2.30 or newer (Debian: apt install git).',
  ],
  [
    'problem',
    /\d+ MiB of \d+ MiB are free for \S+/,
    /Below \d+ MiB the node takes no new pods, and a full disk refuses writes\./,
    makeRoom,
  ],
  ['problem', /\d+ of \d+ inodes are free/, 'Without one no file can be made, whatever room there is.', makeRoom],
  [
    'problem',
    /port \d+ \(--api-port\) is taken/,
    /Another program listens there: .+\./,
    /Stop it, or start with --api-port 0, which takes any free port\./,
  ],
  ['note', /\S+ has no cluster yet/, undefined, /Start one: midship up --data-dir \S+/],
  ['note', 'it is in etcd, which says how it is', undefined, 'See: etcdctl endpoint status --cluster, and etcdctl alarm list'],
  [
    'problem',
    /the clock is \d+ s behind the newest write of the store/,
    'It was set back: certificates may count as not yet valid, and leases as held.',
    'Set the clock, and keep it by NTP (timedatectl set-ntp true).',
  ],
  ['problem', /\S+ has mode \d{4}/, 'Other users of this machine may read secrets of the cluster.', /chmod go= \S+/],
  [
    'problem',
    /.+ \(-?\d+ days left\)/,
    'Clients refuse a certificate that has ended.',
    'An authority has to be replaced: midship down, midship certs rotate --ca, midship up.',
  ],
  ['problem', /[^\n]+/, 'The API cannot serve what cannot be read.', 'See each line by: midship repair check'],
  [
    'note',
    'no cluster runs here; nodes, sources and webhooks were not asked',
    undefined,
    'Start it, or name another one with --kubeconfig FILE.',
  ],
  [
    'problem',
    'https://127.0.0.1:1 does not answer',
    /GET https:\S+: connect ECONNREFUSED 127\.0\.0\.1:1/,
    'Is the cluster running, and is that its address? See: midship status',
  ],
  ['note', /this user may not list \S+(?: \S+)?/, undefined, 'Use the kubeconfig of an administrator: --kubeconfig FILE.'],
  [
    'note',
    'the metrics of the server cannot be read, which say how its store is',
    /.+/,
    'Use the kubeconfig of an administrator: --kubeconfig FILE.',
  ],
  ['problem', /node \S+ is not ready/, 'It has never reported.', /See: kubectl describe node \S+/],
  ['problem', 'node pressed reports MemoryPressure', 'It takes no new pods until that has passed.', 'See: kubectl describe node pressed'],
  [
    'note',
    'node pressed has no control groups for the limits of pods',
    'no control group is ours (EACCES)',
    'Run the cluster as root, or as a service of systemd, which gives the right (Delegate=yes).',
  ],
  ['problem', 'source flux-system/infra cannot be read', 'the token was refused', 'See: midship get sources flux-system/infra'],
  ['problem', 'webhook flux-system/hook takes no calls', 'the token was refused', 'See: kubectl describe receiver -n flux-system hook'],
  [
    'problem',
    'webhook fail.example.com of ValidatingWebhookConfiguration policy cannot be reached',
    'Service default/gone has no ready pod, and writes that it must approve are refused.',
    'Start its pods, or: kubectl delete validatingwebhookconfiguration policy',
  ],
  ['problem', /and \d+ more/, 'The first 10 of a check are shown.', 'Repair those, then run midship doctor again.'],
  ['note', 'they are of versions 0.1.0 and 0.2.0', undefined, 'Upgrade the rest, one after the other.'],
  [
    'problem',
    /server host-c has not renewed its Lease for \d+ s/,
    'It was stopped hard, is halted, or has lost the store.',
    'Look there: journalctl -u midship. A machine that is gone: kubectl -n kube-system delete lease c',
  ],
  [
    'problem',
    /the clock of server host-\w is \d+ s ahead of this one/,
    'Certificates and tokens that it issues are not valid yet elsewhere.',
    'Keep both clocks by NTP (timedatectl set-ntp true).',
  ],
  [
    'problem',
    /holder-midship-housekeeping has not renewed kube-system\/midship-housekeeping in time|nobody holds the Lease flux-system\/midship-gitops/,
    'Until a server holds it, that work is not done.',
    'Look for "leader-election" in the logs of the servers, and whether one runs without --disable for that part.',
  ],
];
/** Findings about etcd: a real one, and metrics as one in trouble has them. */
export const findingsOfEtcd: readonly Row[] = [
  [
    'problem',
    /\S+:2379 does not answer the server/,
    'Without it fewer members may fail before writes stop.',
    /Look there: journalctl -u etcd, and etcdctl --endpoints \S+:2379 endpoint health/,
  ],
  [
    'problem',
    /no member answers|it has no leader/,
    'Without a quorum of members nothing is written, and reads are refused.',
    'Start members until more than half run: etcdctl endpoint status --cluster. If they are lost: etcdutl snapshot restore',
  ],
  [
    'problem',
    'the alarm NOSPACE is raised',
    'The database reached its quota, and etcd refuses writes until a person disarms the alarm.',
    'Make room, then disarm: etcdctl defrag --cluster, and etcdctl alarm disarm. Or raise --quota-backend-bytes of etcd first.',
  ],
  [
    'problem',
    'the alarm CORRUPT is raised',
    'Members hold different data, and etcd refuses requests.',
    'Find the member that differs: etcdctl endpoint hashkv --cluster. Replace it (etcdctl member remove, then member add), then etcdctl alarm disarm',
  ],
  [
    'problem',
    /the database has \d+ % of its quota of \d+ MiB; \d+ % is in use/,
    'At its quota etcd refuses writes.',
    /Free what is not in use: etcdctl defrag --cluster|Restart each member with a larger --quota-backend-bytes, or delete objects and then: etcdctl defrag --cluster/,
  ],
  [
    'problem',
    /the server has not caught up with the store for \d+ s/,
    'After 10 s it answers 503, and clients go to other servers.',
    'Look at the network between both: etcdctl endpoint status --cluster, and "The watch of etcd broke" in the log of the server.',
  ],
  [
    'note',
    /a member has version \S+, and 3\.\d\.\d+ repairs faults of it/,
    'After a halt of the machine it may answer reads with old values.',
    /Upgrade etcd to 3\.\d\.\d+ or later, one member after the other\./,
  ],
];
export const findingsOfMachine: readonly Row[] = [
  [
    'problem',
    'pods cannot be kept apart, so nodes of processes run none',
    /.+\./,
    'Allow user namespaces, start with --runtime containerd, or accept the risk: --insecure-plain-pods.',
  ],
  ['note', '--runtime containerd is not available', /.+\./, /.+/],
  [
    'note',
    'limits of memory and processes of pods may not be enforced',
    'This user cannot make control groups.',
    'Run as root, or as a service of systemd, which gives the right (Delegate=yes).',
  ],
];

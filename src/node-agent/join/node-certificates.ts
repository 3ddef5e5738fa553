import { X509Certificate } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { isDue, type KeyPair, type Life, lifeOf, tryReadKeyPair, writeKeyPair } from '../../base/pki/key-pair.ts';
import type { LiveKeyPair } from '../../base/pki.ts';
import type { Client } from '../../client/client.ts';
import { type CertificateOrder, orderCertificate } from './certificate-order.ts';

/** The certificates of a joined machine, kept in files and renewed by the cluster. */
export interface NodeCertificates {
  /** By which the agent is `system:node:NAME`. */
  readonly client: LiveKeyPair;
  /** For the kubelet API at `addresses`; the Node has to have them already. */
  server(addresses: readonly string[], client: Client): Promise<LiveKeyPair>;
  /**
   * Replaces what is past two thirds of its life, and hands it to those who use it.
   *
   * @returns names of what was replaced
   */
  renew(): Promise<readonly string[]>;
}

export interface NodeCertificatesOptions {
  /** 0700, made here. */
  readonly directory: string;
  readonly nodeName: string;
  /** Asks by the token of the join; called when there is no certificate that is valid. */
  readonly joiningClient: () => Promise<Client>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

type Order = Pick<CertificateOrder, 'signerName' | 'usage' | 'names'>;

interface Held {
  current: KeyPair;
  life: Life;
  readonly name: string;
  readonly order: Order;
  readonly users: (() => void | Promise<void>)[];
}

/**
 * Reads the machine's client certificate, or asks for its first one.
 *
 * @throws JoinError when the cluster refuses
 */
export async function openNodeCertificates(options: NodeCertificatesOptions): Promise<NodeCertificates> {
  const { directory, nodeName, joiningClient, clock, signal } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const held: Held[] = [];
  let renewing: Client | undefined;

  const obtain = async (name: string, order: Order, client: () => Promise<Client>): Promise<LiveKeyPair> => {
    const stored = await tryReadKeyPair(directory, name);
    let current = stored !== undefined && isUsable(stored, order, clock.now()) ? stored : undefined;
    if (current === undefined) {
      current = await orderCertificate({ ...order, client: await client(), clock, signal });
      await writeKeyPair(directory, name, current);
    }
    const pair: Held = { current, life: lifeOf(current.certificate), name, order, users: [] };
    held.push(pair);
    return {
      get certificate() {
        return pair.current.certificate;
      },
      get key() {
        return pair.current.key;
      },
      onRenewed: (apply) => void pair.users.push(apply),
    };
  };

  const subject = { commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] };
  const client = await obtain(
    'node-client',
    { signerName: 'kubernetes.io/kube-apiserver-client-kubelet', usage: 'client auth', names: subject },
    joiningClient,
  );
  return {
    client,
    server(addresses, ownClient) {
      renewing = ownClient;
      const names = {
        ...subject,
        dnsNames: addresses.filter((address) => isIP(address) === 0),
        ipAddresses: addresses.filter((address) => isIP(address) !== 0),
      };
      return obtain('node-server', { signerName: 'kubernetes.io/kubelet-serving', usage: 'server auth', names }, async () => ownClient);
    },
    async renew() {
      const renewed: string[] = [];
      for (const pair of held) {
        if (renewing === undefined || !isDue(pair.life, clock.now())) continue;
        pair.current = await orderCertificate({ ...pair.order, client: renewing, clock, signal });
        await writeKeyPair(directory, pair.name, pair.current);
        pair.life = lifeOf(pair.current.certificate);
        for (const apply of pair.users) await apply();
        renewed.push(pair.name);
      }
      return renewed;
    },
  };
}

/** Valid now, for this node and these addresses. One past two thirds of its life still serves to ask for the next. */
function isUsable({ certificate }: KeyPair, { names }: Order, now: number): boolean {
  const { from, to } = lifeOf(certificate);
  if (now < from || now >= to) return false;
  const parsed = new X509Certificate(certificate);
  const lines = parsed.subject.split('\n');
  return (
    lines.includes(`CN=${names.commonName}`) &&
    (names.dnsNames ?? []).every((name) => parsed.checkHost(name) !== undefined) &&
    (names.ipAddresses ?? []).every((address) => parsed.checkIP(address) !== undefined)
  );
}

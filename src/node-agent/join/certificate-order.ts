import { certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import type { Clock } from '../../base/clock.ts';
import { createCertificateRequest, type NewCertificateRequest } from '../../base/pki/certificate-request.ts';
import type { KeyPair } from '../../base/pki/key-pair.ts';
import type { Client } from '../../client/client.ts';
import { untilObject } from '../../client/until-object.ts';
import { JoinError } from './join-error.ts';

export interface CertificateOrder {
  readonly client: Client;
  readonly signerName: string;
  /** `client auth` or `server auth`. */
  readonly usage: string;
  readonly names: NewCertificateRequest;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Nobody approves by hand what an agent waits for; a person who wants to has the request for an hour. */
const patienceMs = 60_000;

/**
 * Asks the cluster for a certificate by a CertificateSigningRequest, as a kubelet does, and waits until it is signed.
 *
 * @throws JoinError when it is denied, when the signer refuses it, and when nobody approves it within a minute
 */
export async function orderCertificate({ client, signerName, usage, names, clock, signal }: CertificateOrder): Promise<KeyPair> {
  const { request, key } = await createCertificateRequest(names);
  const created = await client.create(
    certificateSigningRequests,
    {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { generateName: 'node-csr-' },
      spec: { request: Buffer.from(request).toString('base64'), signerName, usages: ['digital signature', usage] },
    },
    { signal },
  );
  const { name } = created.metadata;
  const patience = new AbortController();
  const cancel = clock.after(patienceMs, () => patience.abort());
  try {
    const certificate = await untilObject(
      { client, resource: certificateSigningRequests, ref: { name }, clock, signal: AbortSignal.any([signal, patience.signal]) },
      ({ status }) => {
        const refusal = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
        return status?.certificate || (refusal === undefined ? undefined : { refusal });
      },
    );
    if (typeof certificate === 'string') return { certificate: Buffer.from(certificate, 'base64').toString(), key };
    const { refusal } = certificate;
    throw new JoinError(`the cluster refuses the certificate of ${names.commonName}`, {
      why: refusal.message ?? refusal.reason ?? refusal.type,
      fix: fixOf(refusal.reason),
    });
  } catch (err) {
    if (!patience.signal.aborted || signal.aborted) throw err;
    throw new JoinError(`nobody approved the certificate of ${names.commonName}`, {
      why: `The request ${name} waited ${patienceMs / 1_000} s.`,
      fix: `Approve it and start again: kubectl certificate approve ${name}`,
      cause: err,
    });
  } finally {
    cancel();
  }
}

const fixOf = (reason: string | undefined): string =>
  reason === 'NodeNameTaken'
    ? 'Choose another name with --node-name, or remove the other machine: kubectl delete node NAME'
    : 'See "kubectl get csr" on the server.';

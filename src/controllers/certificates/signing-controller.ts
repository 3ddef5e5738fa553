import { type CertificateSigningRequest, certificateSigningRequests } from '../../api/certificates/v1/certificate-signing-request.ts';
import { timestampOf } from '../../base/clock.ts';
import { type CertificateRequest, parseCertificateRequest } from '../../base/pki/certificate-request.ts';
import type { Pki } from '../../base/pki.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { messageOf } from '../refusals.ts';
import { certificateOf, hasCondition, requestPemOf } from './request-conditions.ts';
import { isOwnSigner, refusalOf } from './signers.ts';

export interface CertificateSigningOptions extends ControllerDependencies {
  readonly pki: Pick<Pki, 'signRequest'>;
}

/** Lifetime of a certificate whose request asks for nothing shorter. */
const maxLifetimeSeconds = 365 * 86_400;
const minLifetimeSeconds = 600;

/** Signs approved requests for the signers of every cluster with the cluster's authority; a request that breaks a signer's rules fails. */
export function createCertificateSigningController({ pki, ...dependencies }: CertificateSigningOptions): Controller {
  const { client, informers, clock } = dependencies;
  const informer = informers.get(certificateSigningRequests);

  const controller = createInformedController(dependencies, {
    name: 'csrsigning',
    reconcile,
  });
  informer.addHandler(({ after }) => {
    if (after !== undefined && isWaiting(after)) controller.enqueue(after.metadata.name);
  });
  return controller;

  async function reconcile(name: string, { signal }: ReconcileContext): Promise<undefined> {
    const request = informer.get({ name });
    if (request === undefined || !isWaiting(request)) return;
    const status = await decide(request);
    try {
      await client.update(
        certificateSigningRequests,
        { ...request, status: { ...request.status, ...status } },
        { subresource: 'status', signal },
      );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /**
   * The status to write: the certificate, or the reason why there is none.
   *
   * @throws Error when the authority cannot sign now; the next try may
   */
  async function decide(request: CertificateSigningRequest): Promise<Partial<NonNullable<CertificateSigningRequest['status']>>> {
    const { signerName, usages = [], expirationSeconds = maxLifetimeSeconds } = request.spec;
    let names: CertificateRequest;
    let refusal: string | undefined;
    try {
      names = await parseCertificateRequest(requestPemOf(request));
      refusal = refusalOf(signerName, names, usages);
    } catch (err) {
      return failed(request, messageOf(err));
    }
    if (refusal !== undefined) return failed(request, refusal);
    const lifetimeMs = Math.min(Math.max(expirationSeconds, minLifetimeSeconds), maxLifetimeSeconds) * 1_000;
    const certificate = await pki.signRequest(names, { usages, lifetimeMs });
    return { certificate: Buffer.from(certificate, 'latin1').toString('base64') };
  }

  /** For a request that nothing but another one repairs. */
  function failed(request: CertificateSigningRequest, message: string): Partial<NonNullable<CertificateSigningRequest['status']>> {
    const failure = {
      type: 'Failed',
      status: 'True',
      reason: 'SignerValidationFailure',
      message,
      lastUpdateTime: timestampOf(clock.now()),
    };
    return { conditions: [...(request.status?.conditions ?? []), failure] };
  }
}

const isWaiting = (request: CertificateSigningRequest): boolean =>
  isOwnSigner(request.spec.signerName) &&
  hasCondition(request, 'Approved') &&
  !hasCondition(request, 'Denied') &&
  !hasCondition(request, 'Failed') &&
  certificateOf(request) === '';

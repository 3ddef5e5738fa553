import { type CertificateSigningRequest, certificateSigningRequests } from '../api/certificates/v1/certificate-signing-request.ts';
import { invalidValue } from '../api/field-errors.ts';
import { type CertificateRequest, parseCertificateRequest } from '../base/pki/certificate-request.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import { forbidden, invalid } from '../machinery/status-error.ts';
import type { Authorizer } from './authorizer.ts';
import type { UserInfo } from './user.ts';

/**
 * Admission checks of CertificateSigningRequests beyond roles. A user who approves or signs must be allowed to for that
 * signer, and no certificate may name the group that may do everything.
 *
 * @see Kubernetes, "Admission control", CertificateApproval, CertificateSigning, CertificateSubjectRestriction
 */
export interface CertificateChecks {
  /** Checks a new request. Resolves for other kinds. @throws StatusError `Forbidden`, `Invalid` */
  checkNew(kind: KindDefinition, object: KubeObject): Promise<void>;
  /** Checks a change through `approval` or `status`. @throws StatusError `Forbidden` */
  checkChange(kind: KindDefinition, change: RequestChange): void;
}

export interface RequestChange {
  readonly user: UserInfo;
  readonly subresource: string | undefined;
  readonly before: KubeObject;
  /** As the client wants it. */
  readonly after: KubeObject;
}

const clientSigner = 'kubernetes.io/kube-apiserver-client';
const allPowerful = 'system:masters';

export const isCertificateRequest = ({ group, resource }: KindDefinition): boolean =>
  group === certificateSigningRequests.group && resource === certificateSigningRequests.resource;

export function createCertificateChecks({ decide }: Pick<Authorizer, 'decide'>): CertificateChecks {
  /** The verb on the signer itself, or on all of its domain. */
  const may = (user: UserInfo, verb: 'approve' | 'sign', signerName: string): boolean =>
    [signerName, `${signerName.split('/')[0]}/*`].some(
      (name) => decide(user, { verb, group: certificateSigningRequests.group, resource: 'signers', name }).allowed,
    );

  return {
    async checkNew(kind, object) {
      if (!isCertificateRequest(kind)) return;
      const { spec, metadata } = (object ?? {}) as Partial<CertificateSigningRequest>;
      const encoded: unknown = spec?.request;
      // Validation refuses other values and invalid PEM, together with all other errors.
      if (typeof encoded !== 'string') return;
      const pem = Buffer.from(encoded, 'base64').toString('latin1');
      if (!pem.includes('-----BEGIN CERTIFICATE REQUEST-----')) return;
      let request: CertificateRequest;
      try {
        request = await parseCertificateRequest(pem);
      } catch (err) {
        throw invalid(kind, metadata?.name ?? '', [
          invalidValue('spec.request', encoded, err instanceof Error ? err.message : String(err)),
        ]);
      }
      if (spec?.signerName === clientSigner && request.organizations.includes(allPowerful)) {
        throw forbidden(kind, metadata?.name ?? '', `use of ${clientSigner} signer with ${allPowerful} group is not allowed`);
      }
    },

    checkChange(kind, { user, subresource, before, after }) {
      if (!isCertificateRequest(kind)) return;
      const old = before as CertificateSigningRequest;
      const { status } = after as CertificateSigningRequest;
      const { signerName } = old.spec;
      const sameConditions = deepEqual(status?.conditions ?? [], old.status?.conditions ?? []);
      if (subresource === 'approval') {
        if (sameConditions || may(user, 'approve', signerName)) return;
        throw forbidden(kind, old.metadata.name, `user not permitted to approve requests with signerName ${JSON.stringify(signerName)}`);
      }
      if (subresource !== 'status') return;
      const sameCertificate = (status?.certificate ?? '') === (old.status?.certificate ?? '');
      if ((sameConditions && sameCertificate) || may(user, 'sign', signerName)) return;
      throw forbidden(kind, old.metadata.name, `user not permitted to sign requests with signerName ${JSON.stringify(signerName)}`);
    },
  };
}

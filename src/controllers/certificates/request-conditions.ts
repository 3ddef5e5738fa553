import type { CertificateSigningRequest } from '../../api/certificates/v1/certificate-signing-request.ts';

type Condition = NonNullable<NonNullable<CertificateSigningRequest['status']>['conditions']>[number];

/**
 * True when the request was approved, denied or failed. Only the type counts: the status of these conditions is always
 * True.
 */
export const hasCondition = (request: CertificateSigningRequest, type: 'Approved' | 'Denied' | 'Failed'): boolean =>
  findCondition(request, type) !== undefined;

export const findCondition = ({ status }: CertificateSigningRequest, type: 'Approved' | 'Denied' | 'Failed'): Condition | undefined =>
  status?.conditions?.find((condition) => condition.type === type);

/** PEM of the certificate that was issued; empty as long as none was. */
export const certificateOf = ({ status }: CertificateSigningRequest): string =>
  Buffer.from(status?.certificate ?? '', 'base64').toString('latin1');

/** The request's own PEM text. */
export const requestPemOf = ({ spec }: CertificateSigningRequest): string => Buffer.from(spec.request, 'base64').toString('latin1');

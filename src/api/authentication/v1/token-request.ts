import type { TokenRequest as V1TokenRequest } from 'kubernetes-types/authentication/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** Body and answer of `serviceaccounts/NAME/token`; has no collection of its own. */
export const tokenRequests = reviewKind<TokenRequest>({
  group: 'authentication.k8s.io',
  version: 'v1',
  resource: 'tokenrequests',
  kind: 'TokenRequest',
  singular: 'tokenrequest',
  namespaced: true,
  schemaName: 'io.k8s.api.authentication.v1.TokenRequest',
});

export type TokenRequest = Kube<V1TokenRequest>;

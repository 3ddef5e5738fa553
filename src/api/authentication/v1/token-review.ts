import type { TokenReview as V1TokenReview } from 'kubernetes-types/authentication/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** Whose token is this? */
export const tokenReviews = reviewKind<TokenReview>({
  group: 'authentication.k8s.io',
  version: 'v1',
  resource: 'tokenreviews',
  kind: 'TokenReview',
  singular: 'tokenreview',
  namespaced: false,
  schemaName: 'io.k8s.api.authentication.v1.TokenReview',
});

export type TokenReview = Kube<V1TokenReview>;

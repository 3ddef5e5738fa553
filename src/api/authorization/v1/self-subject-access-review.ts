import type { SelfSubjectAccessReview as V1SelfSubjectAccessReview } from 'kubernetes-types/authorization/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** May I? */
export const selfSubjectAccessReviews = reviewKind<SelfSubjectAccessReview>({
  group: 'authorization.k8s.io',
  version: 'v1',
  resource: 'selfsubjectaccessreviews',
  kind: 'SelfSubjectAccessReview',
  singular: 'selfsubjectaccessreview',
  namespaced: false,
  schemaName: 'io.k8s.api.authorization.v1.SelfSubjectAccessReview',
});

export type SelfSubjectAccessReview = Kube<V1SelfSubjectAccessReview>;

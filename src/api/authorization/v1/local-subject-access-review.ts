import type { LocalSubjectAccessReview as V1LocalSubjectAccessReview } from 'kubernetes-types/authorization/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** May this user, in this namespace? A role of the namespace is enough to ask. */
export const localSubjectAccessReviews = reviewKind<LocalSubjectAccessReview>({
  group: 'authorization.k8s.io',
  version: 'v1',
  resource: 'localsubjectaccessreviews',
  kind: 'LocalSubjectAccessReview',
  singular: 'localsubjectaccessreview',
  namespaced: true,
  schemaName: 'io.k8s.api.authorization.v1.LocalSubjectAccessReview',
});

export type LocalSubjectAccessReview = Kube<V1LocalSubjectAccessReview>;

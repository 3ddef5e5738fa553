import type { SubjectAccessReview as V1SubjectAccessReview } from 'kubernetes-types/authorization/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** May this user? */
export const subjectAccessReviews = reviewKind<SubjectAccessReview>({
  group: 'authorization.k8s.io',
  version: 'v1',
  resource: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
  singular: 'subjectaccessreview',
  namespaced: false,
  schemaName: 'io.k8s.api.authorization.v1.SubjectAccessReview',
});

export type SubjectAccessReview = Kube<V1SubjectAccessReview>;

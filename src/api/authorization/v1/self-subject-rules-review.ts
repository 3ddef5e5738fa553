import type { SelfSubjectRulesReview as V1SelfSubjectRulesReview } from 'kubernetes-types/authorization/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** What may I do in this namespace? */
export const selfSubjectRulesReviews = reviewKind<SelfSubjectRulesReview>({
  group: 'authorization.k8s.io',
  version: 'v1',
  resource: 'selfsubjectrulesreviews',
  kind: 'SelfSubjectRulesReview',
  singular: 'selfsubjectrulesreview',
  namespaced: false,
  schemaName: 'io.k8s.api.authorization.v1.SelfSubjectRulesReview',
});

export type SelfSubjectRulesReview = Kube<V1SelfSubjectRulesReview>;

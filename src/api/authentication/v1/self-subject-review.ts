import type { KubeObject } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** Who am I? */
export const selfSubjectReviews = reviewKind<SelfSubjectReview>({
  group: 'authentication.k8s.io',
  version: 'v1',
  resource: 'selfsubjectreviews',
  kind: 'SelfSubjectReview',
  singular: 'selfsubjectreview',
  namespaced: false,
  schemaName: 'io.k8s.api.authentication.v1.SelfSubjectReview',
});

export interface SelfSubjectReview extends KubeObject {
  readonly status?: {
    readonly userInfo: {
      readonly username: string;
      readonly uid?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

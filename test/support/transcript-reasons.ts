import type { Outcome } from './transcript-replay.ts';

/**
 * Why answers differ, in the order in which it is asked. What is called unfinished is to be made the same; the rest is meant to stay.
 */
const reasons: readonly (readonly [reason: string, applies: (outcome: Outcome, text: string) => boolean])[] = [
  ['Meant: objects are not answered as protobuf', ({ exchange }) => exchange.headers.accept === 'application/vnd.kubernetes.protobuf'],
  [
    'Unfinished: the kind is not served yet',
    (_, text) => text.includes('here 404 404 page not found') || text.includes('the server could not find the requested resource'),
  ],
  ['Unfinished: not supported yet', (_, text) => text.includes('"reason":"NotImplemented"')],
  ['Unfinished: admission plugins', ({ transcript }) => transcript.area === 'api/admission'],
  ['Unfinished: pods get no service-account token yet', (_, text) => text.includes('kube-api-access-')],
  ['Unfinished: discovery', ({ transcript }) => transcript.area === 'api/discovery'],
];

export const reasonOf = (outcome: Outcome): string => {
  const text = outcome.differences.join('\n');
  return reasons.find(([, applies]) => applies(outcome, text))?.[0] ?? 'Unfinished';
};

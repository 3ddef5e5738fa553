import type { Outcome } from './transcript-replay.ts';

/** Reasons why answers differ; the first match counts. Intended differences stay, unfinished ones are to be removed. */
const reasons: readonly (readonly [reason: string, applies: (outcome: Outcome, text: string) => boolean])[] = [
  [
    'Meant: objects are read and never written as protobuf',
    ({ exchange }) => exchange.headers.accept === 'application/vnd.kubernetes.protobuf',
  ],
  ['Meant: objects are read and never written as protobuf', (_, text) => text.startsWith('text: "k8s\\u0000')],
  ['Not recorded: who the users of the suite were, and what they might do', ({ transcript }) => transcript.name === 'second/authn-authz'],
  ['Meant: health checks are our own', ({ exchange }) => /^\/((readyz|livez|healthz)\?verbose|$)/.test(exchange.path)],
  ["Meant: pages for debugging upstream's program are not there", ({ exchange }) => /^\/(flagz|statusz|debug\/)/.test(exchange.path)],
  ['Meant: tokens are signed with ES256', (_, text) => text.includes('ES256') || text.includes('keys: [object Object]')],
  ['Meant: the administrator of the test is called otherwise', (_, text) => text.includes('.status.userInfo.username: "admin"')],
  ['Apart: needs controllers, a scheduler or a node', ({ transcript }) => /^kubectl (07|08|09|11)$/.test(transcript.area)],
  ['Apart: needs a node', (_, text) => text.includes('connection refused')],
  ['Unfinished: other', () => true],
];

export const reasonOf = (outcome: Outcome): string => {
  const text = outcome.differences.join('\n');
  return reasons.find(([, applies]) => applies(outcome, text))?.[0] ?? 'Unfinished: other';
};

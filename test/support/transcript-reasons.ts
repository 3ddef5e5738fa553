import type { Outcome } from './transcript-replay.ts';

type Applies = (outcome: Outcome, text: string) => boolean;

/** Exchanges of one recording, by the numbers of their lines. */
const lines =
  (transcript: string, ...numbers: readonly number[]): Applies =>
  (outcome) =>
    outcome.transcript.name === transcript && numbers.includes(outcome.exchange.line);

const anyOf =
  (...conditions: readonly Applies[]): Applies =>
  (outcome, text) =>
    conditions.some((applies) => applies(outcome, text));

/** The first match counts. Intended differences stay, unfinished ones are to be removed; an exchange without a reason fails the test. */
const reasons: readonly (readonly [reason: string, applies: Applies])[] = [
  [
    'Meant: documents of discovery have no protobuf form',
    ({ exchange }, text) =>
      exchange.headers.accept === 'application/vnd.kubernetes.protobuf' || text.includes('406: Not Acceptable\\n\\nAvailable'),
  ],
  [
    'Meant: health checks and the paths of the root are our own',
    ({ exchange }) => /^\/((readyz|livez|healthz)\?verbose|readyz\/informer-sync$|$)/.test(exchange.path),
  ],
  ["Meant: pages for debugging upstream's program are not there", ({ exchange }) => /^\/(flagz|statusz|debug\/)/.test(exchange.path)],
  ['Meant: tokens are signed with ES256', (_, text) => text.includes('ES256') || text.includes('keys: [object Object]')],
  ['Meant: the administrator of the test is called otherwise', (_, text) => text.includes('.status.userInfo.username: "admin"')],
  [
    'Meant: the error of a patch shows the patch, as the object may be a Secret',
    anyOf((_, text) => text.startsWith('.message: " \\"\\" is invalid: patch: Invalid value'), lines('second/json-merge-patch', 36, 42)),
  ],
  [
    'Meant: a cause is listed once',
    anyOf((_, text) => /^\.details\.causes: \d+ entries \( *\), here \d+ \( *\)/.test(text), lines('second/services', 111)),
  ],
  ['Meant: operations of a JSON patch are those of RFC 6902', lines('second/json-merge-patch', 13, 28)],
  ['Meant: what upstream serves by accident (any method, a slash too many) is refused', lines('second/transport', 57, 77, 78, 97, 109)],
  ['Meant: `timeout=` is answered as JSON, so that clients read the reason', lines('second/transport', 206)],
  [
    'Meant: Accept (browsers may read discovery, `q=0` refuses, errors list our types)',
    anyOf(lines('second/transport', 149, 178, 181, 183, 185, 186), lines('second/authn-authz', 75)),
  ],
  ['Meant: a second YAML document is refused, not ignored', lines('second/ssa', 50)],
  ['Meant: fields behind a gate that is off upstream are kept, not dropped', lines('second/immutable-validation', 117, 258)],
  ['Meant: a list that must be there and holds nothing is [], not null', lines('components/kube-controller-manager.samples', 71)],
  ['Meant: addresses are IPv4 and of one range', lines('second/services', 30, 101)],
  [
    'Meant: other words for the same refusal',
    anyOf(
      lines('second/authn-authz', 15, 24, 55, 58, 104),
      lines('second/immutable-validation', 24, 29, 62, 119),
      lines('second/ssa', 49, 54),
      lines('second/subresources', 7, 127),
    ),
  ],
  [
    'Not recorded: the whole request (bodies were cut, queries were read by the recorder)',
    anyOf(lines('second/transport', 188, 189, 190, 191, 199, 203, 204), lines('second/json-merge-patch', 40)),
  ],
  [
    'Not recorded: the whole answer (the suite kept its own reading of it)',
    anyOf(lines('second/subresources', 50), lines('second/transport', 152, 153, 198)),
  ],
  [
    'Not recorded: what the cluster held besides (samples are single exchanges)',
    anyOf(
      lines('components/kube-controller-manager.samples', 35, 60, 84, 88, 89, 92, 123, 125),
      lines('components/kube-scheduler.samples', 18),
      lines('components/kubelet.samples', 18),
    ),
  ],
  ['Not recorded: groups and extra of the impersonated user', lines('second/authn-authz', 53)],
  [
    'Not recorded: the object as it was before the request',
    anyOf(
      lines('second/immutable-validation', 14, 53, 54, 55, 63, 148, 158),
      lines('second/ssa', 93, 104),
      lines('second/subresources', 101, 135, 136),
      lines('second/services', 75),
    ),
  ],
  [
    'Apart: needs controllers, a scheduler or a node',
    anyOf(({ transcript }) => /^kubectl (07|08|09|11)$/.test(transcript.area), lines('second/authn-authz', 103)),
  ],
  ['Apart: needs a node', (_, text) => text.includes('connection refused')],
  ['Unfinished: an empty Content-Type is refused, not read as JSON', lines('second/transport', 126)],
  ["Unfinished: the owner of a scaled field is shown by the object's version", lines('second/ssa', 91)],
  ['Unfinished: paths with empty, escaped or dot segments', lines('second/transport', 23, 30, 31, 32)],
];

export const noReason = 'No reason';

export const reasonOf = (outcome: Outcome): string => {
  const text = outcome.differences.join('\n');
  return reasons.find(([, applies]) => applies(outcome, text))?.[0] ?? noReason;
};

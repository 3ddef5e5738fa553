import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { mapBounded } from '../../src/base/concurrency.ts';
import { readTranscripts, sampleArea, type Transcript } from '../support/transcript.ts';
import { ObjectIndex } from '../support/transcript-objects.ts';
import { noReason, reasonOf } from '../support/transcript-reasons.ts';
import { type Outcome, replayTranscript } from '../support/transcript-replay.ts';
import { formatDisagreements, formatScore, placeOf, scoreOf, totalsOf } from '../support/transcript-score.ts';

/** In per cent; raised whenever the score rises, never lowered. */
const floor = { all: 98.9, api: 98, clientNode: 100, samples: 93, suites: 89.1, apart: 93 };

const replaysAtOnce = 4;

const readme = 'test/conformance/README.md';
const begin = '<!-- generated: WRITE_TRANSCRIPTS=1 npx vitest run test/conformance/transcripts.test.ts -->';
const end = '<!-- end of what is generated -->';

// Some files only, for work on one of them: TRANSCRIPTS='api/(errors|watch)'.
const { TRANSCRIPTS: only, WRITE_TRANSCRIPTS: write, TRANSCRIPTS_OUTPUT: output } = process.env;

describe('conversations recorded with the real server', () => {
  const all = readTranscripts();
  const transcripts = all.filter(({ name }) => only === undefined || new RegExp(only).test(name));
  const outcomes: Outcome[] = [];

  beforeAll(async () => {
    // Samples were recorded on a cluster of their own, with objects of the same names.
    const isSample = ({ area }: Transcript) => area === sampleArea;
    const ofSamples = new ObjectIndex(all.filter(isSample));
    const ofOthers = new ObjectIndex(all.filter((transcript) => !isSample(transcript)));
    // Each has a server of its own, and waits for events that do not come.
    const replayed = await mapBounded(transcripts, replaysAtOnce, (transcript) =>
      replayTranscript(transcript, isSample(transcript) ? ofSamples : ofOthers),
    );
    outcomes.push(...replayed.flat());
    const table = formatScore(scoreOf(transcripts, outcomes));
    process.stdout.write(`${table}\n`);
    if (output !== undefined) writeFileSync(output, detailsOf(outcomes));
    if (write !== undefined && only === undefined) writeGenerated(`${table}\n\n${formatDisagreements(outcomes, reasonOf)}`);
  }, 600_000);

  it.skipIf(only !== undefined)('are answered the same, up to the score that was reached (needs all recordings)', () => {
    const totals = totalsOf(scoreOf(transcripts, outcomes));
    expect.soft(totals.all, 'counted').toBeGreaterThanOrEqual(floor.all);
    expect.soft(totals.api, 'api').toBeGreaterThanOrEqual(floor.api);
    expect.soft(totals.clientNode, 'client-node').toBeGreaterThanOrEqual(floor.clientNode);
    expect.soft(totals.samples, 'samples').toBeGreaterThanOrEqual(floor.samples);
    expect.soft(totals.suites, 'suites').toBeGreaterThanOrEqual(floor.suites);
    expect.soft(totals.apart, 'apart').toBeGreaterThanOrEqual(floor.apart);
  });

  it('differ only for a reason that has a name', () => {
    expect(outcomes.filter((outcome) => outcome.differences.length > 0 && reasonOf(outcome) === noReason).map(placeOf)).toEqual([]);
  });

  it('are answered the same but where README.md says why not', () => {
    const listed = new Set(existsSync(readme) ? readFileSync(readme, 'utf8').match(/(?<=^- `)[^`]+(?=`)/gm) : []);
    const unlisted = outcomes.filter((outcome) => outcome.differences.length > 0 && !listed.has(placeOf(outcome)));
    expect(unlisted.map((outcome) => `${placeOf(outcome)} ${outcome.differences.join('; ')}`)).toEqual([]);
  });
});

function writeGenerated(text: string): void {
  const before = readFileSync(readme, 'utf8');
  const [head = ''] = before.split(begin, 1);
  const tail = before.split(end)[1] ?? '\n';
  writeFileSync(readme, `${head}${begin}\n\n${text}\n\n${end}${tail}`);
}

const detailsOf = (outcomes: readonly Outcome[]): string =>
  outcomes
    .filter(({ differences }) => differences.length > 0)
    .map(({ transcript, exchange, differences }) => {
      const { line, title, method, path } = exchange;
      return `${transcript.name}:${line} ${title} ${method} ${path}\n    ${differences.join('\n    ')}\n`;
    })
    .join('');

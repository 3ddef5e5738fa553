import { type Exchange, sampleArea, type Transcript } from './transcript.ts';
import type { Outcome } from './transcript-replay.ts';

/** Conversations that only controllers and containers can bring to their end. */
const apartAreas = new Set(['kubectl 07', 'kubectl 08', 'kubectl 09', 'kubectl 11']);

interface AreaScore {
  readonly area: string;
  readonly agree: number;
  readonly compared: number;
  /** Exchanges that were not sent, because they need a node or their request is not in the recording. */
  readonly notSent: number;
  readonly apart: boolean;
}

export function scoreOf(transcripts: readonly Transcript[], outcomes: readonly Outcome[]): readonly AreaScore[] {
  const areas = [...new Set(transcripts.map(({ area }) => area))];
  return areas.map((area) => {
    const own = outcomes.filter(({ transcript }) => transcript.area === area);
    const exchanges = transcripts.filter((transcript) => transcript.area === area).flatMap((transcript) => transcript.exchanges);
    return {
      area,
      agree: own.filter(({ differences }) => differences.length === 0).length,
      compared: own.length,
      notSent: exchanges.filter((exchange: Exchange) => exchange.apart !== undefined).length,
      apart: apartAreas.has(area),
    };
  });
}

const percentOf = (rows: readonly AreaScore[]): number => {
  const compared = rows.reduce((sum, row) => sum + row.compared, 0);
  return compared === 0 ? 100 : (100 * rows.reduce((sum, row) => sum + row.agree, 0)) / compared;
};

/** Suites were run to find differences, so that they hold more of them than conversations of clients. */
const isSuite = (area: string): boolean => area.startsWith('second/');

const isCounted = ({ apart, area }: AreaScore): boolean => !apart && !isSuite(area) && area !== sampleArea;

/** Totals that count for the aim; separate groups do not. */
export function totalsOf(rows: readonly AreaScore[]) {
  const counted = rows.filter(isCounted);
  return {
    all: percentOf(counted),
    samples: percentOf(rows.filter(({ area }) => area === sampleArea)),
    suites: percentOf(rows.filter(({ area }) => isSuite(area))),
    api: percentOf(counted.filter(({ area }) => area.startsWith('api/'))),
    clientNode: percentOf(counted.filter(({ area }) => area === 'client-node')),
    apart: percentOf(rows.filter(({ apart }) => apart)),
  };
}

/** Names an exchange in the list of disagreements: `api/errors:23`. */
export const placeOf = ({ transcript, exchange }: Outcome): string => `${transcript.name}:${exchange.line}`;

export function formatScore(rows: readonly AreaScore[]): string {
  const line = ({ area, agree, compared, notSent }: Omit<AreaScore, 'apart'>) =>
    `| ${area} | ${agree} | ${compared} | ${compared === 0 ? '' : `${((100 * agree) / compared).toFixed(1)} %`} | ${notSent === 0 ? '' : notSent} |`;
  const sum = (area: string, list: readonly AreaScore[]) =>
    line({
      area,
      agree: list.reduce((total, row) => total + row.agree, 0),
      compared: list.reduce((total, row) => total + row.compared, 0),
      notSent: list.reduce((total, row) => total + row.notSent, 0),
    });
  const counted = rows.filter(isCounted);
  const suites = rows.filter(({ area }) => isSuite(area));
  const apart = rows.filter((row) => row.apart);
  return [
    '| area | agree | compared | | not sent |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...counted.map(line),
    sum('**counted**', counted),
    ...rows.filter(({ area }) => area === sampleArea).map(line),
    ...suites.map(line),
    sum('**suites**', suites),
    ...apart.map(line),
    sum('**apart**', apart),
  ].join('\n');
}

const maxPath = 40;

/** Only the end of a long path, so that its line fits the page. */
const shortened = (path: string): string => (path.length > maxPath ? `…/${path.split('/').slice(-2).join('/')}` : path);

/** The disagreements, by reason and then in order. */
export function formatDisagreements(outcomes: readonly Outcome[], reasonOf: (outcome: Outcome) => string): string {
  const byReason = new Map<string, string[]>();
  for (const outcome of outcomes) {
    if (outcome.differences.length === 0) continue;
    const reason = reasonOf(outcome);
    const lines = byReason.get(reason) ?? [];
    const { title, method, path } = outcome.exchange;
    lines.push(`- \`${placeOf(outcome)}\` ${title || `${method} ${shortened(path.split('?', 1)[0] ?? '')}`}`);
    byReason.set(reason, lines);
  }
  return [...byReason].map(([reason, lines]) => `**${reason}** (${lines.length})\n\n${lines.join('\n')}`).join('\n\n');
}

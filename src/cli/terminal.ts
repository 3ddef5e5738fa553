import pc from 'picocolors';
import type { Activity } from '../base/contracts/activity.ts';
import { plain, printable } from '../base/plain-text.ts';

/** The terminal of `up`: steps of the start, then one line for each thing that happens. */
export interface Terminal {
  step(name: string, text: string, detail?: string): void;
  line(text: string): void;
  /** Something that a person has to attend to. */
  warning(text: string, details?: readonly string[]): void;
  activity(activity: Activity): void;
}

const timeOf = (at: number): string => {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
};
/** `1.2 s`; below a tenth of a second milliseconds, since "0.0 s" says nothing. */
const timeText = (ms: number): string => (ms < 100 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1_000).toFixed(1)} s`);

const maxLinesPerEntry = 12;

export function createTerminal(output: NodeJS.WritableStream): Terminal {
  const line = (text: string): void => {
    output.write(`${printable(text)}\n`);
  };
  return {
    line,
    step(name, text, detail) {
      line(`  ${pc.green('✓')} ${name.padEnd(13)} ${text}${detail === undefined ? '' : `   ${pc.dim(`(${detail})`)}`}`);
    },
    warning(text, details = []) {
      line(`  ${pc.yellow('▲')} ${plain(text)}`);
      for (const detail of details) line(`    ${plain(detail)}`);
    },
    activity(activity) {
      const lines = linesOf(activity);
      for (const text of lines.slice(0, maxLinesPerEntry)) line(`${pc.dim(timeOf(activity.at))}  ${plain(text)}`);
      if (lines.length > maxLinesPerEntry) line(`${pc.dim(timeOf(activity.at))}    … and ${lines.length - maxLinesPerEntry} more`);
    },
  };
}

function linesOf(activity: Activity): readonly string[] {
  switch (activity.type) {
    case 'commit':
      return [`${activity.branch} ${activity.sha.slice(0, 7)}  ${activity.author}  ${activity.subject}`];
    case 'applied':
      return activity.changes.map(
        ({ action, object, fields }) =>
          `  ✓ applied  ${action === 'configured' ? '' : `${action} `}${object}${fields.length === 0 ? '' : `  ${fields.join(', ')}`}   ${timeText(activity.durationMs)}`,
      );
    case 'healthy':
      return [`  ✓ healthy  ${activity.app}${activity.summary === '' ? '' : ` ${activity.summary}`}   ${timeText(activity.durationMs)}`];
    case 'degraded':
      return [`  ▲ ${activity.app}  ${activity.reason}`];
    case 'failed':
      return activity.errors.map((error) => `  ✗ ${activity.app}  ${error}`);
    case 'drift':
      return [
        `  ◆ drift    ${activity.object}  ${activity.change}${activity.by === '' ? '' : ` by ${activity.by}`}`,
        activity.healed
          ? `  ✓ healed   ${activity.object}   ${timeText(activity.durationMs)}`
          : activity.left === ''
            ? `  ✗ not healed: ${activity.object}${activity.problem === '' ? '' : `: ${activity.problem}`}`
            : `  ◆ left     ${activity.object}   ${activity.left}`,
      ];
    case 'recovered':
      return [`  ✓ ${activity.app} ${activity.from === 'failed' ? 'is what Git says again' : 'works again'}`];
    default:
      return activity satisfies never;
  }
}

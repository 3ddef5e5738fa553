/** The expression cannot be read or does not fit the types; the message has position and source, as upstream shows them. */
export class CelCompileError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CelCompileError';
  }
}

/** Evaluating came to no result: `no such key: x`, `division by zero`, … */
export class CelEvaluationError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CelEvaluationError';
  }
}

/** The evaluation took more steps than it may; no part of an expression can absorb it. */
export class CelCostError extends Error {
  constructor() {
    super('operation cancelled: actual cost limit exceeded');
    this.name = 'CelCostError';
  }
}

export const noSuchOverload = (): CelEvaluationError => new CelEvaluationError('no such overload');

export interface Complaint {
  /** In the source, from 0. */
  readonly at: number;
  readonly text: string;
}

/** `ERROR: <input>:1:6: undefined field 'x'` with the line and a mark below, one after the other. */
export function reportOf(source: string, complaints: readonly Complaint[]): string {
  return complaints
    .map(({ at, text }) => {
      const before = source.slice(0, at);
      const line = before.split('\n').length;
      const start = before.lastIndexOf('\n') + 1;
      const [shown = ''] = source.slice(start).split('\n', 1);
      const column = [...source.slice(start, at)].length;
      return `ERROR: <input>:${line}:${column + 1}: ${text}\n | ${shown}\n | ${'.'.repeat(column)}^`;
    })
    .join('\n');
}

import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import measured from './test-times.json' with { type: 'json' };

/** A test file, and what is known of its run. */
export interface TimedFile {
  readonly name: string;
  /** It starts programs and waits for them, so that its worker leaves its core to others for about half of the time. */
  readonly waits: boolean;
  readonly seconds: number;
}

export interface Workers {
  readonly count: number;
  /** So many of them have files that wait, for as long as there are others for the rest. */
  readonly waiting: number;
}

/** Seconds of a file that is not in `test-times.json`, by its tier. */
const usualSeconds: Readonly<Record<string, number>> = { unit: 0.3, integration: 4, conformance: 10, e2e: 20, machines: 200, fault: 60 };

/**
 * Orders files for workers that take the next one when they are free. Files that wait run beside files that work: with all of one kind
 * at once the cores are idle first and too few later. Long files come before short ones, so that no long one ends alone.
 *
 * The workers follow the order only about as planned. A different time of one file shifts the others, and does no harm.
 */
export function interleave<File extends TimedFile>(files: readonly File[], { count, waiting }: Workers): readonly File[] {
  const waits = files.filter((file) => file.waits).sort(longestFirst);
  const works = files.filter((file) => !file.waits);
  const lanes = Array.from({ length: count }, () => ({ freeAt: 0, waits: false }));
  const order: File[] = [];
  for (;;) {
    const lane = lanes.reduce((first, other) => (other.freeAt < first.freeAt ? other : first));
    lane.waits = false;
    const isWanted = works.length === 0 || lanes.filter((other) => other.waits).length < waiting;
    const file = isWanted && waits.length > 0 ? waits.shift() : works.shift();
    if (file === undefined) return order;
    order.push(file);
    lane.waits = file.waits;
    lane.freeAt += file.seconds;
  }
}

const longestFirst = (a: TimedFile, b: TimedFile): number => b.seconds - a.seconds;

/** The order of the files of a run, as vitest asks for it. Files of one tier that work stay together: they share processes. */
export class TestOrder extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const orderOf = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const orders = [...new Set(specifications.map(orderOf))].sort((a, b) => a - b);
    return orders.flatMap((order) => this.#sortGroup(specifications.filter((specification) => orderOf(specification) === order)));
  }

  #sortGroup(group: readonly TestSpecification[]): readonly TestSpecification[] {
    const files = group.map((specification) => ({ ...this.#timesOf(specification), specification }));
    files.sort((a, b) => (a.tier === b.tier ? longestFirst(a, b) : a.tier < b.tier ? -1 : 1));
    const count = Number(group[0]?.project.config.maxWorkers ?? 1);
    return interleave(files, { count, waiting: Math.ceil(count / 2) }).map(({ specification }) => specification);
  }

  #timesOf({ project, moduleId }: TestSpecification): TimedFile & { readonly tier: string } {
    const name = relative(this.ctx.config.root, moduleId);
    // The last run on this machine knows best. A clean clone has had none.
    const last = this.ctx.cache.getFileTestResults(`${project.name}:${name}`)?.duration;
    const known = (measured as Readonly<Record<string, number>>)[name] ?? usualSeconds[project.name.split('-')[0] ?? ''] ?? 1;
    return { name, tier: project.name, waits: project.name === 'e2e', seconds: last === undefined ? known : last / 1_000 };
  }
}

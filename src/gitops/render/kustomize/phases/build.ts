import { isStatusError } from '../../../../machinery/status-error.ts';
import { TransformError } from '../field-config.ts';
import { FieldError } from '../field-spec.ts';
import { GeneratorError } from '../generators.ts';
import { FieldProblem } from '../kustomization.ts';
import { PatchError } from '../patches.ts';
import { MountedTree } from '../remote-bases.ts';
import { ReplacementError } from '../replacements.ts';
import { type JsonMap, newResource, type Origin, type Resource } from '../resource.ts';
import { SelectorError } from '../selector.ts';
import { VariableError } from '../variables.ts';
import { type Allowance, atCostOf, TooMuchWork } from '../work.ts';
import { addNote, originNote } from './notes.ts';
import { type LoadedKustomization, problemAt, type Reference } from './place.ts';
import type { ParsedFiles } from './read-objects.ts';
import type { RenderOptions } from './render-options.ts';

/** Objects of one kustomization with all below it. */
export const maxObjects = 100_000;
/** Reads of one kustomization under way at the same time. */
export const concurrency = 16;
/** Charts of one build, each of which is a run of helm. */
const maxCharts = 250;
/** Kustomizations that one build reads: two that each list two, and so on, would soon be more than there is time for. */
const maxKustomizations = 10_000;
/** Longest stretch of steps in one turn of the event loop, unless one step takes longer. */
const sliceMs = 10;

/** One build under way: its tree, and how much of its bounds is left. Its phases are functions that take it first. */
export class Build {
  readonly options: RenderOptions;
  readonly tree: MountedTree;
  readonly parsed: ParsedFiles;
  readonly allowance: Allowance;
  /** Kustomizations by directory. */
  readonly loaded = new Map<string, Promise<LoadedKustomization>>();
  /** Objects carry annotations about their origin while they are built, which decides what finds annotations to change. */
  notesOrigin = false;
  #objects = 0;
  #kustomizations = 0;
  #charts = 0;
  #pausedAt = performance.now();

  constructor(options: RenderOptions, parsed: ParsedFiles, allowance: number) {
    this.allowance = { left: allowance };
    this.options = options;
    this.tree = new MountedTree(options.tree);
    this.parsed = parsed;
  }

  /** Runs a step at the cost of the allowance. An error of it names the field that asked for the step. */
  at<T>(loaded: Reference['loaded'], field: string, step: () => T): T {
    try {
      return atCostOf(this.allowance, step);
    } catch (err) {
      if (err instanceof TooMuchWork) throw problemAt({ loaded, field }, tooMuchWork(err));
      if (expected.some((type) => err instanceof type) || isStatusError(err)) {
        throw problemAt({ loaded, field }, { message: err instanceof Error ? err.message : String(err) });
      }
      throw err;
    }
  }

  /** Lets others have their turn after a while, and ends a build that nobody waits for any more. */
  async pause(): Promise<void> {
    if (performance.now() - this.#pausedAt < sliceMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#pausedAt = performance.now();
    this.options.signal?.throwIfAborted();
  }

  newObject(object: JsonMap, origin: Origin): Resource {
    const resource = newResource(object, origin);
    if (this.notesOrigin) addNote(resource, originNote, '');
    return resource;
  }

  countObject(from: Reference): void {
    this.#objects += 1;
    if (this.#objects > maxObjects * 4) throw problemAt(from, { message: `builds more than ${maxObjects} objects` });
  }

  countKustomization(from: Reference | undefined): void {
    this.#kustomizations += 1;
    if (this.#kustomizations <= maxKustomizations) return;
    throw problemAt(from, { message: `the build reads more than ${maxKustomizations} kustomizations`, hint: 'List each base once.' });
  }

  countChart(from: Reference): void {
    this.#charts += 1;
    if (this.#charts <= maxCharts) return;
    throw problemAt(from, { message: `the build has more than ${maxCharts} charts`, hint: 'Split it into several apps.' });
  }
}

const expected = [FieldError, FieldProblem, GeneratorError, PatchError, ReplacementError, SelectorError, TransformError, VariableError];

export const tooMuchWork = ({ message }: TooMuchWork) => ({
  message,
  hint: 'Split it into several apps, or into smaller lists and files.',
});

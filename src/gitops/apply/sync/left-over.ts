import { annotations } from '../../../api/well-known.ts';
import { type DynamicObject, deepEqual } from '../../../machinery/object.ts';
import { type FieldPath, fieldsOf, formatPath, formatValue, isOwned, lostFields, ownEntryOf, valueAt } from '../objects/fields.ts';
import { describeObject } from '../objects/object-id.ts';
import type { ObjectRequests, Write } from './object-requests.ts';
import type { ObjectWriterOptions } from './object-writer.ts';

/** Fields that left Git and that the server keeps, though nobody owns them. */
export interface LeftOverFields {
  /**
   * Finds fields that Git had before and does not have now, that nobody owns and that are still there: a Service stays headless. A fresh
   * object tells them from defaults, and is asked for only when such a field has its old value.
   */
  find(write: Write, before: DynamicObject | undefined, answer: DynamicObject): Promise<readonly FieldPath[]>;
  /** Notes them and says so in an Event. */
  report(write: Write, paths: readonly FieldPath[], live: DynamicObject): void;
}

export interface LeftOverOptions extends Pick<ObjectWriterOptions, 'recorder' | 'redactor'> {
  readonly requests: Pick<ObjectRequests, 'makeFresh'>;
}

/** Fields that are compared with a fresh object, and those of them that are named. */
const maxCandidates = 50;
const maxLeftOver = 5;

export function createLeftOverFields({ recorder, redactor, requests }: LeftOverOptions): LeftOverFields {
  return {
    async find(write, before, answer) {
      if (before === undefined || before.metadata.uid !== answer.metadata.uid) return [];
      const [was, is] = [ownEntryOf(before), ownEntryOf(answer)];
      if (was?.fieldsV1 === undefined || is === undefined || was.fieldsV1 === is.fieldsV1) return [];
      const isSameVersion = was.apiVersion === is.apiVersion;
      const candidates = isSameVersion
        ? lostFields(was.fieldsV1, is.fieldsV1, maxCandidates).filter((path) => hasOldValue(path, before, answer))
        : // Fields of another version have other paths.
          fieldsOf(answer).filter((path) => !isOwned(answer, path));
      if (candidates.length === 0) return [];
      const fresh = await requests.makeFresh(write);
      if (fresh === undefined) return [];
      return candidates
        .filter((path) => (isSameVersion ? !deepEqual(valueAt(fresh, path), valueAt(answer, path)) : valueAt(fresh, path) === undefined))
        .slice(0, maxLeftOver);
    },
    report({ app, state, desired }, paths, live) {
      const redact = (text: string): string => redactor.quoted(text, state.key);
      const leftOver = paths.map((path) => ({
        path,
        text: `${redact(formatPath(path))} ${formatValue({ kind: desired.object.kind, path, redact }, valueAt(live, path))}`,
      }));
      state.drifts.note(desired.id, { leftOver });
      const texts = leftOver.map(({ text }) => text).join(', ');
      recorder.record(app, {
        type: 'Warning',
        reason: 'LeftOver',
        message: `${describeObject(desired.object)}: ${texts} left Git, and the server keeps it. Annotate the object with ${annotations.fluxForce}: enabled to have it deleted and made again`,
      });
    },
  };
}

const hasOldValue = (path: FieldPath, before: DynamicObject, answer: DynamicObject): boolean => {
  const value = valueAt(answer, path);
  return value !== undefined && deepEqual(valueAt(before, path), value) && !isOwned(answer, path);
};

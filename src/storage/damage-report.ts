import type { Damage } from './storage.ts';

export interface DamageReport {
  /** The reason of an Event. */
  readonly reason: 'StoredObjectDamaged' | 'StoredWritesMissing' | 'StoreDamaged' | 'StoreRestored';
  readonly message: string;
}

/** Keys of a damaged row are damaged, too, perhaps. */
const maxKeyChars = 200;

/** Damage as text for people: the object, what was done with it, and what happens now. */
export function describeDamage(damage: Damage): DamageReport {
  switch (damage.type) {
    case 'row': {
      const row = `Revision ${damage.revision} of ${JSON.stringify(damage.key.slice(0, maxKeyChars))} is damaged on disk and was set aside`;
      return {
        reason: 'StoredObjectDamaged',
        message:
          damage.effect === 'keyAbsent'
            ? `${row}. The object is absent until Git or its controller applies it again; an older value is not used.`
            : `${row}. The object has a newer revision and is as it was.`,
      };
    }
    case 'missing': {
      const { after, upTo } = damage;
      return {
        reason: 'StoredWritesMissing',
        message: `The store ends at revision ${after}, and revision ${upTo} was acknowledged: up to ${upTo - after} writes (${after + 1} to ${upTo}) are lost. The state in Git is applied again; restore a backup for the rest.`,
      };
    }
    case 'restored':
      return { reason: 'StoreRestored', message: 'The store is a copy of an earlier moment: clients list all objects again.' };
    case 'other':
      return { reason: 'StoreDamaged', message: `${damage.message}. The state in Git is applied again.` };
    default:
      return damage satisfies never;
  }
}

import type { Changed, ChangeListener, DeviceKind, VolumeKind } from '../plugin.ts';

/** Tells a listener of objects that came, changed or went. */
export function reporterOf(kind: VolumeKind | DeviceKind, onChange: ChangeListener): (changed: Pick<Changed, 'before' | 'after'>) => void {
  return (changed) => {
    if (changed.after === undefined) onChange(`${kind}Deleted`, changed);
    else onChange(changed.before === undefined ? `${kind}Added` : `${kind}Changed`, changed);
  };
}

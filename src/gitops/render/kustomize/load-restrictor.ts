/**
 * Files that a kustomization may name, as kustomize calls it: those beside or below itself, or all of the tree. Directories may lie
 * elsewhere in the tree either way.
 */
export const loadRestrictors = ['LoadRestrictionsRootOnly', 'LoadRestrictionsNone'] as const;
export type LoadRestrictor = (typeof loadRestrictors)[number];

import { Option } from 'commander';

export interface OverrideFlags {
  readonly overrideManager: readonly string[];
}

/** Named as kustomize-controller names it. */
export const overrideManagerOption = (): Option =>
  new Option(
    '--override-manager <name>',
    'field manager whose fields on objects of apps go back to Git, in addition to kubectl, Flux, Helm and Argo CD; may be repeated',
  )
    .default([], 'none')
    .argParser((value, all: readonly string[]) => [...all, value]);

/** Fields of a kustomization that are not there, with what to do instead. Each changes the result, so it is refused, never left out. */
export const notSupportedYet: Readonly<Record<string, string>> = {
  generators: 'Plugins are not run; commit what the generator makes.',
  transformers: 'Plugins are not run; use the fields of the kustomization (labels, patches, replacements).',
  validators: 'Plugins are not run; validate before you commit.',
};

/** Counters of a status that are zero are left out, as upstream's `omitempty` does. */
export const positive = <K extends string>(name: K, value: number): { readonly [P in K]?: number } =>
  (value > 0 ? { [name]: value } : {}) as { readonly [P in K]?: number };

/** Form of results: for people, or for programs. */
export type Format = 'text' | 'json' | 'yaml';
export const formats: readonly Format[] = ['text', 'json', 'yaml'];

/** Form of lists: `wide` has more columns, `name` is `RESOURCE/NAME` as kubectl prints it. */
export type ListFormat = Format | 'wide' | 'name';
export const listFormats: readonly ListFormat[] = [...formats, 'wide', 'name'];

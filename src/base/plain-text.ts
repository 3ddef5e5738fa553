/*
 * Texts of commits, manifests and file names are written by others. A terminal acts on the control characters in them: it moves its
 * cursor, takes a new title, or sends keys. Directional marks show a text in another order than it is read in.
 */
const directional = '\\u202a-\\u202e\\u2066-\\u2069';
const controls = new RegExp(`[\\u0000-\\u001f\\u007f-\\u009f${directional}]`, 'g');
const controlsInLines = new RegExp(`[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f${directional}]`, 'g');
/** Colours are ours; every other escape sequence is not. */
const controlsBesideColours = new RegExp(`\\u001b(?!\\[[0-9;]{1,8}m)|(?!\\u001b)${controlsInLines.source}`, 'g');

/** A line of text with a space for each control character. */
export const plain = (text: string): string => text.replace(controls, ' ');

/** The same for text of several lines: line ends and tabs stay. */
export const plainLines = (text: string): string => text.replace(controlsInLines, ' ');

/** The same for what a command prints: colours stay, too. Texts of others go through `plain` before they are coloured. */
export const printable = (text: string): string => text.replace(controlsBesideColours, ' ');

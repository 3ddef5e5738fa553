/** True for an image of the process runtime: `host/NAME` is the program NAME of the machine, and nothing is pulled. */
export const isHostImage = (image: string): boolean => /^host\/[\w][\w./:@-]*$/.test(image);

/** Letters of generated names: no vowels, no characters that look alike. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
const suffixLength = 5;
const maxPrefixLength = 58;

/** A name for `generateName`; two draws can agree, so the caller checks. `random` gives [0, 1). */
export function generateName(prefix: string, random: () => number): string {
  let name = prefix.slice(0, maxPrefixLength);
  for (let n = 0; n < suffixLength; n += 1) name += alphabet[Math.floor(random() * alphabet.length)] ?? '';
  return name;
}

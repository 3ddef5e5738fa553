/** Usages of certificates by their names in the certificates API, as X.509 encodes them (RFC 5280, 4.2.1.3 and 4.2.1.12). */

/** Bits of `keyUsage`, as the X.509 library counts them. */
const bits: Readonly<Record<string, number>> = {
  signing: 1,
  'digital signature': 1,
  'content commitment': 2,
  'key encipherment': 4,
  'data encipherment': 8,
  'key agreement': 16,
  'cert sign': 32,
  'crl sign': 64,
  'encipher only': 128,
  'decipher only': 256,
};

const purposes: Readonly<Record<string, string>> = {
  any: '2.5.29.37.0',
  'server auth': '1.3.6.1.5.5.7.3.1',
  'client auth': '1.3.6.1.5.5.7.3.2',
  'code signing': '1.3.6.1.5.5.7.3.3',
  'email protection': '1.3.6.1.5.5.7.3.4',
  's/mime': '1.3.6.1.5.5.7.3.4',
  'ipsec end system': '1.3.6.1.5.5.7.3.5',
  'ipsec tunnel': '1.3.6.1.5.5.7.3.6',
  'ipsec user': '1.3.6.1.5.5.7.3.7',
  timestamping: '1.3.6.1.5.5.7.3.8',
  'ocsp signing': '1.3.6.1.5.5.7.3.9',
  'microsoft sgc': '1.3.6.1.4.1.311.10.3.3',
  'netscape sgc': '2.16.840.1.113730.4.1',
};

/** @throws Error for a usage that is neither a bit nor a purpose */
export function keyUsages(usages: readonly string[]): number {
  const unknown = usages.filter((usage) => !Object.hasOwn(bits, usage) && !Object.hasOwn(purposes, usage));
  if (unknown.length > 0) throw new Error(`unrecognized usage values: ${JSON.stringify(unknown)}`);
  return usages.reduce((flags, usage) => flags | (Object.hasOwn(bits, usage) ? (bits[usage] ?? 0) : 0), 0);
}

/** Object identifiers, each once. */
export const extendedKeyUsages = (usages: readonly string[]): readonly string[] => [
  ...new Set(usages.flatMap((usage) => (Object.hasOwn(purposes, usage) ? [purposes[usage] ?? ''] : []))),
];

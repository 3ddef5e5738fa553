/**
 * The parts of a table of nftables that change. Names of sets and chains have to depend on their purpose alone. The difference of two
 * tables is then that of two maps, and a change leaves everything else alone.
 */
export interface NftRules {
  /** Definitions of sets, by name. */
  readonly sets: ReadonlyMap<string, string>;
  /** Rules by chain. A chain comes before those that lead to it. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Elements by set or map and key, `service-ips 10.7.0.5 . tcp . 80`. The value is the verdict, and empty in a set. */
  readonly elements: ReadonlyMap<string, string>;
}

export const noRules: NftRules = { sets: new Map(), chains: new Map(), elements: new Map() };

/** The parts that a table always has. */
export interface NftFrame {
  /** Name of the table, of family `ip`. */
  readonly name: string;
  /** Definitions of maps from a key to a verdict, by name. */
  readonly maps: Readonly<Record<string, string>>;
  /** Definitions of sets, by name. */
  readonly sets?: Readonly<Record<string, string>>;
  /** Chains with their rules, in order. */
  readonly chains: readonly (readonly [string, readonly string[]])[];
}

/** The first line of a chain that packets come to by themselves. */
export const hook = (type: 'filter' | 'nat', at: string, priority: number): string => `type ${type} hook ${at} priority ${priority};`;

/** Elements in one line of a transaction; a longer line costs `nft` more than it saves. */
const elementsPerLine = 500;

/** Makes the whole table in place of one that may be there, in one transaction. */
export function writeTable({ name: table, maps, sets = {}, chains }: NftFrame, rules: NftRules): string {
  const lines = [`add table ip ${table}`, `delete table ip ${table}`, `table ip ${table} {`];
  for (const [name, definition] of Object.entries(maps)) lines.push(`  map ${name} { ${definition} }`);
  for (const [name, definition] of Object.entries(sets)) lines.push(`  set ${name} { ${definition} }`);
  for (const [name, chainRules] of chains) lines.push(`  chain ${name} {`, ...chainRules.map((rule) => `    ${rule}`), '  }');
  lines.push('}');
  return `${lines.join('\n')}\n${writeChange({ name: table }, noRules, rules)}`;
}

/** Leads from `before` to `after` in one transaction; empty when they are the same. */
export function writeChange({ name: table }: Pick<NftFrame, 'name'>, before: NftRules, after: NftRules): string {
  const lines: string[] = [];
  const gone = (old: ReadonlyMap<string, unknown>, kept: ReadonlyMap<string, unknown>): string[] =>
    [...old.keys()].filter((key) => !kept.has(key));
  const goneElements = [...before.elements].filter(([key, verdict]) => after.elements.get(key) !== verdict);
  lines.push(...elementLines(`delete element ip ${table}`, goneElements, false));
  for (const [name, definition] of after.sets) if (!before.sets.has(name)) lines.push(`add set ip ${table} ${name} { ${definition} }`);
  const changed = [...after.chains].filter(([name, rules]) => !sameRules(before.chains.get(name), rules));
  for (const [name] of changed) lines.push(`add chain ip ${table} ${name}`, `flush chain ip ${table} ${name}`);
  for (const [name, rules] of changed) lines.push(...rules.map((rule) => `add rule ip ${table} ${name} ${rule}`));
  const newElements = [...after.elements].filter(([key, verdict]) => before.elements.get(key) !== verdict);
  lines.push(...elementLines(`add element ip ${table}`, newElements, true));
  const goneChains = gone(before.chains, after.chains);
  // All first lose their rules, since rules of one lead to another.
  for (const name of goneChains) lines.push(`flush chain ip ${table} ${name}`);
  for (const name of goneChains) lines.push(`delete chain ip ${table} ${name}`);
  for (const name of gone(before.sets, after.sets)) lines.push(`delete set ip ${table} ${name}`);
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

const sameRules = (before: readonly string[] | undefined, after: readonly string[]): boolean =>
  before !== undefined && before.length === after.length && before.every((rule, index) => rule === after[index]);

/** Elements of one set or map share lines. */
function elementLines(command: string, elements: readonly (readonly [string, string])[], withVerdict: boolean): readonly string[] {
  const bySet = new Map<string, string[]>();
  for (const [setAndKey, verdict] of elements) {
    const space = setAndKey.indexOf(' ');
    const set = setAndKey.slice(0, space);
    const texts = bySet.get(set) ?? [];
    texts.push(`${setAndKey.slice(space + 1)}${withVerdict && verdict !== '' ? ` : ${verdict}` : ''}`);
    bySet.set(set, texts);
  }
  const lines: string[] = [];
  for (const [set, texts] of bySet)
    for (let at = 0; at < texts.length; at += elementsPerLine)
      lines.push(`${command} ${set} { ${texts.slice(at, at + elementsPerLine).join(', ')} }`);
  return lines;
}

/** Removes the table; none is no failure. */
export const writeRemoval = ({ name }: Pick<NftFrame, 'name'>): string => `add table ip ${name}\ndelete table ip ${name}\n`;

/**
 * Compares what `nft -j list table` says with the rules that should be there: the chains, the number of rules in each, and the number of
 * elements. Sets that rules fill by themselves do not count.
 */
export function isListingOf(listing: string, frame: NftFrame, rules: NftRules): boolean {
  const { nftables = [] } = JSON.parse(listing) as { readonly nftables?: readonly NftItem[] };
  const counts = new Map<string, number>();
  let elements = 0;
  for (const { chain, rule, map, set } of nftables) {
    if (chain !== undefined) counts.set(chain.name, counts.get(chain.name) ?? 0);
    if (rule !== undefined) counts.set(rule.chain, (counts.get(rule.chain) ?? 0) + 1);
    for (const each of [map, set]) if (each?.flags?.includes('dynamic') !== true) elements += each?.elem?.length ?? 0;
  }
  const wanted = new Map(rules.chains.entries());
  for (const [name, chainRules] of frame.chains)
    wanted.set(
      name,
      chainRules.filter((rule) => !rule.startsWith('type ')),
    );
  return (
    elements === rules.elements.size &&
    counts.size === wanted.size &&
    [...wanted].every(([name, chainRules]) => counts.get(name) === chainRules.length)
  );
}

interface NftItem {
  readonly chain?: { readonly name: string };
  readonly rule?: { readonly chain: string };
  readonly map?: NftElements;
  readonly set?: NftElements;
}

interface NftElements {
  readonly flags?: readonly string[];
  readonly elem?: readonly unknown[];
}

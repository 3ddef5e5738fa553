import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { contentTypes } from './answers.ts';

interface Asset {
  readonly type: string;
  readonly text: string;
}

export interface Assets {
  readonly style: string;
  readonly mark: string;
  /** Undefined when the script was not built: the page works without it. */
  readonly script: string | undefined;
  readonly byPath: ReadonlyMap<string, Asset>;
}

const mark: Asset = {
  type: contentTypes.svg,
  text: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><path d="M3 19V13C3 8 17 11 17 5V1" fill="none" stroke="#0F5E73" stroke-width="2.4" stroke-linecap="round"/><circle cx="10" cy="9.6" r="3" fill="#0F5E73"/></svg>\n`,
};

/** Reads what the page needs beside its HTML. Names carry a hash of the content, so that browsers may keep them forever. */
export async function readAssets(): Promise<Assets> {
  const style = { type: contentTypes.css, text: await readFile(new URL('./page.css', import.meta.url), 'utf8') };
  const script = await readScript();
  const stylePath = pathOf('page', 'css', style);
  const markPath = pathOf('mark', 'svg', mark);
  const scriptPath = script === undefined ? undefined : pathOf('page', 'js', script);
  return {
    style: stylePath,
    mark: markPath,
    script: scriptPath,
    byPath: new Map([
      [stylePath, style],
      ...(script === undefined || scriptPath === undefined ? [] : ([[scriptPath, script]] as const)),
      [markPath, mark],
    ]),
  };
}

async function readScript(): Promise<Asset | undefined> {
  try {
    return { type: contentTypes.script, text: await readFile(new URL('./client/page.js', import.meta.url), 'utf8') };
  } catch (err) {
    // Sources that were not compiled have none.
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

const pathOf = (name: string, ending: string, { text }: Asset): string =>
  `/assets/${name}.${createHash('sha256').update(text).digest('hex').slice(0, 16)}.${ending}`;

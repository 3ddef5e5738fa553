import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const src = fileURLToPath(new URL('../../src/', import.meta.url));
const text = readFileSync(`${src}README.md`, 'utf8');
/** Code words of a text without its blocks. */
const words = (part: string): readonly string[] =>
  [...part.replaceAll(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word);
const isPath = (word: string): boolean => /^[\w-]+(\/[\w.-]+)+$/.test(word) && !word.startsWith('flux-system/');

describe('src/README.md', () => {
  it('names files and folders that exist', () => {
    // Folders are named from src, or from the part that the step is about.
    const named = words(text).filter(isPath);
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((path) => !existsSync(`${src}${path}`))).toEqual([]);
  });

  it('names functions that are in the file of their row', () => {
    let count = 0;
    const missing: string[] = [];
    for (const row of text.split('\n').filter((line) => line.startsWith('| '))) {
      const files = words(row).filter((word) => isPath(word) && word.endsWith('.ts') && existsSync(`${src}${word}`));
      if (files.length === 0) continue;
      const sources = files.filter((file) => statSync(`${src}${file}`).isFile()).map((file) => readFileSync(`${src}${file}`, 'utf8'));
      for (const name of words(row).filter((word) => /^[a-z]\w*$/.test(word))) {
        if (name === 'midship') continue;
        count += 1;
        const declared = new RegExp(`(function\\*? |const |^  (async )?#?)${name}\\b[^\\n]*[({=]`, 'm');
        if (!sources.some((source) => declared.test(source))) missing.push(`${files.join(', ')}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
    expect(count).toBeGreaterThan(30);
  });
});

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, StateMachine } from 'xstate';
import { machineFigure } from '../../support/machine-figure.ts';

const folder = new URL('../../../src/lifecycle/', import.meta.url);
const readme = new URL('README.md', folder);
const heading = '## The machines\n';

/** `npm run generate` writes the figures. */
const update = process.env.UPDATE_GOLDEN === '1';

describe('the figures in src/lifecycle/README.md', () => {
  it('show every machine as it is', async () => {
    const machines: AnyStateMachine[] = [];
    for (const file of readdirSync(folder)
      .filter((name) => name.endsWith('.machine.ts'))
      .toSorted()) {
      const exported: object = await import(new URL(file, folder).href);
      machines.push(...Object.values(exported).filter((value) => value instanceof StateMachine));
    }
    const sections = machines.map((machine) => `### ${machine.id}\n\n\`\`\`mermaid\n${machineFigure(machine)}\n\`\`\`\n`);
    const text = readFileSync(readme, 'utf8');
    const wanted = `${text.slice(0, text.indexOf(heading))}${heading}\n${sections.join('\n')}`;
    if (update) writeFileSync(readme, wanted);
    expect(update ? wanted : text, 'npm run generate writes the figures').toBe(wanted);
    expect(machines.length).toBeGreaterThan(0);
  });
});

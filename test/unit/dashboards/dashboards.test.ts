import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { dashboardFiles } from '../../../dashboards/src/dashboards.ts';

const directory = fileURLToPath(new URL('../../../dashboards/', import.meta.url));

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly datasource: { readonly uid: string };
  readonly targets: readonly { readonly refId: string; readonly expr: string; readonly datasource: { readonly uid: string } }[];
  readonly fieldConfig: { readonly defaults: { readonly unit: string; readonly noValue: string } };
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[] };
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
}

const files = dashboardFiles();
const dashboards = [...files.values()].map((text) => JSON.parse(text) as Dashboard);

describe('dashboards', () => {
  it.each([...files])('%s is what its source makes', (name, text) => {
    if (process.env.UPDATE_GOLDEN === '1') writeFileSync(`${directory}${name}`, text);
    expect(readFileSync(`${directory}${name}`, 'utf8')).toBe(text);
  });

  it('have ids of their own', () => {
    for (const key of ['uid', 'title'] as const) expect(new Set(dashboards.map((each) => each[key])).size).toBe(dashboards.length);
  });

  describe.each(dashboards.map((dashboard) => [dashboard.uid, dashboard] as const))('%s', (_uid, dashboard) => {
    const { panels } = dashboard;

    it('is in the format that Grafana 11 to 13 take', () => {
      expect(dashboard.schemaVersion).toBe(39);
      expect(dashboard.uid.length).toBeLessThanOrEqual(40);
      const known = ['stat', 'timeseries', 'table', 'bargauge', 'barchart', 'heatmap', 'state-timeline'];
      for (const { type } of panels) expect(known).toContain(type);
    });

    it('says of each panel what it is, in which unit, and what no data means', () => {
      for (const { title, description, fieldConfig } of panels) {
        expect(description, title).toMatch(/^[A-Z].*[.]$/);
        expect(fieldConfig.defaults.unit, title).not.toBe('');
        expect(fieldConfig.defaults.noValue, title).not.toBe('');
      }
      for (const key of ['id', 'title'] as const) expect(new Set(panels.map((panel) => panel[key])).size).toBe(panels.length);
    });

    it('fits the grid without overlap', () => {
      const taken = new Set<string>();
      for (const { title, gridPos } of panels) {
        expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
            expect(taken.has(`${x},${y}`), `${title} overlaps`).toBe(false);
            taken.add(`${x},${y}`);
          }
        }
      }
    });

    it('uses the data source that the viewer chose, and every variable that it offers', () => {
      const queries = [
        ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
        ...dashboard.annotations.list.map(({ expr }) => expr),
      ];
      for (const { datasource, targets } of panels) {
        for (const { uid } of [datasource, ...targets.map((target) => target.datasource)]) expect(uid).toBe(`\${${'datasource'}}`);
      }
      const names = dashboard.templating.list.map(({ name }) => name).filter((name) => name !== 'datasource');
      for (const name of names)
        expect(
          queries.some((expr) => expr.includes(`$${name}`)),
          name,
        ).toBe(true);
      for (const expr of queries) {
        for (const [, name = ''] of expr.matchAll(/\$(?!__)(\w+)/g)) if (!/^\d+$/.test(name)) expect(names, expr).toContain(name);
      }
    });

    it('asks for rates over a window that fits the scrape interval', () => {
      for (const { title, targets } of panels) {
        for (const { expr } of targets) {
          for (const [, window = ''] of expr.matchAll(/\[([^\]]+)\]/g))
            expect(['$__rate_interval', '$__range', '1h'], `${title}: ${expr}`).toContain(window);
          for (const [, metric = '', end = ''] of expr.matchAll(/\b(\w+_(?:total|bucket|sum|count))\b(?:\{[^}]*\})?(\[)?/g))
            expect(end, `${title}: ${metric} without a window`).toBe('[');
        }
      }
    });
  });

  it('have a runbook section for each alert', () => {
    const rules = readFileSync(`${directory}rules/alerts.yml`, 'utf8');
    const alerts = [...rules.matchAll(/alert: (\w+)/g)].map(([, name = '']) => name);
    const sections = [...readFileSync(`${directory}alerts.md`, 'utf8').matchAll(/^## (\w+)$/gm)].map(([, name]) => name);
    expect(sections).toEqual(alerts);
    expect([...rules.matchAll(/runbook: dashboards\/alerts\.md, section (\w+)/g)].map(([, section]) => section)).toEqual(alerts);
    // The rules do not know where the file is served; an address without a host is a dead link in Alertmanager.
    expect(rules).not.toContain('runbook_url');
  });
});

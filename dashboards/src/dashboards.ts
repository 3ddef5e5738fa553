import { application } from './application.ts';
import { type DashboardSource, dashboardJson } from './builder.ts';
import { controlPlane } from './control-plane.ts';
import { delivery } from './delivery.ts';
import { nodes } from './nodes.ts';
import { overview } from './overview.ts';
import { workloads } from './workloads.ts';

const sources: readonly DashboardSource[] = [overview, delivery, application, workloads, nodes, controlPlane];

/** File name to content. `dashboards/*.json` are these texts; a test compares them, and writes them when `UPDATE_GOLDEN=1`. */
export function dashboardFiles(): ReadonlyMap<string, string> {
  return new Map(sources.map((source) => [`${source.uid}.json`, dashboardJson(source, sources)]));
}

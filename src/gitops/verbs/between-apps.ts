import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { keyOf } from '../../machinery/object.ts';
import { describeObject, type ObjectId } from '../apply/objects/object-id.ts';
import { dependencyCycle } from '../apply/plan/app-spec.ts';
import type { DesiredObject } from '../apply/plan/plan.ts';
import type { BuildError, Manifest } from '../manifests/manifest.ts';

/** Errors between apps that no app has by itself. */

export interface PlannedApp {
  readonly app: Kustomization;
  readonly objects: readonly DesiredObject[];
}

/** An app of a tree; one that no file of it defines has no place. */
export interface PlacedApp {
  readonly app: Kustomization;
  readonly place: Pick<BuildError, 'file' | 'line'>;
}

/** Name of an app in errors; an app for a directory has no namespace. */
export const nameOf = (app: Kustomization): string => (app.metadata.namespace === undefined ? app.metadata.name : keyOf(app));

/** Objects that two apps define. */
export function findRivals(plans: readonly PlannedApp[]): readonly BuildError[] {
  const owners = new Map<ObjectId, { readonly app: Kustomization; readonly manifest: Manifest }>();
  const errors: BuildError[] = [];
  for (const { app, objects } of plans) {
    for (const { id, object, manifest } of objects) {
      const first = owners.get(id);
      if (first === undefined) owners.set(id, { app, manifest });
      else if (first.app !== app) {
        errors.push({
          file: manifest.file,
          line: manifest.line,
          message: `defines ${describeObject(object)} in app ${nameOf(app)}, which app ${nameOf(first.app)} defines in ${first.manifest.file}:${first.manifest.line}`,
          hint: 'An object belongs to one app.',
        });
      }
    }
  }
  return errors;
}

/** Circles of dependencies, each once. `find` knows apps by `namespace/name`. */
export function circles(apps: readonly PlacedApp[], find: (key: string) => Kustomization | undefined): readonly BuildError[] {
  const found = new Map<string, BuildError>();
  for (const { app, place } of apps) {
    const circle = app.metadata.namespace === undefined ? undefined : dependencyCycle(app, find);
    if (circle === undefined) continue;
    const key = [...new Set(circle)].sort().join(' ');
    if (!found.has(key)) found.set(key, { ...place, message: `spec.dependsOn has a cycle: ${circle.join(' → ')}` });
  }
  return [...found.values()];
}

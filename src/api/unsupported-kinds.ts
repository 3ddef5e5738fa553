const charts = 'Write the chart as helmCharts of a kustomization and start with --enable-helm, or commit what "helm template" prints.';
const sources = 'Put the manifests into a Git repository, and follow it by a GitRepository.';
const images = 'Change the tags of images by commits, for example from CI.';

const argoApplication =
  'Write a Kustomization of kustomize.toolkit.fluxcd.io with its spec.source.path, and a GitRepository for its repoURL if that is another.';

/** Kinds of Flux, Argo CD and k3s that this program does not act on, by group, each with what to do instead. */
const unsupportedKinds: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'helm.toolkit.fluxcd.io': { HelmRelease: charts },
  'source.toolkit.fluxcd.io': {
    HelmRepository: charts,
    HelmChart: charts,
    OCIRepository: sources,
    Bucket: sources,
    ExternalArtifact: sources,
  },
  'image.toolkit.fluxcd.io': { ImageRepository: images, ImagePolicy: images, ImageUpdateAutomation: images },
  'argoproj.io': {
    Application: argoApplication,
    ApplicationSet: 'Write a Kustomization for each Application that it makes.',
    AppProject: 'Leave it out: a Kustomization belongs to no project.',
  },
  'helm.cattle.io': { HelmChart: charts, HelmChartConfig: charts },
};

/** Gives what to do instead of a kind of the table; undefined for every other kind. */
export function insteadOfKind(group: string, kind: string): string | undefined {
  const kinds = Object.hasOwn(unsupportedKinds, group) ? unsupportedKinds[group] : undefined;
  return kinds !== undefined && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
}

/** The same for a kind as people write it: `helmrelease`, `helmreleases`, `HelmRelease.helm.toolkit.fluxcd.io`. */
export function insteadOfWord(word: string): { readonly kind: string; readonly instead: string } | undefined {
  const [name = ''] = word.toLowerCase().split('.');
  for (const kinds of Object.values(unsupportedKinds)) {
    for (const [kind, instead] of Object.entries(kinds)) {
      const lower = kind.toLowerCase();
      if ([lower, `${lower}s`, lower.replace(/y$/, 'ies')].includes(name)) return { kind, instead };
    }
  }
  return undefined;
}

import type { Schema } from '../../machinery/schema.ts';
import type { FieldError } from '../../machinery/status-error.ts';
import { isAbsent } from '../copy-on-write.ts';
import { required } from '../field-errors.ts';
import { checkChoice, checkLength, schemaOf } from '../flux.ts';

/** An object of Flux's that events are about, or that a webhook is for; `*` names all of its kind, and `matchLabels` some of these. */
export interface CrossNamespaceReference {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly name: string;
  /** The referring object's own when absent. */
  readonly namespace?: string;
  readonly matchLabels?: Readonly<Record<string, string>>;
}

const kinds = [
  'Bucket',
  'GitRepository',
  'Kustomization',
  'HelmRelease',
  'HelmChart',
  'HelmRepository',
  'ImageRepository',
  'ImagePolicy',
  'ImageUpdateAutomation',
  'OCIRepository',
  'ArtifactGenerator',
  'ExternalArtifact',
] as const;

const lengths = [1, 253] as const;

export const crossNamespaceReferenceSchema: Schema = schemaOf.object(
  {
    apiVersion: schemaOf.text(),
    kind: schemaOf.choice(kinds, 'Kind of the object.'),
    matchLabels: schemaOf.textMap('Labels of the objects, when the name is *.'),
    name: schemaOf.sized(lengths, 'Name of the object; * for all.'),
    namespace: schemaOf.sized(lengths),
  },
  { required: ['kind', 'name'] },
);

export function checkCrossNamespaceReference(errors: FieldError[], field: string, reference: CrossNamespaceReference): void {
  checkChoice(errors, `${field}.kind`, reference.kind, { choices: kinds, isRequired: true });
  if (isAbsent(reference.name)) errors.push(required(`${field}.name`));
  checkLength(errors, `${field}.name`, reference.name, lengths);
  checkLength(errors, `${field}.namespace`, reference.namespace, lengths);
}

import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Files } from './kustomize.ts';

/** A chart that tells in a ConfigMap what it was rendered with, and has a hook, a test and a definition beside it. */
export const chartFiles: Files = {
  'Chart.yaml': 'apiVersion: v2\nname: app\nversion: 1.2.3\nappVersion: "9"\n',
  'values.yaml': 'text: own\nlist: [1, 2]\nmap: {a: 1, b: 2}\nmore: x\nnumber: 1234567\n',
  'templates/_names.tpl': '{{- define "app.name" -}}{{ .Release.Name }}-app{{- end }}\n',
  'templates/app.yaml': `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "app.name" . }}
  namespace: {{ .Release.Namespace }}
  annotations: {chart: "{{ .Chart.Name }}-{{ .Chart.Version }}"}
data:
  values: {{ toJson .Values | quote }}
  kube: {{ .Capabilities.KubeVersion.Version | quote }}
  has: {{ .Capabilities.APIVersions.Has "example.com/v1" | quote }}
  file: {{ .Files.Get "files/note.txt" | quote }}
---
{{- if .Values.text }}
apiVersion: v1
kind: Service
metadata: {name: {{ include "app.name" . }}}
spec: {selector: {text: {{ .Values.text | quote }}}, ports: [{port: 80}]}
{{- end }}
`,
  'templates/NOTES.txt': 'Thank you for {{ .Release.Name }}.\n',
  'templates/hook.yaml': `apiVersion: batch/v1
kind: Job
metadata: {name: {{ include "app.name" . }}-hook, annotations: {helm.sh/hook: post-install}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}
`,
  'templates/tests/test.yaml': `apiVersion: v1
kind: Pod
metadata: {name: {{ include "app.name" . }}-test, annotations: {helm.sh/hook: test}}
spec: {restartPolicy: Never, containers: [{name: a, image: b}]}
`,
  'files/note.txt': 'a note\n',
  'crds/thing.yaml': `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`,
};

/** Files below a directory. */
export const filesBelow = (directory: string, files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${directory}/${name}`, text]));

/**
 * A program in the place of helm, where only its treatment matters. It runs a script of the shell; `version` is
 * answered.
 *
 * @returns its path
 */
export async function writeProgram(directory: string, script: string, version = 'v4.1.4'): Promise<string> {
  const path = join(directory, 'helm');
  // Whole or not at all: a program that is being written cannot be started.
  await writeFile(`${path}.new`, `#!/bin/sh\nif [ "$1" = version ]; then echo '${version}'; exit; fi\n${script}\n`, { mode: 0o755 });
  await rename(`${path}.new`, path);
  return path;
}

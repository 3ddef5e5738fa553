import { readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDurableDirectory } from '../base/durable-file.ts';
import { shellWord } from '../base/shell-word.ts';
import { runGit } from '../gitops/sources/git-command.ts';
import { type ExitCode, Failure } from './failure.ts';

export interface InitOptions {
  /** Made when it is missing; must be empty. */
  readonly directory: string;
  readonly output: NodeJS.WritableStream;
}

/** Makes a Git repository with one app, on branch main and with one commit, that `midship up --repo DIR` runs. */
export async function initRepository({ directory, output }: InitOptions): Promise<ExitCode> {
  const present = await readdir(directory).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return [];
    throw err;
  });
  if (present.length > 0) {
    throw new Failure(`${directory} is not empty`, {
      why: `It has ${present[0]}; init writes into an empty directory alone.`,
      fix: 'Name a new directory. An existing repository runs as it is: midship up --repo DIR --path PATH',
    });
  }
  for (const [name, text] of Object.entries(files)) {
    await makeDurableDirectory(dirname(join(directory, name)), { mode: 0o777 });
    await writeFile(join(directory, name), text);
  }
  // Hooks, templates and signatures of the user's configuration are for commits of their own.
  const env = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  const git = (...args: string[]): Promise<string> => runGit({ args, cwd: directory, env });
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '.');
  // The user may have no name and address yet; a commit of their own needs them anyway.
  await git('-c', 'user.name=midship', '-c', 'user.email=midship@localhost', 'commit', '--quiet', '--message', 'Run hello');
  output.write(
    `made a repository with the app hello in ${directory}\n  run it:  midship up --repo ${shellWord(directory)} --path clusters/main\n`,
  );
  return 0;
}

const files: Readonly<Record<string, string>> = {
  'README.md': `# Cluster

\`clusters/main\` lists the apps of the cluster; each has a directory of manifests in \`apps\`.

\`\`\`sh
midship validate                            # before a push
midship up --repo . --path clusters/main    # runs what the branch main says
\`\`\`

The pods of \`apps/hello\` are processes of this machine (\`image: host/node\`).
`,
  'clusters/main/apps.yaml': `# One Kustomization an app. The path is that of this repository; objects that leave it are deleted.
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: hello
  namespace: flux-system
spec:
  interval: 10m
  path: ./apps/hello
  prune: true
  sourceRef: { kind: GitRepository, name: flux-system }
`,
  'apps/hello/hello.yaml': `apiVersion: v1
kind: Namespace
metadata:
  name: hello
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello
  namespace: hello
spec:
  replicas: 2
  selector:
    matchLabels: { app: hello }
  template:
    metadata:
      labels: { app: hello }
    spec:
      containers:
        - name: web
          image: host/node
          command: [node, -e]
          args:
            - require('node:http').createServer((_, answer) => answer.end('hello\\n')).listen(8080, '$(POD_IP)')
          env:
            - name: POD_IP
              valueFrom: { fieldRef: { fieldPath: status.podIP } }
          ports: [{ name: http, containerPort: 8080 }]
          readinessProbe:
            httpGet: { path: /, port: http }
---
apiVersion: v1
kind: Service
metadata:
  name: hello
  namespace: hello
spec:
  selector: { app: hello }
  ports: [{ name: http, port: 80, targetPort: http }]
`,
};

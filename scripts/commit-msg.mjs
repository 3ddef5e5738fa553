#!/usr/bin/env node
// A commit-msg hook of Git: refuses messages that break the rules of CONTRIBUTING.
//
//   ln -s ../../scripts/commit-msg.mjs .git/hooks/commit-msg
import { readFileSync } from 'node:fs';
import { errorsOfMessage } from './language/commit-message.mjs';

const errors = errorsOfMessage(readFileSync(process.argv[2], 'utf8'));
for (const error of errors) console.error(`commit message: ${error}`);
if (errors.length > 0) console.error('See "Commits" in CONTRIBUTING.md. `git commit -eF .git/COMMIT_EDITMSG` edits the message.');
process.exitCode = errors.length > 0 ? 1 : 0;

/** A command as a shell completes it. */
export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  /** With their dashes. */
  readonly flags: readonly string[];
  /** Words that may follow: sub-commands, or choices of an argument. */
  readonly words: readonly string[];
  /** The name of an app may follow. */
  readonly takesApp: boolean;
}

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** The script that a shell reads: `source <(midship completion bash)`. Names of apps are asked from the cluster when they are needed. */
export function formatCompletion(shell: Shell, commands: readonly CompletedCommand[]): string {
  if (shell === 'fish') return fishScript(commands);
  const zsh = 'autoload -Uz compinit bashcompinit && compinit && bashcompinit\n';
  return `${shell === 'zsh' ? zsh : ''}${bashScript(commands)}`;
}

const appNames = "midship get apps -o name 2>/dev/null | sed 's|.*/||'";

function bashScript(commands: readonly CompletedCommand[]): string {
  const cases = commands.map(({ name, flags, words, takesApp }) => {
    const asked = takesApp ? ` $([[ $cur == -* ]] || ${appNames})` : '';
    return `    ${name}) words="${[...words, ...flags].join(' ')}${asked}" ;;`;
  });
  return `_midship() {
  local cur=\${COMP_WORDS[COMP_CWORD]} verb= word words
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -* ]] || { verb=$word; break; }
  done
  case $verb in
${cases.join('\n')}
    *) words="${commands.map(({ name }) => name).join(' ')} --help --version" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _midship midship
`;
}

function fishScript(commands: readonly CompletedCommand[]): string {
  const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = commands.flatMap(({ name, description, flags, words, takesApp }) => {
    const seen = `complete -c midship -n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c midship -n __fish_use_subcommand -f -a ${name} -d ${quoted(description)}`,
      ...(words.length === 0 ? [] : [`${seen} -a ${quoted(words.join(' '))}`]),
      ...flags.filter((flag) => flag.startsWith('--')).map((flag) => `${seen} -l ${flag.slice(2)}`),
      ...(takesApp ? [`${seen} -f -a ${quoted(`(${appNames})`)}`] : []),
    ];
  });
  return `${lines.join('\n')}\n`;
}

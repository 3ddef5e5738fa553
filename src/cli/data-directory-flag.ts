import { InvalidArgumentError, Option } from 'commander';

/** The flag `--data-dir` of a command. */
export const dataDirectoryOption = (description: string): Option => new Option('--data-dir <dir>', description).argParser(parseSomething);

/**
 * The parser of a value whose empty text is a slip: a script whose variable is not set must not get the working directory.
 *
 * @throws InvalidArgumentError for an empty value
 */
export function parseSomething(value: string): string {
  if (value === '') throw new InvalidArgumentError('It is empty; is a variable not set?');
  return value;
}

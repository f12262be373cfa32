/** How every command of this project reads its command line: one parser, one form of error, and exit code 2 for a wrong call. */
import { Command, InvalidArgumentError } from 'commander'

/** 1 is left to what a command was asked to do and could not. */
const WRONG_CALL = 2

/** A program, or a command of it that was made by `program.command()`. */
export function createProgram(name: string): Command {
  return new Command(name).showHelpAfterError().exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : WRONG_CALL))
}

export const wholeNumber =
  (lowest: number, highest: number) =>
  (text: string): number => {
    const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN
    if (value >= lowest && value <= highest) return value
    throw new InvalidArgumentError(`Allowed: a whole number from ${lowest} to ${highest}.`)
  }

export const aNumber =
  (lowest: number, highest: number) =>
  (text: string): number => {
    const value = /^\d{1,12}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN
    if (value >= lowest && value <= highest) return value
    throw new InvalidArgumentError(`Allowed: a number from ${lowest} to ${highest}.`)
  }

/** Names with commas between. */
export const names = (text: string): readonly string[] => text.split(',').filter((name) => name !== '')

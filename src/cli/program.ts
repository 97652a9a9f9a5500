/**
 * The command line `anyhop`: which words there are, their help, and exit codes. What a command does comes in as
 * `Actions` from the daemon's main file; what asks a running daemon is in `control.ts`, keys and files in `setup.ts`.
 */
import { Command, CommanderError, Option } from "commander";
import { ask, getStatus } from "../api/client.ts";
import { problemsOfHost, SOCKET_DIR } from "../api/contract.ts";
import { AnyhopError } from "../base/errors.ts";
import { addControlCommands } from "./control.ts";
import { addSetupCommands, type LoadSetup } from "./setup.ts";
import { findSocket } from "./sockets.ts";
import { renderStatus } from "./status.ts";

export const EXIT_OK = 0;
/** Something failed while running. */
export const EXIT_FAILED = 1;
/** The command line or the configuration is wrong; nothing was started. */
export const EXIT_USAGE = 2;
/** `status` and `up`: the daemon runs, but something that was asked of this machine is missing. */
export const EXIT_PROBLEMS = 3;

/** Sessions that status shows. */
const ROWS = 20;

/** Each returns an exit code. An AnyhopError that it throws is printed and is EXIT_FAILED. */
export interface Actions {
  /** `log`: targets as in anytun's -L; empty = the default. */
  run(file: string, options: { readonly log: readonly string[] }): Promise<number>;
  /** `argv`: everything after the word "classic", untouched. */
  classic(argv: readonly string[]): Promise<number>;
  check(file: string): Promise<number>;
  /** Keys and files; left out by programs that only run instances. */
  readonly setup?: LoadSetup;
}

export interface CliIo {
  readonly version: string;
  out(text: string): void;
  err(text: string): void;
  /** Of files that a person names; see `ControlIo`. */
  readSecret(path: string): Uint8Array;
  /** Where NAME.sock files are; SOCKET_DIR when left out. */
  readonly socketDir?: string;
}

/** Runs the words after "anyhop" and returns the exit code. Throws nothing but bugs. */
export async function runCli(argv: readonly string[], actions: Actions, io: CliIo): Promise<number> {
  let code = EXIT_OK;
  const program = createProgram(actions, io, (result) => {
    code = result;
  });
  try {
    // anytun's words are not commander's: "--" or a passphrase that looks like an option must arrive untouched.
    if (argv[0] === "classic") return await actions.classic(argv.slice(1));
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    if (!(error instanceof AnyhopError)) throw error;
    io.err(`anyhop: ${error.message}\n`);
    return error.code === "usage" ? EXIT_USAGE : EXIT_FAILED;
  }
}

/** The commander program; `done` receives the exit code of the command that ran. */
export function createProgram(actions: Actions, io: CliIo, done: (code: number) => void): Command {
  const program = new Command("anyhop")
    .description("Anycast tunnels that speak SATP with anytun and uanytun.")
    .version(io.version, "-V, --version", "show the version")
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .addHelpText(
      "after",
      `
Examples:
  anyhop run /etc/anyhop/node.toml
  anyhop check /etc/anyhop/node.toml
  anyhop classic -r 192.0.2.1 -d tun0 -n 10.9.0.2/24 -e right --passphrase-file /etc/anyhop/phrase
  anyhop status

Exit codes: 0 done, 1 failed while running, 2 wrong command line or configuration, 3 it runs, but something is missing on this machine (status, up).`,
    );
  // A subcommand of its own, so that help lists it; its words never come here (see runCli).
  program.command("classic").description("run with the command line of anytun or uanytun; see classic --help");
  program
    .command("run")
    .argument("<file>", "configuration file (TOML)")
    .description("run the instance of a configuration file in the foreground")
    .addOption(
      new Option("-L, --log <target:level>", "stderr:3, json:3, file:3,PATH or syslog:3,NAME,FACILITY; may be repeated")
        .default([], "stderr:3")
        .argParser((value: string, all: string[]) => [...all, value]),
    )
    .addHelpText("after", "\nExample:\n  anyhop run /etc/anyhop/node.toml --log json:4")
    .action(async (file: string, options: { log: string[] }) => done(await actions.run(file, options)));
  program
    .command("check")
    .argument("<file>", "configuration file (TOML)")
    .description("report every fault of a configuration file, with its line; changes nothing")
    .addHelpText("after", "\nExample:\n  anyhop check /etc/anyhop/node.toml && systemctl restart anyhop@node")
    .action(async (file: string) => done(await actions.check(file)));
  program
    .command("status")
    .argument("[name]", "instance; not needed when only one is running")
    .option("--socket <path>", "control socket, instead of a name")
    .option("--json", "the whole answer as JSON")
    .description("show what a running daemon does")
    .addHelpText(
      "after",
      "\nExamples:\n  anyhop status node\n  anyhop status --json | jq .drops\n\n" +
        "Exit code 3: something that was asked of this machine is missing, or a client does not protect it; the lines with ! say what.",
    )
    .action(async (name: string | undefined, options: { socket?: string; json?: true }) => {
      const socket = findSocket(name, options.socket, io.socketDir ?? SOCKET_DIR);
      const status = await getStatus(socket);
      // A node may have 100,000: the others are in sessions list.
      const first =
        status.node === null || options.json ? undefined : await ask(socket, "listSessions", { limit: ROWS });
      io.out(options.json ? `${JSON.stringify(status, null, 2)}\n` : renderStatus(status, first?.sessions));
      done(problemsOfHost(status).length > 0 ? EXIT_PROBLEMS : EXIT_OK);
    });
  addControlCommands(program, { ...io, socketDir: io.socketDir ?? SOCKET_DIR }, done);
  if (actions.setup !== undefined) addSetupCommands(program, actions.setup, done);
  return program;
}

/**
 * Entry of `bin/anyhop`: what the words of the command line do. The composition root; loads the daemon's parts only for
 * commands that run one.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { SOCKET_DIR } from "../api/contract.ts";
import { AnyhopError } from "../base/errors.ts";
import { createLogger, type Logger, type LogTarget, parseLogTarget } from "../base/log.ts";
import { printable } from "../base/printable.ts";
import { type Actions, EXIT_FAILED, EXIT_OK, EXIT_USAGE, runCli } from "../cli/program.ts";
import { LogLevel } from "../control/asked/log_level.ts";
import type { ProcessSpec } from "../control/classic/classic.ts";
import type { ParsedFile } from "../control/config/config_file.ts";
import * as configEnv from "../drivers/config_env.ts";
import { systemClock } from "./clock.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
const PENDING_MS = 1000;
// Whatever stands in a file or in an answer, no terminal takes it for a command.
const out = (text: string) => process.stdout.write(printable(text));
const err = (text: string) => process.stderr.write(printable(text));

async function readConfig(file: string): Promise<ParsedFile & { complaints: string }> {
  const { readConfigFile } = await import("./config_reader.ts");
  const { formatFault } = await import("../control/spec/faults.ts");
  const parsed = await readConfigFile(file);
  return { ...parsed, complaints: parsed.faults.map((fault) => `${formatFault(fault)}\n`).join("") };
}

async function createLog(targets: readonly LogTarget[], level = new LogLevel()): Promise<Logger> {
  const { openSinks } = await import("../drivers/log_sinks.ts");
  const { syslog } = await import("../drivers/native.ts");
  return createLogger(systemClock, level.attach(await openSinks(targets, syslog)));
}

const actions: Actions = {
  async setup() {
    const { createSetupActions } = await import("./setup_actions.ts");
    const { readConfigFile } = await import("./config_reader.ts");
    return createSetupActions({ out, err, socketDir: SOCKET_DIR, readConfig: readConfigFile });
  },

  async check(file) {
    const { complaints, ...parsed } = await readConfig(file);
    const { describeFile } = await import("../control/config/config_file.ts");
    err(complaints);
    if (!parsed.spec) return EXIT_USAGE;
    out(`${file}: good, ${describeFile(parsed)}\n`);
    return EXIT_OK;
  },

  async run(file, options) {
    const { attachParent } = await import("./background.ts");
    const parent = attachParent();
    const { complaints, ...parsed } = await readConfig(resolve(file));
    err(complaints);
    if (!parsed.spec) return EXIT_USAGE;
    const targets: LogTarget[] = [];
    for (const text of options.log.length > 0 ? options.log : ["stderr:3"]) {
      const target = parseLogTarget(text);
      if (typeof target === "string") throw new AnyhopError("usage", target);
      targets.push(target);
    }
    const level = new LogLevel();
    const log = await createLog(targets, level);
    const hooks = { version, log, onReady: parent.ready, onListening: parent.listens, onStep: parent.step };
    if (parsed.kind === "node") {
      const { runNode } = await import("./node.ts");
      return endSoon(await runNode(parsed.spec, resolve(file), level, hooks));
    }
    if (parsed.kind === "client") {
      const { runClient } = await import("./client.ts");
      return endSoon(await runClient(parsed.spec, hooks));
    }
    const { runInstance } = await import("./instance.ts");
    return endSoon(await runInstance(parsed.spec, hooks));
  },

  async classic(argv) {
    const { parseClassic } = await import("../control/classic/classic.ts");
    const parsed = parseClassic(argv, configEnv);
    if (parsed.kind === "help") out(parsed.text);
    if (parsed.kind === "version") out(`anyhop ${version}\n`);
    if (parsed.kind === "help" || parsed.kind === "version") return EXIT_OK;
    for (const warning of parsed.warnings) err(`anyhop: warning: ${warning}\n`);
    if (parsed.kind === "error") {
      for (const sentence of parsed.errors) err(`anyhop: ${sentence}\n`);
      return EXIT_USAGE;
    }
    // Overwrites the argument vector: -E and -K are secrets, and ps shows everybody's arguments.
    process.title = "anyhop-classic"; // no blank: it is the name in /proc/PID/stat
    const { startInBackground, attachParent } = await import("./background.ts");
    if (parsed.process.daemonize) return startInBackground(["classic", ...argv, "--nodaemonize"], err);
    const { process: wishes } = parsed;
    const parent = attachParent();
    const log = await createLog(wishes.log);
    const { runInstance } = await import("./instance.ts");
    const { dropPrivileges } = await import("./privileges.ts");
    return runInstance(parsed.spec, {
      version,
      log,
      onReady() {
        if (wishes.writePid !== undefined) writePid(wishes.writePid);
        dropPrivileges(wishes);
        parent.ready();
      },
    });
  },
};

/** A look-up of a name may take the system half a minute, and nobody waits for its answer any more. */
function endSoon(code: number): number {
  setTimeout(() => process.exit(), PENDING_MS).unref();
  return code;
}

function writePid(path: NonNullable<ProcessSpec["writePid"]>): void {
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (cause) {
    throw new AnyhopError("pid_file", `The pid file ${path} cannot be written: ${(cause as Error).message}.`, {
      cause,
    });
  }
}

runCli(process.argv.slice(2), actions, { version, out, err, readSecret: configEnv.readSecret }).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    err(
      error instanceof AnyhopError
        ? `anyhop: ${error.message}\n`
        : `anyhop: internal error: ${error?.stack ?? error}\n`,
    );
    process.exitCode = EXIT_FAILED;
  },
);

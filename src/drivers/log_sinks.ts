/**
 * Where log lines end: text on a terminal or in a file, JSON for collectors, syslog. Lines are written at once with
 * blocking calls, so that the last line before a crash is there; a line that cannot be written is lost, never thrown.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";
import { formatMessage, formatText, type LogTarget, levelNames, type Sink } from "../base/log.ts";

/** syslog(3) through the addon. `facility` and `priority` as in RFC 5424 section 6.2.1. */
export type Syslog = (facility: number, ident: string, priority: number, line: string) => void;

/** File descriptors of the standard streams; tests give others. */
const STANDARD = { stdout: 1, stderr: 2 };
/** anytun's level 1 (error) is LOG_ERR (3), each further level one more: 5 (debug) is LOG_DEBUG (7). */
const PRIORITY_OF_LEVEL_0 = 2;

/**
 * Opens one sink for each target. Throws AnyhopError "log_file" when a file cannot be opened. pino is only loaded for
 * `json` targets.
 */
export async function openSinks(targets: readonly LogTarget[], syslog: Syslog, fds = STANDARD): Promise<Sink[]> {
  const sinks: Sink[] = [];
  try {
    for (const target of targets) sinks.push(await openSink(target, syslog, fds));
  } catch (error) {
    for (const sink of sinks) sink.close();
    throw error;
  }
  return sinks;
}

async function openSink(target: LogTarget, syslog: Syslog, fds: typeof STANDARD): Promise<Sink> {
  switch (target.kind) {
    case "stdout":
    case "stderr":
      return textSink(target.level, fds[target.kind], () => {});
    case "json":
      return jsonSink(target.level, fds.stderr);
    case "file": {
      const fd = openLogFile(target.path);
      return textSink(target.level, fd, () => closeSync(fd));
    }
    case "syslog":
      return {
        level: target.level,
        write: (record) =>
          lossy(() => syslog(target.facility, target.ident, record.level + PRIORITY_OF_LEVEL_0, formatMessage(record))),
        close: () => {},
      };
  }
}

function openLogFile(path: string): number {
  try {
    return openSync(path, "a", 0o640);
  } catch (error) {
    throw new AnyhopError(
      "log_file",
      `The log file ${path} cannot be opened for appending: ${(error as Error).message}.`,
      { cause: error },
    );
  }
}

function textSink(level: number, fd: number, close: () => void): Sink {
  return { level, write: (record) => writeLine(fd, `${formatText(record)}\n`), close };
}

async function jsonSink(level: number, fd: number): Promise<Sink> {
  const { pino } = await import("pino");
  const logger = pino(
    {
      base: null,
      level: "debug",
      useOnlyCustomLevels: true,
      customLevels: { error: 50, warning: 40, notice: 35, info: 30, debug: 20 },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: false,
      messageKey: "message",
    },
    { write: (line: string) => writeLine(fd, line) },
  );
  return {
    level,
    write: (record) => {
      const name = levelNames[record.level] as "error" | "warning" | "notice" | "info" | "debug";
      logger[name](
        { time: new Date(record.timeMs).toISOString(), event: record.event, ...record.fields },
        record.message,
      );
    },
    close: () => {},
  };
}

function writeLine(fd: number, line: string): void {
  lossy(() => writeSync(fd, line));
}

/** A full pipe (EAGAIN), a closed terminal, a full disk or a dead syslog loses the line. */
function lossy(write: () => unknown): void {
  try {
    write();
  } catch {
    return;
  }
}

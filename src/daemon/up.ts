/**
 * `anyhop up`: starts an instance in the background, says on stderr how far it is, and ends when it is up, or with the
 * reason why it is not. What is not up is stopped, so that a failed `up` leaves nothing behind, unless it is to go on asking.
 */
import { getStatus } from "../api/client.ts";
import { problemsOfHost, type Status } from "../api/contract.ts";
import { EXIT_PROBLEMS } from "../cli/program.ts";
import type { UpOptions } from "../cli/setup.ts";
import { notUp, renderUp } from "../cli/up.ts";
import { Background } from "./background.ts";

export interface UpIo {
  out(text: string): void;
  err(text: string): void;
}

/** What `--json` prints. */
interface Result {
  readonly up: boolean;
  /** running: it goes on; stopped: by this command; ended: by itself. */
  readonly daemon: "running" | "stopped" | "ended";
  /** Stable: a reason of docs/OPERATIONS.md, or timeout, interrupted, failed; null when it is up and nothing is missing. */
  readonly reason: string | null;
  readonly message: string;
  readonly status: Status | null;
}

const STATUS_MS = 3000;

/** `argv`: of the daemon. Returns the exit code. */
export async function up(argv: readonly string[], options: UpOptions, io: UpIo): Promise<number> {
  let said = "";
  const daemon = new Background(argv, {
    said(text) {
      said += text;
      io.err(text);
    },
    step: (text) => io.err(`${text}\n`),
  });
  const end = (result: Result, code: number): number => {
    if (options.json) io.out(`${JSON.stringify(result, null, 2)}\n`);
    else if (result.up) io.out(result.message);
    else io.err(`anyhop: ${result.message}\n`);
    return code;
  };
  const start = await daemon.start(options.timeoutS * 1000);
  if (start.kind === "ended") {
    if (said.trim() === "") {
      said = `The daemon ended ${start.signal === null ? `with status ${start.code}` : `by signal ${start.signal}`} and gave no reason. Look into the log of the system, or run it in the foreground: anyhop run FILE.`;
      io.err(`anyhop: ${said}\n`);
    }
    return options.json
      ? end({ up: false, daemon: "ended", reason: "failed", message: said.trim(), status: null }, start.code || 1)
      : start.code || 1;
  }
  const status =
    daemon.socketPath === undefined ? null : await getStatus(daemon.socketPath, STATUS_MS).catch(() => null);
  if (start.kind === "ready") {
    daemon.letGo();
    const message = status === null ? "It is up.\n" : renderUp(status);
    const isWhole = status === null || problemsOfHost(status).length === 0;
    const reason = isWhole ? null : "host";
    return end({ up: true, daemon: "running", reason, message, status }, isWhole ? 0 : EXIT_PROBLEMS);
  }
  if (start.kind === "late" && options.keepTrying) {
    daemon.letGo();
    const { reason, message } = notUp(
      status,
      options.timeoutS,
      "it goes on trying, anyhop status shows how; anyhop down ends it",
    );
    return end({ up: false, daemon: "running", reason, message, status }, 1);
  }
  const how = (await daemon.stop()) ? "stopped" : "killed, because it did not stop";
  const why =
    start.kind === "late"
      ? notUp(status, options.timeoutS, `it was ${how}`)
      : { reason: "interrupted", message: `Interrupted by ${start.signal}; the daemon was ${how}.` };
  return end({ up: false, daemon: "stopped", ...why, status }, 1);
}

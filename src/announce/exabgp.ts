/**
 * ExaBGP over its named pipe (exabgp.in, `exabgp.api.pipename`), or over any pipe that a process of its API reads
 * commands from. Draining is the same announcement with the community of RFC 8326: one update, never a withdrawal.
 * ExaBGP says nothing back on this pipe and forgets when it is restarted; so the phase is written again at each refresh.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { AnyhopError } from "../base/errors.ts";
import type { AnnounceSpec, Phase } from "./spec.ts";
import type { Driver } from "./steering.ts";

type ExaSpec = Pick<AnnounceSpec, "pipe" | "prefixes" | "nextHop">;

const GRACEFUL_SHUTDOWN = "65535:0";

/** The commands of one phase, a line for each prefix. */
function exabgpLines(phase: Phase, { prefixes, nextHop }: Omit<ExaSpec, "pipe">): string[] {
  return prefixes.map((prefix) => {
    const hop = prefix.includes(":") ? nextHop.v6 : nextHop.v4;
    if (phase === "withdrawn") return `withdraw route ${prefix} next-hop ${hop}`;
    const community = phase === "draining" ? ` community [${GRACEFUL_SHUTDOWN}]` : "";
    return `announce route ${prefix} next-hop ${hop}${community}`;
  });
}

export class ExabgpDriver implements Driver {
  readonly #spec: ExaSpec;

  constructor(spec: ExaSpec) {
    this.#spec = spec;
  }

  async apply(phase: Phase): Promise<void> {
    const { pipe } = this.#spec;
    let fd = -1;
    try {
      // Opening fails when nobody reads, and never blocks.
      fd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
      // A line is far below PIPE_BUF (4096): it is written as a whole or not at all.
      for (const line of exabgpLines(phase, this.#spec)) writeSync(fd, `${line}\n`);
    } catch (cause) {
      throw new AnyhopError("exabgp_unreachable", unreachable(pipe, cause as NodeJS.ErrnoException), { cause });
    } finally {
      if (fd >= 0) closeSync(fd);
    }
  }

  async refresh(phase: Phase): Promise<boolean> {
    await this.apply(phase);
    return false;
  }

  close(): void {}
}

function unreachable(pipe: string, error: NodeJS.ErrnoException): string {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such pipe; make it with mkfifo, or say where it is with announce.pipe",
    ENXIO: "nobody reads from it; start ExaBGP",
    EPIPE: "ExaBGP has just ended",
    EAGAIN: "it is full, because ExaBGP does not read from it",
    EACCES: "this user may not write to it",
  };
  return `ExaBGP cannot be reached by ${pipe}: ${reasons[error.code ?? ""] ?? error.message}.`;
}

/** Turns the shard's events into log lines: who, what happened, and what is probably to be done about it. */
import type { Clock } from "../../base/clock.ts";
import { formatEndpoint } from "../../base/ip.ts";
import type { Logger, LogLimiter } from "../../base/log.ts";
import { ENDPOINT_MOVED, EVENT_WORDS, PATH_MTU, PEER_RESTARTED, PROBLEM } from "../../dataplane/events.ts";
import { verdicts } from "../../dataplane/verdict.ts";
import type { InstanceSpec } from "../spec/instance.ts";

export interface Problem {
  /** Number of the drop verdict. */
  readonly verdict: number;
  readonly peer: string;
  /** Monotonic. */
  readonly atMs: number;
}

export interface NoticeContext {
  readonly spec: InstanceSpec;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limiter: LogLimiter;
  /** Name of a session by its row. */
  readonly nameOf: ((row: number) => string | undefined) | undefined;
  /** By tunnel index; the last one of each. */
  readonly problems: Map<number, Problem>;
}

/** Writes the events of one message, at most one line a second for each cause and tunnel, and keeps problems. */
export function noteEvents(
  message: { readonly words: Int32Array; readonly lost: number },
  context: NoticeContext,
): void {
  const { spec, log, limiter } = context;
  const { words } = message;
  for (let at = 0; at < words.length; at += EVENT_WORDS) {
    const row = words[at + 1];
    const tunnel = spec.tunnels[row]?.name ?? context.nameOf?.(row) ?? String(row);
    const detail = words[at + 2];
    const peer = formatEndpoint(words[at + 3], words[at + 4], words[at + 5], words[at + 6], words[at + 7]);
    switch (words[at]) {
      case ENDPOINT_MOVED:
        limiter.log(`moved ${tunnel}`, (more) =>
          log.notice("endpoint_moved", `Tunnel ${tunnel}: the peer is at ${peer}${more}`, { tunnel, peer }),
        );
        break;
      case PEER_RESTARTED:
        limiter.log(`restarted ${tunnel}`, (more) =>
          log.notice(
            "peer_restarted",
            `Tunnel ${tunnel}: the peer at ${peer} has restarted its sequence numbers${more}`,
            {
              tunnel,
              peer,
            },
          ),
        );
        break;
      case PATH_MTU:
        limiter.log(`mtu ${tunnel}`, (more) =>
          log.info("path_mtu", `Tunnel ${tunnel}: the path to ${peer} takes ${detail} bytes${more}`, { tunnel, peer }),
        );
        break;
      case PROBLEM: {
        const { name, help } = verdicts[detail];
        context.problems.set(words[at + 1], { verdict: detail, peer, atMs: context.clock.monotonicMs() });
        limiter.log(`${name} ${tunnel}`, (more) =>
          log.warning(name, `Tunnel ${tunnel}: dropped a packet from ${peer}: ${help}${more}`, { tunnel, peer }),
        );
        break;
      }
    }
  }
  if (message.lost > 0)
    limiter.log("events lost", (more) => log.warning("events_lost", `${message.lost} events were not logged${more}`));
}

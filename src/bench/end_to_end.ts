/**
 * The end-to-end part: every peer that is installed, in interleaved rounds (A B C, A B C ...), in two network namespaces
 * of this machine. Drift of the machine hits all peers of a round alike, so the ratio is the result, not the figure.
 */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { originOf, VERSION } from "./machine.ts";
import { measure, secondsOf, startIperfServer } from "./measure.ts";
import { createPair, findProgram } from "./netns.ts";
import { type Peer, peers, versionOf } from "./peers.ts";
import type { Progress } from "./progress.ts";
import { type EndToEnd, type Failure, isFailure, type Measurement } from "./results.ts";

/** As a shell says of a program that Ctrl-C ended. */
const EXIT_STOPPED = 130;

export interface EndToEndOptions {
  readonly seconds: number;
  readonly rounds: number;
  readonly peers: readonly Peer[];
  /** What a person types to measure the same again. */
  readonly command: string;
}

/** The wanted peers that can run here; `say` hears which cannot, and why. Throws for names that do not exist. */
export function choosePeers(wanted: readonly string[] | undefined, say: (line: string) => void): Peer[] {
  const unknown = (wanted ?? []).filter((name) => !peers.some((peer) => peer.name === name));
  if (unknown.length > 0) {
    throw new Error(`There is no peer "${unknown.join('", "')}". Choose from: ${peers.map((p) => p.name).join(", ")}.`);
  }
  return peers.filter((peer) => {
    if (wanted !== undefined && !wanted.includes(peer.name)) return false;
    const missing = peer.needs.filter((program) => findProgram(program) === undefined);
    if (missing.length > 0) say(`${peer.name}: left out, ${missing.join(" and ")} is not installed.`);
    return missing.length === 0;
  });
}

/** Throws when this machine or this user cannot measure end to end. */
export function checkMachine(): void {
  for (const program of ["ip", "iperf3", "ping"]) {
    if (findProgram(program) === undefined) {
      throw new Error(`The benchmark needs ${program}. On Debian: apt install iproute2 iperf3 iputils-ping.`);
    }
  }
  if (process.getuid?.() !== 0) throw new Error("The benchmark makes network namespaces: run it as root.");
}

/** Expected seconds of `measureEndToEnd`. */
export function endToEndSeconds(options: EndToEndOptions): number {
  return options.rounds * options.peers.reduce((sum, peer) => sum + secondsOf(peer, options.seconds), 0);
}

export async function measureEndToEnd(options: EndToEndOptions, progress: Progress): Promise<EndToEnd> {
  const { rounds, seconds } = options;
  const origin = originOf(options.command);
  const results: (Measurement | Failure)[] = [];
  // From here on there are things to remove: `netns.ts` and the next lines do it when the process exits. Before, a signal
  // has its usual effect, which loops that never come back to the event loop could not give it.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(EXIT_STOPPED));
  const dir = await mkdtemp(`${tmpdir()}/anyhop-bench-`);
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
  try {
    const pair = await createPair("bench");
    try {
      startIperfServer(pair.right);
      for (let round = 1; round <= rounds; round++) {
        for (const peer of options.peers) {
          const result = await measure(peer, pair, round, seconds, `${dir}/${peer.name}-${round}`);
          results.push(isFailure(result) ? { ...result, error: shortened(result.error) } : result);
          progress.step(secondsOf(peer, seconds), `round ${round} of ${rounds}, ${peer.name}: ${describe(result)}`);
        }
      }
    } finally {
      await pair.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  const facts = await Promise.all(
    options.peers.map(async ({ name, help, ours, needs }) => {
      const version = needs[0] === undefined ? (ours ? VERSION : "") : await versionOf(needs[0]);
      return { name, help, ours, version };
    }),
  );
  return { origin, seconds, rounds, iperf: await versionOf("iperf3"), peers: facts, results };
}

/** An error as it may stand in a file that others read: one line, and no paths of this machine. */
export function shortened(error: string): string {
  return error
    .replace(/(?:file:\/\/)?(?:\/[\w.@+-]+)+\/([\w.@+-]+)/g, "$1")
    .replace(/\s+/g, " ")
    .slice(0, 200);
}

function describe(result: Measurement | Failure): string {
  if (isFailure(result)) return `FAILED: ${result.error}`;
  const { tcpMbps, udp64Kpps, rttMs } = result;
  return `TCP ${tcpMbps.toFixed(0)} Mbit/s, 64 B ${udp64Kpps.toFixed(1)} kpps, RTT ${rttMs.toFixed(3)} ms`;
}

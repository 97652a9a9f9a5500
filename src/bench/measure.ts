/**
 * Measures one tunnel, end to end: one TCP stream, floods of small and of large UDP packets, and the idle round trip.
 * Returns numbers; tables and files are made elsewhere. The load comes from iperf3 and ping, programs that know
 * nothing of the tunnel.
 */
import { rm } from "node:fs/promises";
import { type Namespace, type Pair, type Program, sleep } from "./netns.ts";
import { type Peer, startPeer, usage } from "./peers.ts";
import type { Failure, Measurement } from "./results.ts";

const IPERF_PORT = "5201";
/** Ticks a second in /proc (USER_HZ), 100 on every Linux. */
const TICKS = 100;
const READY_TRIES = 60;

export function startIperfServer(namespace: Namespace): Program {
  return namespace.start(["iperf3", "-s", "-p", IPERF_PORT]);
}

/** Seconds that one `measure` takes, about: three floods, and start, pings and stop around them. */
export function secondsOf(peer: Peer, seconds: number): number {
  return 3 * (seconds + 0.3) + 3 + (peer.settleMs ?? 0) / 1000;
}

interface IperfEnd {
  readonly end?: {
    readonly sum_received?: { readonly bits_per_second: number };
    readonly sum?: { readonly seconds: number; readonly packets: number; readonly lost_packets: number };
  };
  readonly error?: string;
}

async function iperf(from: Namespace, target: string, seconds: number, args: readonly string[]): Promise<IperfEnd> {
  const argv = ["iperf3", "-c", target, "-p", IPERF_PORT, "-t", String(seconds), "-J", ...args];
  // The server may still be busy with the end of the run before, lost in a flood: try again after a moment.
  for (let attempt = 0; ; attempt++) {
    const output = await from.run(argv, (seconds + 20) * 1000);
    let report: IperfEnd;
    try {
      report = JSON.parse(output.stdout) as IperfEnd;
    } catch {
      report = { error: output.stderr.trim() || "no report" };
    }
    if (report.error === undefined) return report;
    if (attempt === 2) throw new Error(`iperf3 ${args.join(" ")} through the tunnel failed: ${report.error}`);
    await sleep(1000);
  }
}

async function tcpMbps(from: Namespace, target: string, seconds: number): Promise<number> {
  const report = await iperf(from, target, seconds, []);
  return (report.end?.sum_received?.bits_per_second ?? 0) / 1e6;
}

/** Packets a second that arrived. `-b 0`: as fast as the sender can. */
async function udpPps(from: Namespace, target: string, seconds: number, bytes: number): Promise<number> {
  const sum = (await iperf(from, target, seconds, ["-u", "-l", String(bytes), "-b", "0"])).end?.sum;
  return sum === undefined ? 0 : (sum.packets - sum.lost_packets) / sum.seconds;
}

async function idleRttMs(from: Namespace, target: string): Promise<number> {
  const output = await from.run(["ping", "-c", "200", "-i", "0.002", "-q", target]);
  const mean = /= [\d.]+\/([\d.]+)\//.exec(output.stdout)?.[1];
  if (mean === undefined) throw new Error(`ping through the tunnel failed: ${output.stdout.trim()}`);
  return Number(mean);
}

async function waitForTunnel(from: Namespace, target: string, programs: readonly Program[]): Promise<void> {
  for (let i = 0; i < READY_TRIES; i++) {
    const dead = programs.find((program) => !program.alive);
    if (dead !== undefined) {
      await dead.ended;
      throw new Error(`a daemon ended with code ${dead.exitCode}: ${dead.output.trim().slice(-600)}`);
    }
    if ((await from.run(["ping", "-c", "1", "-W", "1", target])).code === 0) return;
    await sleep(200);
  }
  const said = programs.map((program) => program.output.trim().slice(-300)).join(" | ");
  throw new Error(`no ping through the tunnel. The daemons said: ${said}`);
}

/** Starts the peer, measures it, stops it. Everything that goes wrong becomes a `Failure`. */
export async function measure(
  peer: Peer,
  pair: Pair,
  round: number,
  seconds: number,
  dir: string,
): Promise<Measurement | Failure> {
  const programs: Program[] = [];
  try {
    await startPeer(peer, pair, dir, programs);
    await waitForTunnel(pair.left, peer.target, programs);
    await sleep(peer.settleMs ?? 0);
    const rttMs = await idleRttMs(pair.left, peer.target);
    const before = await usage(programs);
    const tcp = await tcpMbps(pair.left, peer.target, seconds);
    const after = await usage(programs);
    const small = await udpPps(pair.left, peer.target, seconds, 64);
    const large = await udpPps(pair.left, peer.target, seconds, 1300);
    const end = await usage(programs);
    return {
      peer: peer.name,
      round,
      tcpMbps: tcp,
      daemonCores: (after.ticks - before.ticks) / TICKS / seconds,
      udp64Kpps: small / 1e3,
      udp1300Mbps: (large * 1300 * 8) / 1e6,
      rttMs,
      peakMb: end.peakKb / 1024,
    };
  } catch (error) {
    return { peer: peer.name, round, error: error instanceof Error ? error.message : String(error) };
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
    await rm(dir, { recursive: true, force: true });
  }
}

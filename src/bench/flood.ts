/**
 * `npm run bench -- flood`: what one TCP stream in a session keeps while forged first messages come in. The same flood to a
 * port where nobody listens shows what making and receiving it costs the machine; the difference is the node's. Needs root
 * and iperf3.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createPair, OUTER, type Pair, type Program, sleep } from "./netns.ts";
import { startSession } from "./session_ends.ts";
import { median } from "./statistics.ts";
import { BENCH, INNER } from "./tunnel_ends.ts";

const PER_SECOND = 50_000;
const FLOOD_S = 5;
const STREAM_S = 3;
/** The flood has begun. */
const LEAD_MS = 500;
const PORT = 4444;
const NOBODY = 4445;
const PATIENCE_MS = 30_000;

export async function reportFlood(rounds: number): Promise<string> {
  const dir = mkdtempSync(`${tmpdir()}/anyhop-bench-`);
  const pair = await createPair("flood");
  try {
    const groupKey = await startSession(pair, dir, [], [OUTER.left.v4, OUTER.left.v6]);
    const { left, right } = pair;
    left.start(["iperf3", "-s"]);
    await left.ip("-6", "route", "add", "2001:db8::/32", "via", OUTER.right.v6);
    // Answers to forged addresses end here.
    await right.ip("-6", "route", "add", "blackhole", "2001:db8::/32");
    await right.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
    await up(pair);
    const kept: number[] = [];
    let sent = 0;
    for (let round = 0; round < rounds; round++) {
      const beside = await streamUnder(pair, groupKey, NOBODY);
      const under = await streamUnder(pair, groupKey, PORT);
      kept.push((100 * under.mbps) / beside.mbps);
      sent += under.forged / (PER_SECOND * FLOOD_S) / rounds;
    }
    return [
      `${rounds} round(s) of ${FLOOD_S} s; ${Math.round(100 * sent)} % of ${PER_SECOND} forged handshakes a second were sent`,
      `kept of a TCP stream: ${median(kept).toFixed(0)} % (${Math.min(...kept).toFixed(0)} to ${Math.max(...kept).toFixed(0)})`,
    ].join("\n");
  } finally {
    await pair.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function streamUnder({ right }: Pair, groupKey: string, port: number): Promise<{ mbps: number; forged: number }> {
  const order = { groupKey, port, perSecond: PER_SECOND, seconds: FLOOD_S };
  const flood: Program = right.start([process.execPath, BENCH, "flood-load", JSON.stringify(order)]);
  await sleep(LEAD_MS);
  const { stdout } = await right.run(["iperf3", "-c", INNER.left, "-t", String(STREAM_S), "-J"]);
  await flood.ended;
  return { mbps: JSON.parse(stdout).end.sum_received.bits_per_second / 1e6, forged: Number(flood.output) };
}

async function up({ right }: Pair): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    if ((await right.run(["ping", "-c", "1", "-W", "0.3", INNER.left])).code === 0) return;
    if (Date.now() > deadline) throw new Error("The session did not come up.");
  }
}

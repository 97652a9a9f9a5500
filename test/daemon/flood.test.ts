/**
 * A node under attack: 50,000 first messages a second from as many forged addresses. Sessions go on, memory is bounded,
 * cookies come and go, and the operator sees all of it. The same flood to a port where nobody listens shows what making
 * and receiving it costs the machine; the difference is the node's.
 */
import { loadavg } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "../../src/api/client.ts";
import { OUTER, type Program, sleep } from "../../src/bench/netns.ts";
import { usage } from "../../src/bench/peers.ts";
import { median } from "../../src/bench/statistics.ts";
import { BENCH } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["iperf3", "sysctl"] });
const PER_SECOND = 50_000;
const FLOOD_S = 5;
const STREAM_S = 3;
/** Rounds beside and under the flood, in turn. The number is fixed: to stop at the first good median would be luck. */
const ROUNDS = 5;
/** What sessions keep, at least. */
const KEPT = 0.8;
const MEMORY_KB = 64 * 1024;
const PORT = 4444;
const NOBODY = 4445;

describe.skipIf(why !== undefined)(`a flood of handshakes${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;
  let groupKey: string;

  beforeAll(async () => {
    world = await SessionPair.create("flood");
    await world.invite("anna");
    node = await world.startNode();
    await world.startClient("anna");
    const { left, right } = world.pair;
    groupKey = /public_key = "([^"]{44})"/.exec((await right.run(["cat", world.file("anna")])).stdout)![1]!;
    left.start(["iperf3", "-s"]);
    await left.ip("-6", "route", "add", "2001:db8::/32", "via", OUTER.right.v6);
    // Answers to forged addresses end here.
    await right.ip("-6", "route", "add", "blackhole", "2001:db8::/32");
    expect((await right.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])).code).toBe(0);
  });
  afterAll(() => world?.close());

  const counters = async (): Promise<Record<string, number>> => {
    const { counters } = await ask(world.nodeSocket, "counters", {});
    return Object.fromEntries(counters.map(({ name, count }) => [name, count]));
  };

  /** Mbit/s of one TCP stream through the session while forged packets go to `port`. */
  const streamBeside = async (port: number): Promise<number> => {
    const order = { groupKey, port, perSecond: PER_SECOND, seconds: FLOOD_S };
    const flood = world.pair.right.start([process.execPath, BENCH, "flood-load", JSON.stringify(order)]);
    await sleep(500);
    const argv = ["iperf3", "-c", INNER_NODE.v4, "-t", String(STREAM_S), "-J"];
    const report = JSON.parse((await world.pair.right.run(argv)).stdout);
    await flood.ended;
    expect(Number(flood.output), flood.output).toBeGreaterThan(0.9 * PER_SECOND * FLOOD_S);
    return report.end.sum_received.bits_per_second / 1e6;
  };

  test(`one stream keeps ${100 * KEPT} %, memory is bounded, cookies go on and off, all of it is counted`, async () => {
    // Decided before anything is measured: beside other programs the ratio is theirs.
    const [load] = loadavg();
    const quiet = load! < 1;
    const memory = (await usage([node])).peakKb;
    const kept: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const beside = await streamBeside(NOBODY);
      kept.push((await streamBeside(PORT)) / beside);
    }
    console.log(
      `kept of a TCP stream: ${kept.map((ratio) => `${Math.round(100 * ratio)} %`).join(", ")}; load before: ${load}${quiet ? "" : ", too high to judge"}`,
    );
    if (quiet) expect(median(kept)).toBeGreaterThanOrEqual(KEPT);
    expect((await usage([node])).peakKb - memory).toBeLessThan(MEMORY_KB);
    const seen = await counters();
    expect(seen["handshake_cookie_sent"]).toBeGreaterThan(1000);
    expect(seen["punt_full"]).toBeGreaterThan(100_000);
    expect(seen["handshake_answered"]).toBe(1);
    expect(node.output).toContain("new ones need a cookie");
    await until("cookies are off again", () => /no cookies are asked for\n$/.test(node.output), [node]);
  }, 180_000);
});

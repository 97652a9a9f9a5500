/**
 * A node under attack: 50,000 first messages a second from as many forged addresses. Sessions go on, memory is bounded,
 * cookies come and go, and the operator sees all of it. What a session keeps of its throughput is measured by
 * `npm run bench -- flood`.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "../../src/api/client.ts";
import { OUTER, type Program } from "../../src/bench/netns.ts";
import { usage } from "../../src/bench/peers.ts";
import { BENCH } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["iperf3", "sysctl"] });
const PER_SECOND = 50_000;
const FLOOD_S = 5;
const STREAM_S = 3;
const MEMORY_KB = 64 * 1024;
const PORT = 4444;

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

  /** Packets that were forged beside one TCP stream through the session, whose bytes are counted. */
  const flood = async (): Promise<{ forged: number; streamed: number }> => {
    const order = { groupKey, port: PORT, perSecond: PER_SECOND, seconds: FLOOD_S };
    const flood = world.pair.right.start([process.execPath, BENCH, "flood-load", JSON.stringify(order)]);
    const argv = ["iperf3", "-c", INNER_NODE.v4, "-t", String(STREAM_S), "-J"];
    const report = JSON.parse((await world.pair.right.run(argv)).stdout);
    await flood.ended;
    return { forged: Number(flood.output), streamed: report.end.sum_received.bytes };
  };

  test("a stream goes on, memory is bounded, cookies go on and off, and nearly all of it is counted", async () => {
    const memory = (await usage([node])).peakKb;
    const before = await counters();
    const { forged, streamed } = await flood();
    expect(streamed).toBeGreaterThan(0);
    expect((await usage([node])).peakKb - memory).toBeLessThan(MEMORY_KB);
    const seen = await counters();
    expect(seen["handshake_cookie_sent"]).toBeGreaterThan(1000);
    const grown = (name: string): number => seen[name]! - before[name]!;
    const handshakes = Object.keys(seen).filter((name) => name.startsWith("handshake_"));
    const counted = grown("punt_full") + handshakes.reduce((sum, name) => sum + grown(name), 0);
    // What the kernel dropped before the shard is not the node's to count; more than what was sent would be made up.
    expect(counted).toBeLessThanOrEqual(forged + 10);
    expect(grown("punt_full"), `of ${forged}`).toBeGreaterThan(0);
    expect(seen["handshake_answered"]).toBe(1);
    expect(node.output).toContain("new ones need a cookie");
    await until("cookies are off again", () => /no cookies are asked for\n$/.test(node.output), [node]);
  });
});

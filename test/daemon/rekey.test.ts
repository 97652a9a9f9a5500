/**
 * New keys under load: 200 Mbit/s of UDP in each direction, while the client agrees new keys every five seconds. Nothing
 * may be lost between the two devices; each datagram that iperf3 misses must be found in a counter outside of them.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/api/contract.ts";
import type { Namespace, Program } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { whyNoNetns } from "../support/netns.ts";
import { INNER_NODE, SessionPair, until } from "./session_pair.ts";

const why = whyNoNetns({ tun: true, programs: ["ping", "iperf3"] });
const SECONDS = 12;
/** Of so many seconds at most, so two at least in a run. */
const REKEY_S = 5;

/** Datagrams that the kernel dropped in a namespace because a socket was full: of one process, and of all. */
async function fullSockets(at: Namespace, { pid }: Program) {
  const lines = (await at.run(["ss", "-H", "-O", "-u", "-a", "-p", "-m"])).stdout.split("\n");
  const own = lines.filter((line) => line.includes(`pid=${pid},`));
  expect(own.length).toBeGreaterThan(0);
  const [, errors] = /^Udp: (?:\d+ ){4}(\d+)/m.exec(readFileSync(`/proc/${pid}/net/snmp`, "utf8"))!;
  return { own: own.reduce((sum, line) => sum + Number(/,d(\d+)\)/.exec(line)![1]), 0), all: Number(errors) };
}

describe.skipIf(why !== undefined)(`new keys under load${why === undefined ? "" : ` (${why})`}`, () => {
  let world: SessionPair;
  let node: Program;
  let anna: Program;

  beforeAll(async () => {
    world = await SessionPair.create("rek");
    world.change("node", (text) => text.replace("[node]\n", `[node]\nrekey = ${REKEY_S}\n`));
    await world.invite("anna");
    node = await world.startNode();
    anna = await world.startClient("anna");
  });
  afterAll(() => world?.close());

  const statusOf = async (at: Namespace, socket: string): Promise<Status> =>
    JSON.parse((await at.run([ANYHOP, "status", "--json", "--socket", socket])).stdout) as Status;
  const rekeys = () => anna.output.split("session up").length;

  test.each([
    ["to the node", false],
    ["to the client", true],
  ])("%s: nothing is lost", async (_, reverse) => {
    const { left, right } = world.pair;
    const server = left.start(["iperf3", "-s", "-1", "-B", INNER_NODE.v4, "--forceflush"]);
    await until("iperf3 listens", () => server.output.includes("listening"), [server]);
    const count = async () => ({
      node: await statusOf(left, world.nodeSocket),
      client: await statusOf(right, world.socket("anna")),
      full: await (reverse ? fullSockets(right, anna) : fullSockets(left, node)),
      rekeys: rekeys(),
    });
    const before = await count();
    const words = ["-u", "-b", "200M", "-l", "1200", "-w", "4M", "-t", String(SECONDS), "--json"];
    const ran = await right.run(["iperf3", "-c", INNER_NODE.v4, ...words, ...(reverse ? ["-R"] : [])], 60_000);
    const { sum } = (JSON.parse(ran.stdout) as { end: { sum: { packets: number; lost_packets: number } } }).end;
    const after = await count();

    expect(after.rekeys - before.rekeys).toBeGreaterThanOrEqual(2);
    expect(sum.packets).toBeGreaterThan(SECONDS * 15_000);
    // Nothing on the way, with its reason; nothing where it arrives from the wire.
    for (const side of ["node", "client"] as const) expect(drops(after[side]), side).toEqual(drops(before[side]));
    expect(after.full.own).toBe(before.full.own);
    // What may be missing never came to us, or was handed over: a machine without time for the sender's shard, or for iperf3.
    const sender = reverse ? "node" : "client";
    const beforeUs = after[sender].device.queueDropped! - before[sender].device.queueDropped!;
    const afterUs = after.full.all - before.full.all;
    expect(sum.lost_packets - beforeUs - afterUs).toBe(0);
  });
});

const drops = ({ drops }: Status) => drops.filter(({ count }) => count > 0).map(({ name, count }) => [name, count]);

/**
 * Strangers off the path against real daemons: two nodes of a group, a client, and somebody who sends every kind of datagram in
 * the name of the client's address and port. What must hold is told by states and counts, so a busy machine changes nothing.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "../../src/api/client.ts";
import type { Program } from "../../src/bench/netns.ts";
import type { StrangerOrder } from "../../src/bench/stranger_load.ts";
import { BENCH } from "../../src/bench/tunnel_ends.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { publicKeyOf } from "../../src/control/text/keys/x25519.ts";
import { GroupWorld, SERVICE } from "../daemon/group_world.ts";
import { until } from "../daemon/session_pair.ts";
import { whyNoNetns } from "../support/netns.ts";

const why = whyNoNetns({ tun: true, programs: ["sysctl"] });
/** The client's, which the stranger forges. */
const VICTIM = { address: "203.0.113.2", port: 5555 };
const [OWNER, OTHER] = [1, 2];
const STRANGER_SPACE = 1;

describe.skipIf(why !== undefined)(
  `a stranger who forges a client's address${why === undefined ? "" : ` (${why})`}`,
  () => {
    let world: GroupWorld;
    let nodes: Program[];
    let client: Program;

    beforeAll(async () => {
      world = await GroupWorld.create(2, 2);
      const { router, clients } = world;
      const open = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.ip_forward=1"];
      expect((await clients[STRANGER_SPACE].run(["sysctl", "-qw", ...open])).code).toBe(0);
      const devices = ["n1", "n2", "c1", "c2"].map((device) => `net.ipv4.conf.${device}.rp_filter=0`);
      expect((await router.run(["sysctl", "-qw", ...open, ...devices])).code).toBe(0);
      nodes = await Promise.all([world.start(OWNER), world.start(OTHER)]);
      await world.meet(OWNER, OTHER);
    });
    afterAll(() => world?.close());

    const counters = async (node: number): Promise<Record<string, number>> => {
      const { counters } = await ask(world.socket(node), "counters", {});
      return Object.fromEntries(counters.map(({ name, count }) => [name, count]));
    };
    const flood = (order: Pick<StrangerOrder, "kinds" | "perSecond" | "seconds"> & Partial<StrangerOrder>): Program => {
      const groupKey = formatKey(publicKeyOf(Buffer.from(world.groupKey, "base64")));
      const whole: StrangerOrder = {
        ...{ groupKey, from: VICTIM, to: { address: SERVICE.v4, port: 4444 }, indices: [], ...order },
      };
      return world.clients[STRANGER_SPACE].start([process.execPath, BENCH, "stranger-load", JSON.stringify(whole)]);
    };
    /** Bytes that came to a node's cable and left it. */
    const traffic = async (node: number): Promise<{ rx: number; tx: number }> => {
      const { stdout } = await world.nodes[node - 1].run(["ip", "-s", "-j", "link", "show", "dev", "eth0"]);
      const [{ stats64 }] = JSON.parse(stdout);
      return { rx: stats64.rx.bytes, tx: stats64.tx.bytes };
    };

    test("with requests of every kind does not keep it from a session, nor from resuming it at nodes that lost theirs", async () => {
      const kinds = ["init", "init_cookie", "resume", "resume_cookie", "unknown", "control"] as const;
      const attack = flood({ kinds, perSecond: 5000, seconds: 60 });
      await until("the flood has begun", async () => ((await counters(OWNER))["stranger"] ?? 0) > 1000, [attack]);
      await until("cookies are asked for", () => nodes[0].output.includes("new ones need a cookie"), nodes);
      client = await world.startClient(1, SERVICE.v4, VICTIM.port);
      expect(client.alive, client.output).toBe(true);
      await until("a ping comes back", async () => (await world.pings(1, 10)) > 0, [client, ...nodes]);
      // Both at once, so that nobody can tell the other one.
      await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
      nodes = await Promise.all([world.start(OWNER), world.start(OTHER)]);
      await until("the client resumes", () => nodes[0].output.includes("session resumed by ticket"), [
        client,
        ...nodes,
      ]);
      await until("a ping comes back", async () => (await world.pings(1, 10)) > 0, [client, ...nodes]);
      expect(attack.alive, "the flood has lasted").toBe(true);
      const seen = await counters(OWNER);
      expect(seen["stranger"]).toBeGreaterThan(1000);
      expect(seen["control_unexpected"]).toBeGreaterThan(1000);
      await attack.stop();
    });

    test("with indices, made up and sniffed, at another node: no message for 255 of 256, no byte more out than in", async () => {
      await world.meet(OWNER, OTHER);
      // What the stranger sends goes to the node that does not own the session.
      const toOther = ["from", VICTIM.address, "iif", "c2", "lookup", "102", "pref", "102"];
      await world.router.ip("route", "add", `${SERVICE.v4}/32`, "via", "198.51.100.6", "table", "102");
      await world.router.ip("rule", "add", ...toOther);
      const { sessions } = (await ask(world.socket(OWNER), "listSessions", {})) as { sessions: { id: number }[] };
      const indices = sessions.map(({ id }) => id);
      expect(indices.length).toBe(1);
      const before = [await counters(OTHER), await traffic(OTHER)] as const;
      const starts = async () => (await world.group(OWNER)).peers.map(({ bootId }) => bootId);
      const peers = await starts();
      const attack = flood({ kinds: ["unknown", "known"], perSecond: 50_000, seconds: 6, indices });
      let answered = 0;
      for (let round = 0; round < 10; round++) {
        answered += await world.pings(1, 10);
        expect(await starts()).toEqual(peers);
      }
      await attack.ended;
      const sent = Number(attack.output);
      expect(sent, attack.output).toBeGreaterThan(10_000);
      const [after, now] = [await counters(OTHER), await traffic(OTHER)];
      const grown = (name: string) => (after[name] ?? 0) - (before[0][name] ?? 0);
      const [strangers, forged, asked] = [grown("stranger"), grown("auth_failed"), grown("group_asked")];
      // Half of what came was of each kind; what the host had no time for nobody saw.
      expect(strangers).toBeGreaterThan(1000);
      expect(forged).toBeGreaterThan(1000);
      expect(grown("held")).toBeLessThan(strangers / 64);
      expect(asked).toBeLessThan(strangers / 64);
      expect(grown("group_forged")).toBe(0);
      expect(now.tx - before[1].tx).toBeLessThanOrEqual(now.rx - before[1].rx);
      expect(await starts()).toEqual(peers);
      expect(answered).toBeGreaterThan(0);
      await world.meet(OWNER, OTHER);
      // The session stayed where it was.
      await expect.poll(async () => (await world.group(OWNER)).sessions.own).toBe(1);
      expect(nodes.map(({ alive }) => alive)).toEqual([true, true]);
    });
  },
);

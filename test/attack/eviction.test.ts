/**
 * The commands of docs/STOLEN-NODE.md and "Node identity", typed at real daemons: a roster is made and given to one node, a
 * client pings, node 3 is put out, and keys are rotated, the group's own key, too. No ping is lost.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Program, run } from "../../src/bench/netns.ts";
import { ANYHOP } from "../../src/bench/tunnel_ends.ts";
import { GroupWorld, SERVICE } from "../daemon/group_world.ts";
import { until } from "../daemon/session_pair.ts";
import { whyNoNetns } from "../support/netns.ts";

const skip = whyNoNetns({ tun: true });

describe.skipIf(skip !== undefined)(
  `a node is put out while the group runs${skip === undefined ? "" : `, skipped: ${skip}`}`,
  () => {
    let world: GroupWorld;
    beforeAll(async () => {
      world = await GroupWorld.create(3, 2);
    });
    afterAll(() => world?.close());

    const operator = async (...words: string[]): Promise<string> => {
      const { stdout, stderr, code } = await run([ANYHOP, ...words, "--dir", `${world.dir}/operator`]);
      expect(`${code} ${stderr}`).toBe("0 ");
      return stdout;
    };
    const roster = async (node: number) => (await world.group(node)).roster;
    const rotation = async (node: number) => (await world.group(node)).fleetRotation;

    test("the page, to its end", { timeout: 480_000 }, async () => {
      const said = await operator("init", "operator", "--group", "example");
      const key = /Public key of the operator: (\S+)/.exec(said)![1];
      for (const node of [1, 2, 3]) {
        const made = await run([
          ...[ANYHOP, "init", "node", "--dir", `${world.dir}/made${node}`, "--group", "example", "--operator", key],
          ...["--address", "192.0.2.1:4444", "--group-node", String(node), "--link", `198.51.100.${node}`],
        ]);
        const line = /anyhop (group add \d \S+)/.exec(made.stdout)![1];
        await operator(...line.split(" "));
      }
      expect(await operator("group", "show")).toMatch(/roster 3[\s\S]*1 {2}node1[\s\S]*3 {2}node3 .*member/);
      const group = (node: number) => `operator = "${key}"\nsigning_key_file = "${world.dir}/made${node}/signing.key"`;
      // One after the other: each takes a processor for a while.
      const programs: Program[] = [];
      for (const node of [1, 2, 3]) programs.push(await world.start(node, { group: group(node) }));
      // Nobody is believed before the roster is there, and status says so.
      expect((await world.cli(1, "sync")).stdout).toContain("there is no roster here yet");
      const file = `${world.dir}/operator/group.roster`;
      const applied = await world.cli(2, "group", "apply", file);
      expect(applied.stdout).toContain("Roster 3 is in force: nodes 1, 2, 3.");
      await world.meet(1, 2, 3);
      expect(await Promise.all([1, 2, 3].map(roster))).toEqual([3, 3, 3]);
      const client = await world.startClient(1, SERVICE.v4, 0, `operator = "${key}"`);
      expect(await world.pings(1, 20)).toBe(20);

      // The thief keeps node 3 away from the network while it is put out.
      programs[2].child.kill("SIGSTOP");
      await operator("group", "evict", "3");
      const [came] = await Promise.all([
        world.pings(1, 200),
        world.cli(1, "group", "apply", file).then(({ stdout }) => expect(stdout).toContain("put out: 3")),
      ]);
      expect(came).toBe(200);
      await until(
        "both rotate",
        async () => (await roster(2)) === 4 && (await rotation(1)) === 1 && (await rotation(2)) === 1,
        programs,
      );
      const sync = (await world.cli(1, "sync")).stdout;
      expect(sync).toMatch(/roster {3}version 4, fleet key rotated 1 times/);
      expect((await world.group(1)).peers.map(({ node }) => node)).toEqual([2]);

      // Back on the network it is not believed.
      programs[2].child.kill("SIGCONT");
      expect(await world.pings(1, 100)).toBe(100);
      expect((await world.group(1)).peers.map(({ node }) => node)).toEqual([2]);

      // Rotation, on demand.
      const [during] = await Promise.all([
        world.pings(1, 300),
        world.cli(1, "rotate", "fleet").then(() => world.cli(2, "rotate", "tickets", "--now")),
      ]);
      expect(during).toBe(300);
      await until("both rotate again", async () => (await rotation(1)) === 2 && (await rotation(2)) === 2, programs);

      // Another key of the group: files where the operator is, one `apply`, and clients hear of it.
      const made = await operator("rotate", "group", "--current", world.groupPublicKey);
      const next = /Public key of the group from then on: (\S+)/.exec(made)![1];
      const [kept] = await Promise.all([
        world.pings(1, 400),
        world
          .cli(2, "group", "apply", `${world.dir}/operator/group-keys.secret`)
          .then(({ stdout }) => expect(stdout).toContain("The group has another key (version 1)")),
      ]);
      expect(kept).toBe(400);
      await until("the client hears of it", () => client.output.includes(`the group has another key, ${next}`), [
        client,
      ]);
      // Another start of the client keeps it, and comes with the file that it has.
      await client.stop();
      await world.startClient(1, SERVICE.v4, 0, `operator = "${key}"`);
      expect(await world.pings(1, 20)).toBe(20);
      // One that was not there meanwhile comes with the file that it has, and a new one gets a file with the new key.
      const late = await world.startClient(2, SERVICE.v4, 0, `operator = "${key}"`);
      expect(await world.pings(2, 20)).toBe(20);
      await until("it hears of it", () => late.output.includes(`the group has another key, ${next}`), [late]);
      const invite = ["invite", "bob", "-c", `${world.dir}/1/node.toml`, "--address", `${SERVICE.v4}:4444`];
      const invited = (await run([ANYHOP, ...invite])).stdout;
      expect(invited).toContain(`public_key = "${next}"`);
      expect(invited).toContain(`operator = "${key}"`);
      // The last step of the page: clients of the book that nobody knows.
      expect((await world.cli(2, "clients", "list")).stdout).toContain("bob");
      expect((await world.cli(2, "clients", "remove", "bob")).code).toBe(0);
      expect((await world.cli(1, "sync")).stdout).not.toMatch(/^ *!/m);

      // Another start knows the roster and the fleet key from its disk.
      expect((await world.peer(1, 2)).lifeline).toMatchObject({ state: "up", cause: null });
      await programs[1].stop();
      await until("its end is known", async () => (await world.peer(1, 2)).lifeline?.state === "dead", programs);
      expect((await world.cli(1, "sync")).stdout).toMatch(/lifeline NODE .*\n +2 +dead .*it has left/);
      await world.start(2, { group: group(2) });
      await world.meet(1, 2);
      expect([await roster(2), await rotation(2)]).toEqual([4, 2]);
      expect((await world.cli(2, "group", "apply", file)).stdout).toContain("Roster 4 is in force");

      // A node that is handed the operator's key refuses to start.
      const stolen = readFileSync(`${world.dir}/operator/operator.key`, "utf8");
      expect(stolen).toMatch(/^anyhop operator 1 example /);
      const wrong = world.launch(3, {
        group: `operator = "${key}"\nsigning_key_file = "${world.dir}/operator/operator.key"`,
      });
      await until("it refuses", () => !wrong.alive, [wrong]);
      expect(wrong.output).toMatch(/that is the operator's key.*who steals the node has the group/);
    });
  },
);

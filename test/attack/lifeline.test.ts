/**
 * Who may speak on a lifeline: a start that the node link has agreed with, and nobody else. The thief is a lifeline of the
 * project's own, with all that he may have. Three nodes with a roster on virtual time.
 */
import { expect, test } from "vitest";
import { Writer } from "../../src/cluster/bytes.ts";
import type { LinkSecrets } from "../../src/cluster/lifeline_types.ts";
import { type RosterNode, signRoster } from "../../src/cluster/roster.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { expand } from "../../src/crypto/kdf.ts";
import { endpoint, FLEET_KEY, World } from "../cluster/world.ts";

const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const signing = (node: number) => signingKeyFrom(new Uint8Array(32).fill(10 + node));

function rosterText(version: number, out: readonly number[] = []): string {
  const nodes = [1, 2, 3].map(
    (node): RosterNode => ({
      ...{ node, publicKey: signing(node).publicKey, name: `n${node}` },
      evictedIn: out.includes(node) ? version : undefined,
    }),
  );
  return signRoster({ group: "example", version, operator: operator.publicKey, nodes }, operator);
}

/** A running group, and what its node 3 shares with the others. */
function group(): { world: World; known: ReadonlyMap<number, LinkSecrets> } {
  const world = new World(1, [1, 2, 3], (node) => ({
    identity: { group: "example", operator: operator.publicKey, signing: signing(node), roster: rosterText(1) },
  }));
  return { world, known: world.node(3).agreed };
}

/** Takes the place of `node`, whose host is gone, with `secrets`. With whom it has a connection after 5 s. */
function steal(world: World, node: number, bootId: Uint8Array, secrets: readonly LinkSecrets[]): number[] {
  world.kill(node, true);
  const peers = [1, 2, 3].filter((peer) => peer !== node).map((peer) => ({ node: peer, endpoint: endpoint(peer) }));
  const thief = world.tcp.start({ node, bootId, peers, entropy: world.entropy }, () => {});
  for (const one of secrets) thief.agreed(one);
  world.run(5000);
  return thief.status().flatMap((peer) => (peer.connected ? [peer.node] : []));
}

const stateOf = (world: World, at: number, node: number) =>
  world.lifelines
    .get(at)!
    .status()
    .find((peer) => peer.node === node);

test("who has the fleet key alone is nobody's peer, and keeps no dead node alive", () => {
  const { world } = group();
  expect(stateOf(world, 1, 3)).toMatchObject({ state: "alive", connected: true });
  const { bootId } = world.node(3);
  const secrets = [1, 2].flatMap((node) => {
    const context = new Writer(4).u16(node).u16(3).done();
    const made = ["lifeline", "link pair", "link"].map((label) => expand(FLEET_KEY, label, context));
    return { node, bootId: world.node(node).bootId, secrets: [made[0], FLEET_KEY, ...made] };
  });
  expect(steal(world, 3, bootId, secrets)).toEqual([]);
  for (const node of [1, 2]) expect(stateOf(world, node, 3)).toMatchObject({ state: "dead", connected: false });
});

test("who has a node's memory is that node, until it is put out, and never another one", () => {
  const whole = group();
  // What is expected of the thief below is no mistake of the test.
  expect(steal(whole.world, 3, whole.world.node(3).bootId, [...whole.known.values()])).toEqual([1, 2]);

  const as2 = group();
  const forNode1 = as2.known.get(1)!;
  const forNode3 = { ...forNode1, node: 3, bootId: as2.world.node(3).bootId };
  expect(steal(as2.world, 2, as2.world.node(2).bootId, [forNode1, forNode3])).toEqual([]);
  expect(stateOf(as2.world, 1, 2)).toMatchObject({ state: "dead", connected: false });

  const out = group();
  const { world } = out;
  const [known, { bootId }] = [[...out.known.values()], world.node(3)];
  for (const node of [1, 2]) {
    expect(world.node(node).group.learnRoster(world.now(), rosterText(2, [3]))).toEqual({ result: "in_force" });
    world.node(node).settle();
  }
  world.run(8000);
  expect(stateOf(world, 1, 3)).toBeUndefined();
  expect(stateOf(world, 2, 3)).toBeUndefined();
  expect(steal(world, 3, bootId, known)).toEqual([]);
  for (const node of [1, 2]) expect(stateOf(world, node, 3 - node)).toMatchObject({ state: "alive", connected: true });
});

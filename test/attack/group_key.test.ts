/**
 * The group gets another static key while it runs: every node that belongs to it has the key, whoever was away too, and nobody
 * but the operator can make one. Three nodes on virtual time.
 */
import { describe, expect, test } from "vitest";
import { encodeGroupKeys } from "../../src/cluster/group_secrets.ts";
import type { GroupConfig } from "../../src/cluster/group_types.ts";
import { signRoster } from "../../src/cluster/roster.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { signNotice } from "../../src/crypto/group_key_notice.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { World } from "../cluster/world.ts";

const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const signing = (node: number) => signingKeyFrom(new Uint8Array(32).fill(10 + node));
const FIRST = new Uint8Array(32).fill(3);
const raw = (n: number) => new Uint8Array(32).fill(100 + n);
const pair = (n: number) => keyPairFromPrivate(raw(n));

/** Version `n` has the key of the node files and n - 1 others. */
function keysOf(
  n: number,
  change: { signer?: typeof operator; first?: Uint8Array; secret?: Uint8Array } = {},
): Uint8Array {
  const { signer = operator, first = FIRST, secret = raw(n) } = change;
  const others = Array.from({ length: n - 1 }, (_, k) => pair(k + 2).publicKey);
  const notice = signNotice({ version: n, operator: signer.publicKey, keys: [first, ...others] }, signer);
  return encodeGroupKeys(notice, [secret]);
}

const configOf = (node: number): Partial<GroupConfig> => ({
  tellsOverLink: true,
  groupPublicKey: FIRST,
  identity: {
    ...{ group: "example", operator: operator.publicKey, signing: signing(node) },
    roster: signRoster(
      {
        ...{ group: "example", version: 1, operator: operator.publicKey },
        nodes: [1, 2, 3].map((one) => ({
          ...{ node: one, publicKey: signing(one).publicKey, name: `n${one}`, evictedIn: undefined },
        })),
      },
      operator,
    ),
  },
});

const worldOf = () => new World(1, [1, 2, 3], configOf);
const learn = (world: World, node: number, keys: Uint8Array) => {
  const result = world.node(node).group.learnGroupKeys(world.now(), keys);
  world.node(node).settle();
  return result;
};
const versions = (world: World) => [1, 2, 3].map((node) => world.node(node).group.groupSecrets.notice?.version);
const publicKeys = (world: World, node: number) =>
  world.node(node).group.groupSecrets.pairs.map(({ publicKey }) => Buffer.from(publicKey).toString("hex"));
const hex = (n: number) => Buffer.from(pair(n).publicKey).toString("hex");

describe("another key of the group", () => {
  test("given to one node is in force at all; earlier ones stay, the newest first", () => {
    const world = worldOf();
    world.run(2000);
    expect(learn(world, 2, keysOf(2))).toEqual({ result: "in_force" });
    world.run(3000);
    expect(versions(world)).toEqual([2, 2, 2]);
    expect(learn(world, 3, keysOf(3))).toEqual({ result: "in_force" });
    world.run(3000);
    expect(versions(world)).toEqual([3, 3, 3]);
    for (const node of [1, 2, 3]) expect(publicKeys(world, node)).toEqual([hex(3), hex(2)]);
  });

  test("reaches a node that was away, and one that hears a third of what it is told", () => {
    const world = worldOf();
    world.run(2000);
    world.kill(3);
    world.run(2000);
    learn(world, 1, keysOf(2));
    learn(world, 1, keysOf(3));
    world.run(10_000);
    Object.assign(world.weather, { linkLoss: 0.66 });
    world.start(3, configOf(3));
    world.run(60_000);
    expect(versions(world)).toEqual([3, 3, 3]);
    expect(publicKeys(world, 3)).toEqual([hex(3), hex(2)]);
  });

  test("comes back from disk", () => {
    const world = worldOf();
    world.run(2000);
    learn(world, 1, keysOf(2));
    world.kill(2);
    world.start(2, { ...configOf(2), groupKeys: keysOf(2) });
    expect(world.node(2).group.groupSecrets.notice?.version).toBe(2);
    expect(publicKeys(world, 2)).toEqual([hex(2)]);
  });
});

describe("what is not taken, from a person or from another node", () => {
  test.each([
    ["of another operator", keysOf(2, { signer: signing(3) }), /another operator/],
    ["of another group of the operator", keysOf(2, { first: new Uint8Array(32).fill(8) }), /of another group/],
    ["without the private key in force", keysOf(3, { secret: raw(2) }), /missing/],
    ["with a private key that nobody signed", keysOf(2, { secret: raw(9) }), /none of those/],
    ["cut", keysOf(2).subarray(0, 100), /cut/],
    ["nothing", new Uint8Array(0), /cut/],
  ])("%s", (_what, keys, sentence) => {
    const world = worldOf();
    world.run(2000);
    expect(learn(world, 1, keys)).toMatchObject({ fault: expect.stringMatching(sentence) });
    expect(versions(world)).toEqual([undefined, undefined, undefined]);
  });

  test("an older one, and a second one of the same version", () => {
    const world = worldOf();
    learn(world, 1, keysOf(3));
    expect(learn(world, 1, keysOf(2))).toEqual({ result: "older" });
    expect(learn(world, 1, keysOf(3))).toEqual({ result: "known" });
    const other = signNotice({ version: 3, operator: operator.publicKey, keys: [FIRST, pair(7).publicKey] }, operator);
    expect(learn(world, 1, encodeGroupKeys(other, [raw(7)]))).toMatchObject({
      fault: expect.stringMatching(/two notices/),
    });
  });

  test("anything, by a node whose file names no operator", () => {
    const world = new World(1, [1, 2], { tellsOverLink: true, groupPublicKey: FIRST });
    expect(learn(world, 1, keysOf(2))).toMatchObject({ fault: expect.stringMatching(/no operator/) });
  });
});

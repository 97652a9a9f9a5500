/**
 * A node of the group, or one that was put out a moment ago, has the fleet key and speaks in the name of another node
 * through the engine. Three nodes on virtual time; node 3 is the liar, node 1 the one in whose name it speaks to node 2.
 */
import { expect, test } from "vitest";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeShouts } from "../../src/cluster/location.ts";
import { Signatures } from "../../src/cluster/signatures.ts";
import type { SigningKey } from "../../src/crypto/ed25519.ts";
import { type Client, endpoint, World } from "../cluster/world.ts";
import { FLEET, operator, rosterText, signing } from "./thief.ts";

const worldOf = (hasRoster = true): World =>
  new World(1, [1, 2, 3], (node) => ({
    tellsOverLink: false,
    identity: hasRoster
      ? { group: "example", operator: operator.publicKey, signing: signing(node), roster: rosterText(1) }
      : undefined,
  }));

/** Seals as node `node`, and signs with this key; undefined: not at all. */
const sealer = (node: number, key: SigningKey | undefined): Envelope =>
  new Envelope(new FleetKeys(FLEET), node, new Uint8Array(8).fill(77), new Signatures(key, () => undefined));

/** Says to node 2, in the name of node 1, that node 1 has this client at another place. */
function lie(world: World, client: Client, envelope: Envelope, name = 1): void {
  const { index, created } = client.record;
  const [plain] = encodeShouts([
    { kind: "moved", index, created, seq: 1_000_000, owner: name, endpoint: endpoint(66, 6666) },
  ]);
  world.node(2).group.busShout(world.now(), name, envelope.seal(world.ms, "", plain));
  world.node(2).settle();
}

/** A session at node 1 that node 2 knows. */
function sessionOf(world: World): Client {
  const client = world.session(1);
  client.send();
  world.run(1000);
  return client;
}
const placeAt2 = (world: World, client: Client) => world.node(2).group.known(client.record.index)?.endpoint;
const alarmsAt2 = (world: World) =>
  world
    .node(2)
    .group.status()
    .alarms.filter(({ code }) => code === "shout_forged");

test("a shout in the name of another node is not believed, is counted, and an alarm names the node", () => {
  const world = worldOf();
  const client = sessionOf(world);
  const place = placeAt2(world, client);
  expect(place).toBeDefined();
  // Under its own signature, under none, and with what another shout was signed with.
  lie(world, client, sealer(1, signing(3)));
  lie(world, client, sealer(1, undefined));
  expect(placeAt2(world, client)).toEqual(place);
  expect(world.node(2).outcomes).toMatchObject({ shout_forged: 2, bus_refused: 0 });
  expect(alarmsAt2(world)).toMatchObject([{ count: 2, text: expect.stringContaining("as node 1") }]);
  // Signed by node 1 it is believed: nothing else kept it out.
  lie(world, client, sealer(1, signing(1)));
  expect(placeAt2(world, client)).not.toEqual(place);
  expect(world.node(2).outcomes).toMatchObject({ shout_forged: 2 });
});

test("a signed shout is good for its own start and number only", () => {
  const world = worldOf();
  const client = sessionOf(world);
  const place = placeAt2(world, client);
  const [plain] = encodeShouts([
    { kind: "moved", ...client.record, seq: 1_000_000, owner: 1, endpoint: endpoint(66, 6666) },
  ]);
  const fleetKeys = new FleetKeys(FLEET);
  const roster = () => ({
    ...{ group: "example", version: 1, operator: operator.publicKey },
    nodes: [{ node: 1, publicKey: signing(1).publicKey, name: "n1", evictedIn: undefined }],
  });
  const signed = sealer(1, signing(1)).seal(world.ms, "", plain);
  const reader = new Envelope(fleetKeys, 2, new Uint8Array(8), new Signatures(signing(2), roster));
  expect(reader.open(world.ms, 1, "", signed)).toMatchObject({ node: 1, plain });
  // What a member can read: text and signature. It seals them anew, as another start and as the next number.
  const whole = new Uint8Array(plain.length + 64);
  whole.set(plain);
  whole.set(signing(1).sign(new Uint8Array(3)), plain.length);
  for (const bootId of [77, 78]) {
    const thief = new Envelope(fleetKeys, 1, new Uint8Array(8).fill(bootId));
    thief.seal(world.ms, "", plain);
    const forged = thief.seal(world.ms, "", whole);
    world.node(2).group.busShout(world.now(), 1, forged);
  }
  expect(placeAt2(world, client)).toEqual(place);
  expect(world.node(2).outcomes).toMatchObject({ shout_forged: 2 });
});

test("a node that was put out speaks as another one while the fleet key of before still opens", () => {
  const world = worldOf();
  const client = sessionOf(world);
  const place = placeAt2(world, client);
  world.kill(3);
  world.node(2).group.learnRoster(world.now(), rosterText(2, [3]));
  world.node(2).settle();
  world.run(10_000);
  expect(world.node(2).group.fleetKeys(world.now())[0]).not.toEqual(FLEET);
  lie(world, client, sealer(1, signing(3)));
  lie(world, client, sealer(3, signing(3)), 3);
  expect(placeAt2(world, client)).toEqual(place);
  expect(world.node(2).outcomes).toMatchObject({ shout_forged: 1, bus_not_member: 1, bus_old_key: 0 });
  expect(alarmsAt2(world)).toMatchObject([{ count: 1 }]);
});

test("without a roster nodes do not sign, and a signed shout is of another kind of group", () => {
  const world = worldOf(false);
  const client = sessionOf(world);
  const place = placeAt2(world, client);
  lie(world, client, sealer(1, signing(1)));
  expect(world.node(2).outcomes).toMatchObject({ shout_forged: 0, bus_refused: 1 });
  expect(placeAt2(world, client)).toEqual(place);
  lie(world, client, sealer(1, undefined));
  expect(placeAt2(world, client)).not.toEqual(place);
});

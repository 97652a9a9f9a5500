/**
 * What lies in the book and who made a ticket key is known by a signature, whoever passes it on: a member of the group lies
 * about what another one wrote, tells what is long over, or passes on what a node says that was put out. Three nodes on
 * virtual time, with an engine and without; node 3 is the liar, and node 2 the one in whose name it speaks.
 */
import { describe, expect, test } from "vitest";
import { clientToSign, encodeClient, type StoredClient } from "../../src/cluster/book_record.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import type { LinkMessage } from "../../src/cluster/link_message.ts";
import { type BookTicketKey, TicketKeyRing, ticketKeyName } from "../../src/cluster/ticket_keys.ts";
import type { World } from "../cluster/world.ts";
import { configOf, FLEET, rosterText, signaturesOf, Thief, worldOf } from "./thief.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const client = (n: number) => n.toString(16).padStart(64, "0");
const text = (what: string) => new TextEncoder().encode(what);

/** Of a client, by `writer`, `agoMs` before now; `content` undefined: removed. */
function entry(world: World, writer: number, content: string | undefined, agoMs = 0): StoredClient {
  const version = { stamp: (Math.floor(world.now().wallMs) - agoMs) * 256, node: writer };
  return { version, claimed: version, content: content === undefined ? undefined : text(content) };
}

/** Signed with the key of node `signer`, as if it were of the client `of`. */
const signed = (one: StoredClient, of: string, signer: number): StoredClient => {
  return { ...one, signature: signaturesOf(signer).sign("client", Buffer.from(of, "hex"), clientToSign(one)) };
};
const told = (clientKey: string, one: StoredClient): LinkMessage => {
  return { kind: "client", clientKey, value: encodeClient(one) };
};
const contentAt = (world: World, node: number, clientKey: string): string | undefined => {
  const content = world.node(node).group.book.client(clientKey)?.content;
  return content && new TextDecoder().decode(content);
};
const alarmsAt = (world: World, node: number) =>
  world
    .node(node)
    .group.status()
    .alarms.filter(({ code }) => code === "book_refused");

/** `by` adds a client or, without content, removes it. */
function put(world: World, by: number, clientKey: string, content?: string): Uint8Array {
  const node = world.node(by);
  expect(node.group.putClient(world.now(), clientKey, content === undefined ? undefined : text(content))).toBe(
    undefined,
  );
  node.settle();
  world.run(500);
  return node.group.book.encoded(clientKey)!;
}

function withThief(tellsOverLink: boolean): { world: World; thief: Thief } {
  const world = worldOf(rosterText(1), tellsOverLink);
  world.kill(3);
  world.run(2000);
  const thief = new Thief(world, 3, 13, rosterText(1));
  thief.run(1000);
  return { world, thief };
}

const ticketKey = (world: World, id: number, change: Partial<BookTicketKey> = {}): BookTicketKey => {
  const { wallMs } = world.now();
  const life = { notBeforeMs: wallMs - 1000, notAfterMs: wallMs + DAY_MS };
  return { id, key: new Uint8Array(32).fill(7), ...life, roster: 1, endsOthersMs: 0, ...change };
};
/** A ticket key that `maker` is said to have made. */
const encodedKey = (key: BookTicketKey, maker: number, signer: number): Uint8Array => {
  const ring = new TicketKeyRing(signaturesOf(signer));
  return ring.encode(ring.signed(maker, key));
};
const keysAt = (world: World, node: number): number[] =>
  world
    .node(node)
    .group.book.ticketKeys(world.now().wallMs)
    .map(({ id }) => id);

describe.each([
  ["with an engine", false],
  ["without an engine", true],
])("%s", (_, tellsOverLink) => {
  test("an entry that node 3 passes on in the name of node 2 is not taken, and counted; one of node 2 is", () => {
    const { world, thief } = withThief(tellsOverLink);
    const honest = put(world, 2, client(1), "anna");
    const bare = entry(world, 2, "thief");
    const mine = signed(bare, client(2), 3);
    const moved = signed(entry(world, 2, "anna"), client(1), 2);
    const changed = { ...signed(bare, client(2), 2), content: text("other") };
    const later = { ...signed(bare, client(2), 2), version: { stamp: bare.version.stamp + 1, node: 2 } };
    for (const one of [mine, moved, changed, later, bare]) thief.say(1, told(client(2), one));
    // A removal is an entry, too.
    thief.say(1, told(client(1), signed(entry(world, 2, undefined, -1000), client(1), 3)));
    thief.run(50);
    expect(contentAt(world, 1, client(2))).toBeUndefined();
    expect(contentAt(world, 1, client(1))).toBe("anna");
    expect(world.node(1).group.book.encoded(client(1))).toEqual(honest);
    expect(world.node(1).outcomes).toMatchObject({ book_forged: 5, book_unsigned: 1 });
    expect(alarmsAt(world, 1)).toMatchObject([{ count: 5, text: expect.stringContaining("node 3 told") }]);
    // Nothing else kept it out; and what node 3 writes in its own name is its own.
    thief.say(1, told(client(2), signed(bare, client(2), 2)));
    thief.say(1, told(client(3), signed(entry(world, 3, "mine"), client(3), 3)));
    thief.run(50);
    expect(contentAt(world, 1, client(2))).toBe("thief");
    expect(world.node(1).group.book.client(client(3))).toMatchObject({ version: { node: 3 } });
    expect(world.node(1).outcomes).toMatchObject({ book_forged: 5, book_unsigned: 1 });
  });

  test("an older entry of node 2, as node 2 signed it, brings nobody back and removes nobody", () => {
    const { world, thief } = withThief(tellsOverLink);
    const added = put(world, 2, client(1), "anna");
    const removed = put(world, 2, client(1));
    thief.say(1, { kind: "client", clientKey: client(1), value: added });
    thief.run(50);
    expect(world.node(1).group.book.client(client(1))).toMatchObject({ content: undefined });
    const again = put(world, 2, client(1), "anna");
    thief.say(1, { kind: "client", clientKey: client(1), value: removed });
    thief.run(50);
    expect(world.node(1).group.book.encoded(client(1))).toEqual(again);
    expect(world.node(1).outcomes).toMatchObject({ book_forged: 0, book_unsigned: 0 });
  });

  test("a ticket key in the name of node 2 is not taken; one that node 3 signs ends with its eviction", () => {
    const { world, thief } = withThief(tellsOverLink);
    const forged = encodedKey(ticketKey(world, 5), 2, 3);
    const bare = new TicketKeyRing().encode(ticketKey(world, 6));
    // The roster that it names is one of the far future: the next eviction is older.
    const planted = encodedKey(ticketKey(world, 7, { roster: 0xffff_ffff }), 3, 3);
    for (const value of [forged, bare, planted]) thief.say(1, { kind: "ticket_key", value });
    thief.run(50);
    expect(keysAt(world, 1)).toContain(7);
    expect(keysAt(world, 1)).not.toContain(5);
    expect(keysAt(world, 1)).not.toContain(6);
    expect(world.node(1).outcomes).toMatchObject({ ticket_key_forged: 1, ticket_key_unsigned: 1 });
    world.node(1).group.learnRoster(world.now(), rosterText(2, [3]));
    world.node(1).settle();
    world.run(2000);
    expect(keysAt(world, 1)).not.toContain(7);
    expect(keysAt(world, 2)).not.toContain(7);
    expect([...keysAt(world, 1)].sort()).toEqual([...keysAt(world, 2)].sort());
  });

  test("a node is put out: what it wrote stays, signed by a member; what it signs is taken from nobody any more", () => {
    const world = worldOf(rosterText(1), tellsOverLink);
    put(world, 3, client(1), "anna");
    put(world, 3, client(2), "bert");
    put(world, 3, client(2));
    put(world, 2, client(3), "carl");
    world.kill(3);
    world.node(1).group.learnRoster(world.now(), rosterText(2, [3]));
    world.node(1).settle();
    world.run(MINUTE_MS);
    expect(contentAt(world, 2, client(1))).toBe("anna");
    // By the living member with the lowest number, as little newer as can be, and no other one.
    for (const n of [1, 2]) {
      expect(world.node(2).group.book.client(client(n))).toMatchObject({ version: { node: 1 } });
      expect(world.node(2).group.book.encoded(client(n))).toEqual(world.node(1).group.book.encoded(client(n)));
    }
    expect(world.node(2).group.book.client(client(3))).toMatchObject({ version: { node: 2 } });
    expect(world.node(1).outcomes).toMatchObject({ book_adopted: 2 });
    expect(world.node(2).outcomes).toMatchObject({ book_adopted: 0 });

    // Node 2 begins with an empty disk: it hears of all.
    world.kill(2);
    world.run(1000);
    world.start(2, configOf(2, rosterText(2, [3]), tellsOverLink));
    world.run(5000);
    expect([1, 3].map((n) => contentAt(world, 2, client(n)))).toEqual(["anna", "carl"]);
    expect(world.node(2).group.book.client(client(2))).toMatchObject({ content: undefined });

    // Node 2 is stolen, too, and passes on what node 3 signs now and says to be old.
    world.kill(2);
    world.run(2000);
    const second = new Thief(world, 2, 12, rosterText(2, [3]));
    second.run(1000);
    for (const agoMs of [0, DAY_MS]) {
      second.say(1, told(client(8), signed(entry(world, 3, "late", agoMs), client(8), 3)));
      second.say(1, told(client(1), signed(entry(world, 3, undefined, agoMs), client(1), 3)));
    }
    second.say(1, { kind: "ticket_key", value: encodedKey(ticketKey(world, 9, { roster: 2 }), 3, 3) });
    second.run(50);
    expect(contentAt(world, 1, client(8))).toBeUndefined();
    expect(contentAt(world, 1, client(1))).toBe("anna");
    expect(keysAt(world, 1)).not.toContain(9);
    // One of the four is older than what is there.
    expect(world.node(1).outcomes).toMatchObject({ book_unsigned: 3, book_forged: 0, ticket_key_unsigned: 1 });
    expect(alarmsAt(world, 1)).toEqual([]);
  });

  test("entries from before there was a roster: each node signs its own, a member those of nobody", () => {
    const world = worldOf(rosterText(1), tellsOverLink);
    const old = (writer: number, name: string) => encodeClient(entry(world, writer, name, DAY_MS));
    const disk = [
      [client(1), old(1, "anna")],
      [client(2), old(2, "bert")],
      [client(7), old(7, "gone")],
    ] as const;
    for (const node of [1, 2]) world.kill(node);
    for (const id of [1, 2]) {
      const node = world.start(id, configOf(id, rosterText(1), tellsOverLink));
      for (const [clientKey, value] of disk) expect(node.group.restoreClient(world.now(), clientKey, value)).toBe(true);
      // They count at once.
      expect(contentAt(world, id, client(7))).toBe("gone");
    }
    world.run(MINUTE_MS);
    for (const node of [1, 2, 3]) {
      const { book } = world.node(node).group;
      expect(["anna", "bert", undefined, "gone"]).toEqual([1, 2, 3, 7].map((n) => contentAt(world, node, client(n))));
      const writers = [1, 2, 7].map((n) => book.client(client(n))!.version.node);
      expect(writers).toEqual([1, 2, 1]);
      expect(book.unsigned).toEqual({ unchecked: 0, orphans: 0 });
      expect(world.node(node).outcomes).toMatchObject({ book_forged: 0 });
      expect(alarmsAt(world, node)).toEqual([]);
    }
    // The age of what a client claims is as before.
    expect(world.node(3).group.book.client(client(7))).toMatchObject({ claimed: { node: 7 } });
  });
});

test("through the engine: node 3 seals as node 2, and what it puts there is not taken", () => {
  const { world } = withThief(false);
  const envelope = new Envelope(new FleetKeys(FLEET), 2, new Uint8Array(8).fill(5));
  const say = (key: string, value: Uint8Array) => {
    world.node(1).group.busRecord(world.now(), 2, key, envelope.seal(world.ms, key, value));
    world.node(1).settle();
  };
  say(`c.${client(1)}`, encodeClient(signed(entry(world, 2, "thief"), client(1), 3)));
  say(`c.${client(1)}`, encodeClient(entry(world, 2, "thief")));
  say(ticketKeyName(5), encodedKey(ticketKey(world, 5), 2, 3));
  expect(contentAt(world, 1, client(1))).toBeUndefined();
  expect(keysAt(world, 1)).not.toContain(5);
  expect(world.node(1).outcomes).toMatchObject({ book_forged: 1, book_unsigned: 1, ticket_key_forged: 1 });
  say(`c.${client(1)}`, encodeClient(signed(entry(world, 2, "true"), client(1), 2)));
  say(ticketKeyName(5), encodedKey(ticketKey(world, 5), 2, 2));
  expect(contentAt(world, 1, client(1))).toBe("true");
  expect(keysAt(world, 1)).toContain(5);
});

test("what somebody wrote onto a node's disk in the name of another node speaks in no other node's name afterwards", () => {
  const world = worldOf(rosterText(1));
  world.kill(1);
  const node = world.start(1, configOf(1, rosterText(1)));
  const forged = encodeClient(signed(entry(world, 2, "thief", MINUTE_MS), client(1), 1));
  expect(node.group.restoreClient(world.now(), client(1), forged)).toBe(true);
  world.run(10_000);
  // Nobody took it from node 1 as it is.
  expect(contentAt(world, 3, client(1))).toBeUndefined();
  world.run(MINUTE_MS);
  expect(world.node(3).group.book.client(client(1))).toMatchObject({ version: { node: 1 } });
});

test("a book of thousands is looked at in slices, and counts meanwhile", () => {
  const world = worldOf(rosterText(1));
  world.kill(2);
  const node = world.start(2, configOf(2, rosterText(1)));
  const { book } = node.group;
  const CLIENTS = 2000;
  for (let n = 0; n < CLIENTS; n++)
    node.group.restoreClient(world.now(), client(n), encodeClient(signed(entry(world, 1, `n${n}`), client(n), 1)));
  expect(book.size.clients).toBe(CLIENTS);
  let [before, most, slices] = [book.unsigned.unchecked, 0, 0];
  expect(before).toBe(CLIENTS);
  for (let k = 0; k < 5000 && before > 0; k++) {
    world.run(1);
    const { unchecked } = book.unsigned;
    if (unchecked < before) slices++;
    most = Math.max(most, before - unchecked);
    before = unchecked;
  }
  expect({ before, most, slices }).toEqual({ before: 0, most: 32, slices: Math.ceil(CLIENTS / 32) });
  expect(book.unsigned).toEqual({ unchecked: 0, orphans: 0 });
});

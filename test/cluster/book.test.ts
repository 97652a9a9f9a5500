/** Books of several nodes come to the same state, in whatever order they hear of changes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Book, type BookOutput, FUTURE_MS, TOMBSTONE_MS } from "../../src/cluster/book.ts";
import { encodeClient } from "../../src/cluster/book_record.ts";
import { TicketKeyRing } from "../../src/cluster/ticket_keys.ts";

const claimsOf = (content: Uint8Array) => (content[0] === 255 ? undefined : [...content].map((n) => `10.9.0.${n}/32`));
const client = (n: number) => n.toString(16).padStart(64, "0");
const DAY = 86_400_000;

/** A node with its subtree on the bus. */
class Node {
  readonly book: Book;
  readonly subtree = new Map<string, Uint8Array>();
  readonly sent: { key: string; value: Uint8Array | undefined }[] = [];
  readonly node: number;
  constructor(node: number) {
    this.node = node;
    this.book = new Book({ node, claimsOf });
  }
  act(act: (book: Book, out: BookOutput[]) => unknown) {
    const out: BookOutput[] = [];
    const result = act(this.book, out);
    for (const output of out) {
      if (output.kind !== "put") continue;
      this.sent.push(output.entry);
      if (output.entry.value === undefined) this.subtree.delete(output.entry.key);
      else this.subtree.set(output.entry.key, output.entry.value);
    }
    return { result, out };
  }
  hear(other: Node, wallMs: number): void {
    for (const [key, value] of [...other.subtree])
      this.act((book, out) => expect(book.receive(wallMs, other.node, key, value, out)).toBeUndefined());
  }
  state() {
    const clients = [...this.book.clients()].sort((a, b) => (a.clientKey < b.clientKey ? -1 : 1));
    const conflicts = this.book.conflicts().sort((a, b) => (a.address < b.address ? -1 : 1));
    return { clients, conflicts, keys: this.book.ticketKeys(0).sort((a, b) => a.id - b.id) };
  }
}

test("nodes converge, one copy of each client stays, nothing removed comes back", () => {
  const step = fc.record({
    ...{ at: fc.nat(2), what: fc.constantFrom("put", "put", "remove", "hear", "hear", "restart"), key: fc.nat(3) },
    ...{ from: fc.nat(2), content: fc.array(fc.nat(3), { maxLength: 2 }), ms: fc.nat(3) },
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const nodes = [1, 2, 3].map((n) => new Node(n));
      let ms = 1000;
      for (const { at, what, key, from, content, ms: more } of steps) {
        ms += more;
        if (what === "put")
          nodes[at].act((book, out) => book.putClient(ms, client(key), Uint8Array.from(content), out));
        else if (what === "remove") nodes[at].act((book, out) => book.putClient(ms, client(key), undefined, out));
        else if (what === "hear") nodes[at].hear(nodes[from], ms);
        else {
          const fresh = new Node(at + 1);
          for (const [name, value] of nodes[at].subtree) fresh.subtree.set(name, value);
          fresh.hear(fresh, ms);
          nodes[at] = fresh;
        }
      }
      for (let round = 0; round < 2; round++) for (const a of nodes) for (const b of nodes) a.hear(b, ms);
      expect(nodes[1].state()).toEqual(nodes[0].state());
      expect(nodes[2].state()).toEqual(nodes[0].state());
      const copies = nodes.flatMap(({ subtree }) => [...subtree.keys()]);
      expect(new Set(copies).size).toBe(copies.length);
    }),
    { numRuns: 200 },
  );
});

test("two nodes give one address away: the older claim keeps it on both, and the end is said", () => {
  const [a, b] = [new Node(1), new Node(2)];
  a.act((book, out) => book.putClient(1000, client(1), Uint8Array.of(7), out));
  b.act((book, out) => book.putClient(2000, client(2), Uint8Array.of(7, 8), out));
  expect(a.act((book, out) => book.putClient(1500, client(3), Uint8Array.of(7), out)).result).toBe("address_taken");
  // A later change of the first client does not make its claim younger.
  a.act((book, out) => book.putClient(5000, client(1), Uint8Array.of(7), out));
  const conflict = { address: "10.9.0.7/32", keeper: client(1), others: [client(2)] };
  for (const [own, other] of [
    [a, b],
    [b, a],
  ]) {
    own.hear(other, 6000);
    expect(own.book.conflicts()).toEqual([conflict]);
    expect(own.book.keeperOf("10.9.0.7/32")).toBe(client(1));
  }
  const { out } = a.act((book, o) => book.putClient(7000, client(1), undefined, o));
  expect(out).toContainEqual({ kind: "conflict", address: "10.9.0.7/32", keeper: client(2), others: [] });
  expect(a.book.conflicts()).toEqual([]);
});

test("tombstones last thirty days, then go from the bus too", () => {
  const [a, b] = [new Node(1), new Node(2)];
  a.act((book, out) => book.putClient(0, client(1), Uint8Array.of(1), out));
  b.hear(a, 0);
  b.act((book, out) => book.putClient(1, client(1), undefined, out));
  a.hear(b, 2);
  expect(a.book.client(client(1))?.content).toBeUndefined();
  expect(a.subtree.size).toBe(0);
  b.act((book, out) => book.sweep(TOMBSTONE_MS, out));
  expect(b.subtree.size).toBe(1);
  b.act((book, out) => book.sweep(TOMBSTONE_MS + 2, out));
  expect(b.subtree.size).toBe(0);
  expect(b.book.client(client(1))).toBeUndefined();
});

test("ticket keys: all nodes seal with the same one, for a day, and forget the expired", () => {
  const [a, b] = [new Node(1), new Node(2)];
  const key = (id: number, notBeforeMs: number) => ({
    id,
    key: new Uint8Array(32).fill(id),
    notBeforeMs,
    notAfterMs: notBeforeMs + 2 * DAY,
  });
  expect(a.book.wantsTicketKey(0)).toBe(true);
  a.act((book, out) => book.putTicketKey(0, key(5, 0), out));
  b.act((book, out) => book.putTicketKey(0, key(6, 0), out));
  b.act((book, out) => book.putTicketKey(0, key(4, 1000), out));
  a.hear(b, 0);
  b.hear(a, 0);
  expect([a, b].map(({ book }) => book.sealingKey(10)?.id)).toEqual([6, 6]);
  expect([a, b].map(({ book }) => book.sealingKey(1000)?.id)).toEqual([4, 4]);
  expect(a.book.wantsTicketKey(DAY)).toBe(false);
  expect(a.book.wantsTicketKey(DAY + 1000)).toBe(true);
  const { out } = a.act((book, o) => book.sweep(2 * DAY, o));
  expect(out).toContainEqual({ kind: "put", entry: { key: "t.00000005", value: undefined } });
  expect(a.book.ticketKeys(2 * DAY).map(({ id }) => id)).toEqual([4]);
  expect(a.act((book, o) => book.putTicketKey(9 * DAY, key(9, 0), o)).result).toBe("expired");
});

test("ticket keys of others: at most 256, 48 hours, five minutes ahead; a node's own have room all the same", () => {
  const [a, b] = [new Node(1), new Node(2)];
  const key = (id: number, notBeforeMs: number, lifeMs = 2 * DAY) => {
    return { id, key: new Uint8Array(32).fill(id), notBeforeMs, notAfterMs: notBeforeMs + lifeMs };
  };
  const told = (wallMs: number, ...of: Parameters<typeof key>) => {
    const value = new TicketKeyRing().encode(key(...of));
    return a.act((book, out) => book.toldKey(wallMs, value, out)).result;
  };
  expect(told(DAY, 1, DAY, 2 * DAY + 1)).toBe("key_life");
  expect(told(DAY, 1, DAY + 300_001)).toBe("key_future");
  // Valid to the year 10889, from the day before on.
  expect(told(DAY, 0xdeadbeef, 0, 2 ** 48 - 1)).toBe("key_life");
  expect(told(DAY, 1, DAY - 1, 0 + 1)).toBe("expired");
  expect(told(DAY, 1, DAY + 300_000)).toBeUndefined();
  expect(a.book.sealingKey(DAY)).toBeUndefined();
  for (let id = 100; id < 400; id++) told(DAY, id, DAY);
  expect(a.book.ticketKeys(DAY)).toHaveLength(256);
  expect(told(DAY, 999, DAY)).toBe("keys_full");
  expect(a.act((book, o) => book.putTicketKey(DAY, key(1000, DAY), o)).result).toBeUndefined();
  expect(a.book.sealingKey(DAY)?.id).toBe(1000);
  expect(b.act((book, o) => book.putTicketKey(DAY, key(7, DAY, 3 * DAY), o)).result).toBe("key_life");
});

test("an entry from the future is not taken, and what is taken can be removed by everybody", () => {
  const [a, evil] = [new Node(1), new Node(2)];
  const told = (stamp: number) => {
    const version = { stamp, node: 2 };
    const value = encodeClient({ version, claimed: version, content: Uint8Array.of(7) });
    return a.act((book, out) => book.told(1000, client(1), value, out)).result;
  };
  expect(told(2 ** 52)).toBe("future");
  expect(told((1000 + FUTURE_MS) * 256 + 1)).toBe("future");
  expect(a.book.client(client(1))).toBeUndefined();
  expect(told((1000 + FUTURE_MS) * 256)).toBeUndefined();
  expect(a.act((book, out) => book.putClient(1001, client(1), undefined, out)).result).toBeUndefined();
  expect(a.book.client(client(1))!.content).toBeUndefined();
  evil.hear(a, 1001 + 1);
  expect(evil.book.client(client(1))!.content).toBeUndefined();
});

test("who was never heard of here can be removed here, also when the clock of who added it is ahead", () => {
  const [a, b] = [new Node(1), new Node(2)];
  a.act((book, out) => book.putClient(50_000, client(1), Uint8Array.of(1), out));
  b.act((book, out) => book.putClient(10_000, client(1), undefined, out));
  for (const [one, other] of [
    [a, b],
    [b, a],
  ])
    one.hear(other, 60_000);
  for (const { book } of [a, b]) expect([...book.clients()]).toEqual([]);
  // And can be added again at once.
  a.act((book, out) => book.putClient(60_001, client(1), Uint8Array.of(1), out));
  b.hear(a, 60_002);
  for (const { book } of [a, b]) expect([...book.clients()]).toHaveLength(1);
});

test("a disk brings all of it back: removed ones stay removed, and the bus gets what it does not have", () => {
  const disk = new Map<string, Uint8Array>();
  const keeping = ({ out }: { out: BookOutput[] }) => {
    for (const output of out) {
      if (output.kind !== "keep") continue;
      if (output.value === undefined) disk.delete(output.clientKey);
      else disk.set(output.clientKey, output.value);
    }
  };
  const [a, b] = [new Node(1), new Node(2)];
  b.act((book, out) => book.putClient(1, client(1), Uint8Array.of(1), out));
  b.act((book, out) => book.putClient(2, client(2), Uint8Array.of(2), out));
  for (const [key, value] of b.subtree) keeping(a.act((book, out) => book.receive(3, 2, key, value, out)));
  keeping(a.act((book, out) => book.putClient(4, client(1), undefined, out)));
  const durable: Uint8Array[] = [];
  keeping(a.act((book, out) => book.putClient(5, client(3), Uint8Array.of(3), out, (value) => durable.push(value))));
  disk.set(client(3), durable[0]);
  const again = new Node(1);
  for (const [clientKey, value] of disk)
    expect(again.act((book, out) => book.restore(6, clientKey, value, out)).result).toBe(true);
  expect(again.state()).toEqual(a.state());
  expect(again.book.sums.sums).toEqual(a.book.sums.sums);
  again.hear(b, 6);
  expect([...again.book.clients()].map(({ clientKey }) => clientKey).sort()).toEqual([client(2), client(3)]);
  expect(again.subtree.size).toBe(0);
  again.act((book, out) => book.republish(out));
  expect([...again.subtree.keys()].sort()).toEqual([`c.${client(1)}`, `c.${client(3)}`]);
  expect(again.act((book, out) => book.restore(6, client(9), Uint8Array.of(1), out)).result).toBe(false);
});

test("a change that the disk does not take changes nothing", () => {
  const a = new Node(1);
  const full = () => {
    throw new Error("no room");
  };
  expect(() => a.act((book, out) => book.putClient(1, client(1), Uint8Array.of(1), out, full))).toThrow("no room");
  expect([a.book.client(client(1)), a.subtree.size, a.book.keeperOf("10.9.0.1/32")]).toEqual([undefined, 0, undefined]);
});

test("bad records are refused by name and change nothing", () => {
  const [a, b] = [new Node(1), new Node(2)];
  b.act((book, out) => book.putClient(5, client(1), Uint8Array.of(1), out));
  b.act((book, out) => book.putTicketKey(0, { id: 1, key: new Uint8Array(32), notBeforeMs: 0, notAfterMs: 9 }, out));
  const hears = (node: number, key: string, value: Uint8Array) =>
    a.act((book, out) => book.receive(0, node, key, value, out));
  for (const [key, value] of b.subtree) {
    for (let n = 0; n < (key.startsWith("t.") ? 49 : 20); n++)
      expect(hears(2, key, value.subarray(0, n)).result).toBe("malformed");
    expect(hears(2, `${key}0`, value).result).toBe("malformed");
    expect(hears(2, key, new Uint8Array(value.length).fill(255)).result).toBe("malformed");
  }
  const value = b.subtree.get(`c.${client(1)}`)!;
  expect(hears(3, `c.${client(1)}`, value).result).toBe("malformed");
  expect(hears(2, `c.${client(1)}`, Uint8Array.of(...value.subarray(0, 20), 255)).result).toBe("malformed");
  expect(hears(2, `c.${client(1)}`, Uint8Array.of(...value, ...new Uint8Array(2048))).result).toBe("too_long");
  expect(a.act((book, o) => book.putClient(0, client(1), new Uint8Array(2049), o)).result).toBe("too_long");
  expect(a.act((book, o) => book.putClient(0, "xyz", new Uint8Array(1), o)).result).toBe("malformed");
  expect(a.state()).toEqual({ clients: [], conflicts: [], keys: [] });
});

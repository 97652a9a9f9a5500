/** What every store does, on disk or in memory. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ClientRecord, SavedTicket, Store, TicketKey } from "../../src/control/spec/ports.ts";

export const sampleClient = (name: string, change: Partial<ClientRecord> = {}): ClientRecord => ({
  name,
  publicKey: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
  psk: undefined,
  addresses: ["10.9.0.2", "2001:db8:9::2"],
  prefixes: ["198.51.100.0/24"],
  modes: ["tunnel", "relay"],
  origin: "api",
  createdMs: 1_750_000_000_123,
  ...change,
});
const ticket = (seed: number): SavedTicket => ({
  ticket: new Uint8Array(172).fill(seed),
  resumption: new Uint8Array(32).fill(seed + 1),
  instance: new Uint8Array(8).fill(seed + 2),
  ...{ savedMs: 1_750_000_000_123 + seed, boot: `boot ${seed}` },
});
const key = (id: number): TicketKey => ({
  id,
  key: Uint8Array.from({ length: 32 }, (_, i) => id + i),
  notBeforeMs: 1000 * id,
  notAfterMs: 2000 * id,
});

/** `reopen`: the same store after its process has ended, or undefined when it does not outlive one. */
export function storeContract(what: string, open: () => Store, reopen?: (store: Store) => Promise<Store>): void {
  describe(what, () => {
    let store: Store;
    beforeEach(() => {
      store = open();
    });
    afterEach(() => store.close());

    test("numbers: 0 until reserved, then what was reserved last", () => {
      expect(store.next("a")).toBe(0);
      store.reserve(new Map(Object.entries({ a: 100, b: 4_294_967_296 })));
      store.reserve(new Map([["a", 40]]));
      expect([store.next("a"), store.next("b"), store.next("c")]).toEqual([40, 4_294_967_296, 0]);
    });

    test("clients: put, replace, remove, in the order of names", () => {
      expect(store.clients()).toEqual([]);
      store.changeClients([sampleClient("b"), sampleClient("a", { psk: "secret" }), sampleClient("c")], []);
      store.changeClients([sampleClient("b", { addresses: [] })], ["c", "nobody"]);
      expect(store.clients()).toEqual([sampleClient("a", { psk: "secret" }), sampleClient("b", { addresses: [] })]);
      expect(store.client("a")).toEqual(sampleClient("a", { psk: "secret" }));
      expect(store.client("c")).toBeUndefined();
    });

    test("what was given can change without changing the store", () => {
      const addresses = ["10.9.0.2"];
      store.changeClients([sampleClient("a", { addresses })], []);
      addresses.push("10.9.0.3");
      (store.client("a")!.addresses as string[]).push("10.9.0.4");
      expect(store.client("a")!.addresses).toEqual(["10.9.0.2"]);
    });

    test("the book: entries are written and forgotten in one go, bytes as they were", () => {
      const bytes = Uint8Array.of(1, 2, 3);
      store.changeBook(new Map(Object.entries({ aa: bytes, bb: Uint8Array.of(4), cc: Uint8Array.of(5) })));
      bytes[0] = 9;
      store.changeBook(new Map(Object.entries({ bb: undefined, cc: Uint8Array.of(6), dd: undefined })));
      expect(store.book()).toEqual([
        ["aa", Uint8Array.of(1, 2, 3)],
        ["cc", Uint8Array.of(6)],
      ]);
    });

    test("ticket keys: all replaced at once, in the order of ids, bytes as they were", () => {
      store.setTicketKeys([key(300), key(2)]);
      expect(store.ticketKeys()).toEqual([key(2), key(300)]);
      store.setTicketKeys([key(7)]);
      expect(store.ticketKeys()).toEqual([key(7)]);
    });

    test("high-water marks only rise, to 64 bits", () => {
      const top = 2n ** 64n - 1n;
      expect(store.highWater("k")).toBeUndefined();
      store.raiseHighWater(new Map(Object.entries({ k: 5n, zero: 0n })));
      store.raiseHighWater(new Map(Object.entries({ k: 4n, other: top })));
      expect([store.highWater("k"), store.highWater("other"), store.highWater("zero")]).toEqual([5n, top, 0n]);
    });

    test("tickets of a client: kept under a name, replaced, forgotten, bytes as they were", () => {
      expect(store.savedTicket("a")).toBeUndefined();
      store.saveTicket("a", ticket(1));
      store.saveTicket("b", ticket(2));
      store.saveTicket("a", ticket(3));
      expect([store.savedTicket("a"), store.savedTicket("b")]).toEqual([ticket(3), ticket(2)]);
      store.saveTicket("a", undefined);
      store.saveTicket("nobody", undefined);
      expect([store.savedTicket("a"), store.savedTicket("b")]).toEqual([undefined, ticket(2)]);
    });

    test.runIf(reopen !== undefined)("everything is there after a restart", async () => {
      store.reserve(new Map([["a", 7]]));
      store.changeClients([sampleClient("a")], []);
      store.setTicketKeys([key(1)]);
      store.raiseHighWater(new Map([["k", 9n]]));
      store.saveTicket("t", ticket(4));
      store.changeBook(new Map([["aa", Uint8Array.of(7)]]));
      store = await reopen!(store);
      expect(store.book()).toEqual([["aa", Uint8Array.of(7)]]);
      expect([store.next("a"), store.clients(), store.ticketKeys(), store.highWater("k")]).toEqual([
        7,
        [sampleClient("a")],
        [key(1)],
        9n,
      ]);
      expect(store.savedTicket("t")).toEqual(ticket(4));
    });
  });
}

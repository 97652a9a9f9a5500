/** What every bus does, whoever carries it. `test/contract/bus-*.test.ts` run it on each driver. */
import { afterEach, describe, expect, test } from "vitest";
import { type Bus, type BusListener, KEY_LEN_MAX, SHOUT_LEN_MAX, VALUE_LEN_MAX } from "../../src/cluster/bus.ts";

/** Everything that a listener heard. */
export class Ear implements BusListener {
  /** Latest value by node and key; "" for deleted. */
  readonly latest = new Map<string, string>();
  /** Every record as "NODE KEY=VALUE", in order. */
  readonly records: string[] = [];
  readonly shouts: [number, Uint8Array][] = [];
  readonly states: boolean[] = [];
  /** Number of records before each snapshot was whole. */
  readonly caughtUpAt: number[] = [];
  /** True while a method of the bus runs. */
  inside = false;
  #closed = false;

  record(node: number, key: string, value: Uint8Array | undefined): void {
    this.#check();
    const text = value === undefined ? "deleted" : `"${new TextDecoder().decode(value)}"`;
    this.latest.set(`${node} ${key}`, text);
    this.records.push(`${node} ${key}=${text}`);
  }
  shout(node: number, message: Uint8Array): void {
    this.#check();
    this.shouts.push([node, message]);
  }
  state(connected: boolean): void {
    this.#check();
    this.states.push(connected);
  }
  caughtUp(): void {
    this.#check();
    this.caughtUpAt.push(this.records.length);
  }
  close(): void {
    this.#closed = true;
  }
  #check(): void {
    if (this.inside) throw new Error("the listener was called from inside a method");
    if (this.#closed) throw new Error("the listener was called after close");
  }
}

export interface BusRig {
  /** Nodes that can be opened, 1 and up. */
  readonly nodes: number;
  open(node: number, listener: BusListener): Bus;
  /** Lets time pass until the condition holds; rejects when it does not in time. */
  until(condition: () => boolean, what: string): Promise<void>;
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

export function busContract(name: string, makeRig: () => BusRig): void {
  describe(`bus: ${name}`, () => {
    const rig = makeRig();
    const opened: [Bus, Ear][] = [];
    let unique = 0;
    /** A prefix that no test had before; servers outlive tests. */
    const fresh = (): string => `${name.replaceAll(/[^a-z]/g, "")}${process.pid}-${++unique}`;
    const open = (node: number): [Bus, Ear] => {
      const ear = new Ear();
      ear.inside = true;
      const bus = rig.open(node, ear);
      ear.inside = false;
      const guarded: Bus = {
        put: (entries) => inside(ear, () => bus.put(entries)),
        shout: (message) => inside(ear, () => bus.shout(message)),
        status: () => inside(ear, () => bus.status()),
        close: async () => {
          await bus.close();
          ear.close();
        },
      };
      opened.push([guarded, ear]);
      return [guarded, ear];
    };
    const ready = async (node: number): Promise<[Bus, Ear]> => {
      const pair = open(node);
      await rig.until(() => pair[1].caughtUpAt.length === 1, `the snapshot of node ${node}`);
      return pair;
    };
    afterEach(async () => {
      for (const [bus] of opened.splice(0)) await bus.close();
    });

    test("begins with its state, then the snapshot; says so in its status", async () => {
      const [bus, ear] = open(1);
      expect(ear.states).toEqual([]);
      await rig.until(() => ear.caughtUpAt.length === 1, "the snapshot");
      expect(ear.states).toEqual([true]);
      expect(bus.status()).toMatchObject({ connected: true, why: "", caughtUp: true, outbox: 0, errors: [] });
    });

    test("what lasts comes back to its node after a restart, before the snapshot is whole; later puts do not", async () => {
      const key = `c.${fresh()}`;
      const [first, ear] = await ready(1);
      first.put([
        { key, value: bytes("old") },
        { key: `${key}.gone`, value: bytes("x") },
      ]);
      first.put([
        { key, value: bytes("new") },
        { key: `${key}.gone`, value: undefined },
      ]);
      await rig.until(() => first.status().outbox === 0, "the puts");
      await first.close();
      expect(ear.records.filter((record) => record.includes(key))).toEqual([]);
      const [second, again] = await ready(1);
      expect(again.latest.get(`1 ${key}`)).toBe('"new"');
      expect([undefined, "deleted"]).toContain(again.latest.get(`1 ${key}.gone`));
      const before = again.records.length;
      second.put([{ key, value: bytes("newer") }]);
      await rig.until(() => second.status().outbox === 0, "the put");
      expect(again.records.slice(before)).toEqual([]);
    });

    test("entries out of the limits are refused and counted, others of the same put are not", async () => {
      const key = fresh();
      const [bus, ear] = await ready(1);
      const bad = ["", ".a", "a.", "a..b", "a b", "a*", "é", "a>", "a/b", "x".repeat(KEY_LEN_MAX + 1)];
      bus.put(bad.map((each) => ({ key: each, value: bytes("x") })));
      bus.put([{ key: `c.${key}.long`, value: new Uint8Array(VALUE_LEN_MAX + 1) }]);
      bus.shout(new Uint8Array(SHOUT_LEN_MAX + 1));
      bus.put([
        { key: "b ad", value: bytes("x") },
        { key: `c.${key}`, value: new Uint8Array(VALUE_LEN_MAX).fill(65) },
      ]);
      await rig.until(() => bus.status().outbox === 0, "the put");
      expect(bus.status().errors.map(({ name, count }) => [name, count])).toEqual(
        rig.nodes > 1 ? [["bad_entry", bad.length + 3]] : [["bad_entry", bad.length + 2]],
      );
      await bus.close();
      expect(ear.shouts).toEqual([]);
      const [, again] = await ready(1);
      expect(again.latest.get(`1 c.${key}`)).toBe(`"${"A".repeat(VALUE_LEN_MAX)}"`);
      expect(again.latest.has(`1 c.${key}.long`)).toBe(false);
    });

    test("what was put can change without changing the bus", async () => {
      const key = `t.${fresh()}`;
      const [bus] = await ready(1);
      const value = bytes("mine");
      bus.put([{ key, value }]);
      value.fill(0);
      await rig.until(() => bus.status().outbox === 0, "the put");
      await bus.close();
      expect((await ready(1))[1].latest.get(`1 ${key}`)).toBe('"mine"');
    });

    test("nothing after close, and closing twice is nothing", async () => {
      const [bus] = open(1);
      await bus.close();
      bus.put([{ key: "a", value: bytes("x") }]);
      bus.shout(bytes("x"));
      await bus.close();
      const [other] = await ready(1);
      await other.close();
      expect(bus.status().connected).toBe(false);
    });

    describe.runIf(rig.nodes > 1)("several nodes", () => {
      test("a put comes to all others under its node, the last value in the end, in order; not to itself", async () => {
        const key = fresh();
        const [[a, earA], [, earB], [, earC]] = await Promise.all([ready(1), ready(2), ready(3)]);
        for (let i = 0; i < 200; i++) a.put([{ key, value: bytes(String(i)) }]);
        a.put([
          { key: `${key}.empty`, value: new Uint8Array(0) },
          { key: `c.${key}`, value: bytes("lasts") },
          { key: `${key}.gone`, value: bytes("x") },
        ]);
        for (const ear of [earB, earC]) {
          await rig.until(() => ear.latest.get(`1 ${key}`) === '"199"', "the last value");
          const order = ear.records.filter((r) => r.startsWith(`1 ${key}=`)).map((r) => Number(/"(.*)"/.exec(r)![1]));
          expect(order).toEqual(order.toSorted((x, y) => x - y));
          await rig.until(() => ear.latest.get(`1 ${key}.empty`) === '""', "an empty value");
          await rig.until(() => ear.latest.get(`1 c.${key}`) === '"lasts"', "a key that lasts");
          await rig.until(() => ear.latest.get(`1 ${key}.gone`) === '"x"', "a key");
        }
        a.put([{ key: `${key}.gone`, value: undefined }]);
        await rig.until(() => earB.latest.get(`1 ${key}.gone`) === "deleted", "the deletion");
        expect(earA.records.filter((r) => r.includes(key))).toEqual([]);
        await rig.until(() => a.status().outbox === 0, "acknowledgements");
      });

      test("each node has a subtree of its own", async () => {
        const key = fresh();
        const [[a, earA], [b, earB], [, earC]] = await Promise.all([ready(1), ready(2), ready(3)]);
        a.put([{ key, value: bytes("of a") }]);
        b.put([{ key, value: bytes("of b") }]);
        await rig.until(() => earC.latest.has(`1 ${key}`) && earC.latest.has(`2 ${key}`), "both");
        expect([earC.latest.get(`1 ${key}`), earC.latest.get(`2 ${key}`)]).toEqual(['"of a"', '"of b"']);
        await rig.until(() => earA.latest.get(`2 ${key}`) === '"of b"', "b's at a");
        await rig.until(() => earB.latest.get(`1 ${key}`) === '"of a"', "a's at b");
      });

      test("shouts come whole to all others, not to the node itself", async () => {
        const [[a, earA], [, earB], [, earC]] = await Promise.all([ready(1), ready(2), ready(3)]);
        const long = new Uint8Array(SHOUT_LEN_MAX).map((_, i) => i * 7);
        a.shout(long);
        a.shout(bytes("short"));
        for (const ear of [earB, earC]) {
          await rig.until(() => ear.shouts.length === 2, "two shouts");
          expect(ear.shouts.map(([node]) => node)).toEqual([1, 1]);
          expect(Buffer.compare(ear.shouts[0][1], long)).toBe(0);
          expect(ear.shouts[1][1]).toEqual(bytes("short"));
        }
        expect(earA.shouts).toEqual([]);
      });

      test("who comes later gets everything before its snapshot is whole", async () => {
        const key = fresh();
        const [[a], [b]] = [await ready(1), await ready(2)];
        a.put(Array.from({ length: 2000 }, (_, i) => ({ key: `${key}.${i}`, value: bytes(String(i)) })));
        b.put([{ key: `c.${key}`, value: bytes("b's") }]);
        await rig.until(() => a.status().outbox === 0 && b.status().outbox === 0, "the puts");
        const [c, ear] = open(3);
        await rig.until(() => ear.caughtUpAt.length === 1, "the snapshot");
        const missing = Array.from({ length: 2000 }, (_, i) => `1 ${key}.${i}`).filter((k) => !ear.latest.has(k));
        expect(missing).toEqual([]);
        expect(ear.latest.get(`2 c.${key}`)).toBe('"b\'s"');
        await rig.until(() => c.status().peers.every(({ lag }) => lag === 0), "no lag");
        expect(
          c
            .status()
            .peers.map(({ node }) => node)
            .sort(),
        ).toEqual([1, 2]);
      });
    });
  });
}

function inside<T>(ear: Ear, work: () => T): T {
  ear.inside = true;
  try {
    return work();
  } finally {
    ear.inside = false;
  }
}

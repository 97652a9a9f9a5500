/** Links of several nodes on virtual time, over a network that loses, repeats and forges. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Endpoint } from "../../src/cluster/endpoint.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import {
  BEAT_MS,
  DEAD_MS,
  Link,
  type LinkIdentity,
  type LinkOutput,
  PAYLOAD_ALONE_MAX,
} from "../../src/cluster/link.ts";
import { COUNTER_WINDOW, CounterWindow } from "../../src/crypto/counter_window.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";

const FLEET = new Uint8Array(32).fill(9);
const GROUP = new Uint8Array(32).fill(8);
const at = (node: number): Endpoint => ({ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc6336400 + node, port: 4445 });
const boot = (n: number) => new Uint8Array(8).fill(n);

interface Options {
  readonly node: number;
  readonly bootId?: Uint8Array;
  readonly fleetKey?: Uint8Array;
  readonly groupPublicKey?: Uint8Array;
  readonly clockMs?: number;
  readonly identity?: LinkIdentity;
}

class World {
  ms = 1000;
  delayMs = 1;
  /** False: the datagram is lost. */
  passes: (from: number, to: number, bytes: Uint8Array) => boolean = () => true;
  readonly ends = new Map<number, { link: Link; clockMs: number; seen: LinkOutput[] }>();
  readonly wire: { from: number; to: number; bytes: Uint8Array }[] = [];
  #flying: { dueMs: number; from: number; to: number; bytes: Uint8Array }[] = [];

  start({ node, bootId = boot(node), fleetKey = FLEET, groupPublicKey = GROUP, clockMs = 0, identity }: Options): void {
    const peers = [1, 2].filter((peer) => peer !== node).map((peer) => ({ node: peer, endpoint: at(peer) }));
    const fleetKeys = new FleetKeys(fleetKey);
    const now = { ms: this.ms, wallMs: 1e12 + this.ms + clockMs };
    const link = new Link(now, { node, bootId, fleetKeys, groupPublicKey, peers, entropy: systemEntropy, identity });
    this.ends.set(node, { link, clockMs, seen: [] });
  }

  now(node: number) {
    return { ms: this.ms, wallMs: 1e12 + this.ms + this.ends.get(node)!.clockMs };
  }

  #act(node: number, act: (link: Link, out: LinkOutput[]) => void): void {
    const end = this.ends.get(node)!;
    const out: LinkOutput[] = [];
    act(end.link, out);
    for (const output of out) {
      if (output.kind === "beat") this.send(node, output.node, new Uint8Array(0));
      if (output.kind !== "datagram") end.seen.push(output);
      else {
        const to = output.to.w3 - 0xc6336400;
        this.wire.push({ from: node, to, bytes: output.bytes });
        if (this.passes(node, to, output.bytes))
          this.#flying.push({ dueMs: this.ms + this.delayMs, from: node, to, bytes: output.bytes });
      }
    }
  }

  send(from: number, to: number, payload: Uint8Array): boolean {
    let sent = false;
    this.#act(from, (link, out) => {
      sent = link.send(this.now(from), to, payload, out);
    });
    return sent;
  }

  deliver(to: number, from: Endpoint, bytes: Uint8Array): void {
    if (this.ends.has(to)) this.#act(to, (link, out) => link.receive(this.now(to), from, bytes, out));
  }

  run(forMs: number): void {
    for (const endMs = this.ms + forMs; this.ms < endMs; this.ms++) {
      for (const node of this.ends.keys()) this.#act(node, (link, out) => link.tick(this.now(node), out));
      const due = this.#flying.filter(({ dueMs }) => dueMs <= this.ms);
      this.#flying = this.#flying.filter(({ dueMs }) => dueMs > this.ms);
      for (const { from, to, bytes } of due) this.deliver(to, at(from), bytes);
    }
  }

  link(node: number): Link {
    return this.ends.get(node)!.link;
  }

  /** Of all outputs but beats, and secrets for the lifeline (`agreed`). */
  kinds(node: number): string[] {
    return this.ends
      .get(node)!
      .seen.map(({ kind }) => kind)
      .filter((kind) => kind !== "beat" && kind !== "agreed");
  }

  /** How often the lifeline was handed other secrets. */
  agreed(node: number): number {
    return this.ends.get(node)!.seen.filter(({ kind }) => kind === "agreed").length;
  }

  payloads(node: number): Uint8Array[] {
    return this.ends.get(node)!.seen.flatMap((output) => (output.kind === "payload" ? [output.payload] : []));
  }

  refused(node: number): Record<string, number> {
    return Object.fromEntries(this.link(node).refusals());
  }
}

function pair(options: Partial<Options> = {}): World {
  const world = new World();
  world.start({ node: 1 });
  world.start({ node: 2, ...options });
  return world;
}

test("two nodes find each other, talk, measure, and notice silence from either side", () => {
  const world = pair({ clockMs: 7000 });
  expect(world.send(1, 2, boot(1))).toBe(false);
  world.run(20);
  expect(world.kinds(1)).toEqual(["alive"]);
  expect(world.kinds(2)).toEqual(["alive"]);
  expect([world.agreed(1), world.agreed(2)]).toEqual([1, 1]);
  expect(world.refused(1)).toEqual({});
  expect(world.send(1, 2, Uint8Array.of(1, 2, 3))).toBe(true);
  expect(world.send(1, 2, new Uint8Array(PAYLOAD_ALONE_MAX + 1))).toBe(false);
  world.run(2000);
  expect(world.payloads(2)).toEqual([Uint8Array.of(1, 2, 3)]);
  const [status] = world.link(1).status();
  expect(status).toMatchObject({ node: 2, alive: true, clockApart: true, bootId: boot(2), refused: {} });
  expect(status.rttMs).toBeCloseTo(2, 0);
  expect(status.clockOffsetMs).toBeCloseTo(7000, -1);
  // One way is cut: both sides see it, since a node that is not heard is not answered.
  world.passes = (from) => from !== 2;
  world.run(2 * DEAD_MS + 3 * BEAT_MS);
  expect(world.kinds(1)).toEqual(["alive", "dead"]);
  expect(world.link(2).isAlive(1)).toBe(false);
  world.passes = () => true;
  world.run(3 * BEAT_MS);
  expect(world.link(1).isAlive(2) && world.link(2).isAlive(1)).toBe(true);
  expect(world.link(1).status()[0].bootId).toEqual(boot(2));
});

test("every payload arrives once at most, whatever is lost and repeated; all arrive when nothing is lost", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.nat(99)), fc.constantFrom(0, 30), (dice, loss) => {
      const world = pair();
      world.run(50);
      world.passes = () => dice.next().value >= loss;
      for (let i = 0; i < 50; i++) world.send(1, 2, Uint8Array.of(i));
      world.run(10);
      for (const { from, to, bytes } of world.wire.slice()) world.deliver(to, at(from), bytes);
      world.run(10);
      const got = world.payloads(2).map(([n]) => n);
      expect(new Set(got).size).toBe(got.length);
      // The repeated round brought what was lost: the window holds all of it.
      expect(got.length).toBe(50);
      expect(world.refused(2)["replay"]).toBeGreaterThan(0);
    }),
    { numRuns: 10 },
  );
});

test("recorded datagrams of an earlier life, of either node, are worth nothing", () => {
  const world = pair();
  world.run(50);
  world.send(1, 2, Uint8Array.of(66));
  world.send(2, 1, Uint8Array.of(77));
  world.run(50);
  const recorded = world.wire.slice();
  const replay = () => {
    for (const { from, to, bytes } of recorded) world.deliver(to, at(from), bytes);
  };
  // The sender starts anew: its old life is never believed again, also while the new one is silent.
  world.start({ node: 1, bootId: boot(11) });
  world.run(3000);
  expect(world.link(2).status()[0].bootId).toEqual(boot(11));
  replay();
  world.passes = (from) => from !== 1;
  world.run(1500);
  replay();
  world.run(50);
  expect(world.payloads(2).map(([n]) => n)).toEqual([66]);
  expect(world.link(2).isAlive(1)).toBe(false);
  // The receiver starts anew.
  world.passes = () => true;
  world.start({ node: 2, bootId: boot(22) });
  replay();
  world.run(3000);
  replay();
  expect(world.payloads(2)).toEqual([]);
  expect(world.link(1).isAlive(2) && world.link(2).isAlive(1)).toBe(true);
  expect(world.ends.get(1)!.seen).toContainEqual({ kind: "alive", node: 2, bootId: boot(22), restarted: true });
});

test("what was held back for more than a second is late", () => {
  const world = pair();
  world.run(500);
  world.passes = (_from, _to, bytes) => bytes[0] !== 3 || bytes.length < 60;
  world.send(1, 2, new Uint8Array(100).fill(5));
  const held = world.wire.at(-1)!;
  world.passes = () => true;
  world.run(1200);
  world.deliver(2, at(1), held.bytes);
  expect(world.payloads(2)).toEqual([]);
  expect(world.refused(2)).toEqual({ late: 1 });
});

test("another fleet key, another group, a second node of one number: refused, counted, named", () => {
  const key = pair({ fleetKey: new Uint8Array(32) });
  key.run(1000);
  expect(key.kinds(1)).toEqual([]);
  expect(key.link(1).status()[0].refused).toEqual({ wrong_key: 5 });
  const group = pair({ groupPublicKey: new Uint8Array(32) });
  group.run(1000);
  expect(group.link(1).isAlive(2) || group.link(2).isAlive(1)).toBe(false);
  expect(group.ends.get(1)!.seen).toContainEqual({ kind: "refused_by", node: 2, reason: "other_group" });
  expect(group.link(2).status()[0]).toMatchObject({ refusedBy: "other_group" });
  const both = pair({ fleetKey: new Uint8Array(32), groupPublicKey: new Uint8Array(32) });
  both.run(300);
  expect(Object.keys(both.refused(1))).toEqual(["other_group"]);
  // Node 1 lives; another machine says that it is node 1, too.
  const world = pair();
  world.run(100);
  const first = world.ends.get(1)!;
  world.start({ node: 1, bootId: boot(99) });
  const second = world.ends.get(1)!;
  for (let i = 0; i < 20; i++) {
    world.ends.set(1, first);
    world.run(BEAT_MS + 1);
    world.ends.set(1, second);
    world.run(10);
  }
  expect(second.seen).toContainEqual({ kind: "refused_by", node: 2, reason: "duplicate_node" });
  expect(second.link.status()[0].refusedBy).toBe("duplicate_node");
  expect(world.link(2).status()[0].bootId).toEqual(boot(1));
});

test("hostile datagrams: cut, changed, from elsewhere, in floods", () => {
  const world = pair();
  world.run(50);
  world.send(1, 2, Uint8Array.of(1, 2, 3));
  world.run(5);
  const before = world.payloads(2).length;
  const kinds = [...new Map(world.wire.filter(({ to }) => to === 2).map((d) => [d.bytes[0], d.bytes])).values()];
  expect(kinds.length).toBe(3);
  for (const bytes of kinds) {
    for (let n = 0; n < bytes.length; n++) {
      world.deliver(2, at(1), bytes.subarray(0, n));
      const changed = bytes.slice();
      changed[n] ^= 1;
      world.deliver(2, at(1), changed);
    }
    world.deliver(2, at(3), bytes);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (noise) => world.deliver(2, at(1), noise)));
  const forged = kinds[0].slice();
  forged[forged.length - 1] ^= 1;
  for (let n = 0; n < 600; n++) world.deliver(2, at(1), forged);
  expect(world.payloads(2).length).toBe(before);
  const refused = world.refused(2);
  for (const reason of ["malformed", "version", "stranger", "wrong_address", "wrong_key", "wrong_seal", "too_many"])
    expect(refused[reason], reason).toBeGreaterThan(0);
  world.run(500);
  expect(world.link(2).isAlive(1)).toBe(true);
});

test("a start that follows a dead one at once is believed when it is known that the one before is dead", () => {
  const alive = (world: World) => world.ends.get(1)!.seen.filter(({ kind }) => kind === "alive");
  for (const isKnown of [false, true]) {
    const world = pair();
    world.run(20);
    world.start({ node: 2, bootId: boot(7) });
    if (isKnown) world.link(1).died(2, boot(2), world.ends.get(1)!.seen);
    world.run(DEAD_MS / 2);
    expect(alive(world).length).toBe(isKnown ? 2 : 1);
    if (!isKnown) continue;
    expect(alive(world)[1]).toMatchObject({ bootId: boot(7), restarted: true });
    expect(world.send(1, 2, boot(1))).toBe(true);
    world.run(20);
    expect(world.payloads(2)).toContainEqual(boot(1));
  }
});

test("peers come and go; impossible ones are refused in words", () => {
  const world = pair();
  world.run(50);
  world.link(1).setPeers(world.now(1), [{ node: 2, endpoint: at(2) }]);
  expect(world.link(1).isAlive(2)).toBe(true);
  expect(() => world.link(1).setPeers(world.now(1), [{ node: 1, endpoint: at(1) }])).toThrow(/number 1/);
  world.link(1).setPeers(world.now(1), []);
  expect(world.link(1).status()).toEqual([]);
  expect(world.link(1).nextTimeout()).toBe(Number.POSITIVE_INFINITY);
});

test("the window of counters is a Set of the last numbers", () => {
  const steps = fc.array(fc.oneof(fc.integer({ min: -1100, max: 40 }), fc.nat(3000)), { maxLength: 200 });
  fc.assert(
    fc.property(fc.constantFrom(0, 31, 1000, 2 ** 47), steps, (start, path) => {
      const window = new CounterWindow();
      const seen = new Set<number>();
      let highest = -1;
      for (const step of [0, ...path]) {
        const counter = Math.max(0, (highest < 0 ? start : highest) + step);
        const fresh = counter > highest || (highest - counter < COUNTER_WINDOW && !seen.has(counter));
        expect(window.isFresh(counter)).toBe(fresh);
        if (!fresh) continue;
        window.commit(counter);
        seen.add(counter);
        highest = Math.max(highest, counter);
      }
    }),
  );
});

test.each([1, 2, 3])("start %d of a node, of which others came after it, is not believed any more", (n) => {
  const world = pair({ bootId: boot(11) });
  const starts = [world.ends.get(2)!];
  world.run(50);
  for (const bootId of [boot(12), boot(13), boot(14)]) {
    world.ends.delete(2);
    world.run(2 * DEAD_MS);
    world.start({ node: 2, bootId });
    starts.push(world.ends.get(2)!);
    world.run(2 * DEAD_MS);
    expect(world.link(1).status()[0]).toMatchObject({ alive: true, bootId });
  }
  // The newest one ends, and one of the earlier comes back, as a machine that was frozen does.
  world.ends.delete(2);
  world.run(2 * DEAD_MS);
  world.ends.set(2, starts[n - 1]);
  world.run(3 * DEAD_MS);
  expect(world.link(1).status()[0]).toMatchObject({ alive: false, bootId: boot(14) });
  expect(world.refused(1)["duplicate_node"]).toBeGreaterThan(0);
  expect(world.link(2).status()[0].refusedBy).toBe("duplicate_node");
});

test("a counter window takes what is less than its size behind the highest, wherever its words begin", () => {
  for (let highest = COUNTER_WINDOW; highest < COUNTER_WINDOW + 64; highest++) {
    const window = new CounterWindow();
    window.commit(highest);
    const lowest = highest - COUNTER_WINDOW + 1;
    expect([window.isFresh(lowest), window.isFresh(lowest - 1)], `${highest}`).toEqual([true, false]);
  }
});

/** The lifeline on virtual time: who is dead and who is not, and when a node must open nothing. */
import { describe, expect, test } from "vitest";
import { UNASKABLE_MS } from "../../src/cluster/core.ts";
import { Lifeline } from "../../src/cluster/lifeline.ts";
import { decodeHello, encodeHello, FrameKey, HELLO_LEN, WELCOME_LEN } from "../../src/cluster/lifeline_bytes.ts";
import {
  BEAT_MS,
  HUNG_MS,
  type LifelineEvent,
  type LifelineOutput,
  PAUSE_MS,
} from "../../src/cluster/lifeline_types.ts";
import { PATIENCE_MS } from "../../src/cluster/lifeline_watch.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { type MemoryLifeline, MemoryLifelines } from "../../src/drivers/memory_lifeline.ts";
import { Prng } from "../support/prng.ts";
import { endpoint } from "./world.ts";

const WAY_MS = 0.2;
const KERNEL_MS = 2;

type Start = readonly [node: number, bootId: Uint8Array];

class World {
  ms = 1000;
  wallMs = 0;
  readonly cut = new Set<string>();
  readonly lines = new Map<number, MemoryLifeline>();
  readonly said = new Map<number, LifelineEvent[]>();
  /** The last start of each node. */
  readonly boots = new Map<number, Uint8Array>();
  readonly #events: { readonly ms: number; readonly act: () => void }[] = [];
  readonly #random = new Prng(5);
  readonly entropy = {
    bytes: (n: number) => Uint8Array.from({ length: n }, () => this.#random.nextU32() & 255),
    keyPair: () => keyPairFromPrivate(this.entropy.bytes(32)),
  };
  /** Since when the control thread of a node hangs. */
  readonly hung = new Map<number, number>();
  readonly tcp = new MemoryLifelines({
    now: () => this.now(),
    controlSilentMs: (node) => this.ms - (this.hung.get(node) ?? this.ms),
    later: (ms, act) => void this.#events.push({ ms: this.ms + ms, act }),
    delayMs: () => WAY_MS,
    isCut: (a, b) => this.cut.has(`${a}>${b}`),
    as: (_, act) => act(),
  });

  constructor(nodes: number) {
    for (let node = 1; node <= nodes; node++) this.start(node, nodes);
    this.run(1000);
  }

  now() {
    return { ms: this.ms, wallMs: this.wallMs + this.ms };
  }

  start(node: number, nodes: number): void {
    const peers = Array.from({ length: nodes }, (_, k) => ({ node: k + 1, endpoint: endpoint(k + 1) }));
    const options = { node, bootId: this.entropy.bytes(8), entropy: this.entropy };
    const said: LifelineEvent[] = [];
    this.said.set(node, said);
    this.lines.set(
      node,
      this.tcp.start({ ...options, peers: peers.filter((peer) => peer.node !== node) }, (event) => said.push(event)),
    );
    for (const [other, bootId] of this.boots) if (other !== node) this.agree([node, options.bootId], [other, bootId]);
    this.boots.set(node, options.bootId);
  }

  /** What the node link does: both ends get secrets that only these two starts know. The second may be later. */
  agree(a: Start, b: Start, secrets = [this.entropy.bytes(32)], laterMs = 1): void {
    this.lines.get(a[0])!.agreed({ node: b[0], bootId: b[1], secrets });
    this.events(laterMs, () => this.lines.get(b[0])!.agreed({ node: a[0], bootId: a[1], secrets }));
  }

  events(ms: number, act: () => void): void {
    this.#events.push({ ms: this.ms + ms, act });
  }

  startOf(node: number): Start {
    return [node, this.boots.get(node)!];
  }

  /** What was said since the last time, in short. */
  news(node: number): string[] {
    return this.said
      .get(node)!
      .splice(0)
      .map((event) => {
        if (event.kind === "dead") return `${event.node} ${event.cause}`;
        if (event.kind === "alive") return `${event.node} alive`;
        return event.kind === "unfenced" ? `unfenced${event.condemned ? ", condemned" : ""}` : "fenced";
      });
  }

  run(forMs: number): void {
    const endMs = this.ms + forMs;
    for (;;) {
      this.#events.sort((a, b) => a.ms - b.ms);
      const next = this.#events[0];
      if (next === undefined || next.ms > endMs) break;
      this.#events.shift();
      this.ms = Math.max(this.ms, next.ms);
      next.act();
    }
    this.ms = endMs;
  }
}

describe("evidence of death", () => {
  test("a living group says nothing after it has met, and is connected both ways", () => {
    const world = new World(3);
    expect(world.news(1)).toEqual(["2 alive", "3 alive"]);
    world.run(60_000);
    for (const node of [1, 2, 3]) expect(world.said.get(node)!.filter(({ kind }) => kind !== "alive")).toEqual([]);
    expect(world.lines.get(1)!.status()).toMatchObject([
      { node: 2, state: "alive", connected: true, patienceMs: PATIENCE_MS },
      { node: 3, state: "alive", connected: true },
    ]);
  });

  test("the end of a process is known at once, a farewell too, and a start that follows lives", () => {
    const world = new World(3);
    for (const node of [1, 3]) world.news(node);
    world.tcp.kill(2);
    world.run(KERNEL_MS);
    for (const node of [1, 3]) expect(world.news(node)).toEqual(["2 closed"]);
    world.start(2, 3);
    world.run(500);
    for (const node of [1, 3]) expect(world.news(node)).toEqual(["2 alive"]);
    world.lines.get(2)!.close();
    world.run(KERNEL_MS);
    expect(world.news(1)).toEqual(["2 left"]);
  });

  test("a host without power is dead when its beats are missing, not sooner", () => {
    const world = new World(2);
    world.news(1);
    world.tcp.kill(2, true);
    world.run(PATIENCE_MS - BEAT_MS - 10);
    expect(world.news(1)).toEqual([]);
    world.run(BEAT_MS + 20);
    expect(world.news(1)).toEqual(["2 silent"]);
  });

  test("a cut that is shorter than the patience is nothing; a longer one is seen at both ends and told when it is mended", () => {
    const world = new World(2);
    for (const node of [1, 2]) world.news(node);
    const cut = (forMs: number) => {
      world.cut.add("1>2").add("2>1");
      world.run(forMs);
      world.cut.clear();
    };
    cut(300);
    world.run(2000);
    for (const node of [1, 2]) expect(world.news(node)).toEqual([]);
    cut(2000);
    for (const node of [1, 2]) expect(world.news(node)[0]).toMatch(/silent/);
    world.run(5000);
    for (const node of [1, 2]) {
      const news = world.news(node);
      expect(news).toContain(`${3 - node} alive`);
      expect(news).toContain("unfenced, condemned");
    }
  });

  test("datagrams of the node link are signs of life, too: TCP alone may be cut", () => {
    const world = new World(2);
    world.news(1);
    world.cut.add("1>2").add("2>1");
    for (let n = 0; n < 20; n++) {
      world.lines.get(1)!.heard(2, world.ms);
      world.run(200);
    }
    expect(world.news(1)).toEqual([]);
    world.run(PATIENCE_MS);
    expect(world.news(1)).toEqual(["2 silent"]);
  });
});

describe("secrets of the node link", () => {
  test("without a link there is no lifeline, and a node that runs is not taken for dead for it before patience", () => {
    const world = new World(0);
    world.start(2, 2);
    world.boots.clear();
    world.start(1, 2);
    world.run(PATIENCE_MS - 50);
    expect(world.news(1)).toEqual([]);
    world.run(100);
    expect(world.news(1)).toEqual(["2 silent"]);
    expect(world.lines.get(1)!.status()).toMatchObject([{ node: 2, connected: false }]);
  });

  test("another secret every hour ends no connection, whoever has it first; the next one is under it", () => {
    const world = new World(2);
    for (const node of [1, 2]) world.news(node);
    let secrets = [world.entropy.bytes(32)];
    for (let hour = 0; hour < 4; hour++) {
      secrets = [world.entropy.bytes(32), secrets[0]];
      const [a, b] = hour % 2 === 0 ? [1, 2] : [2, 1];
      world.agree(world.startOf(a), world.startOf(b), secrets, 100);
      world.run(3000);
      for (const node of [1, 2]) expect(world.news(node)).toEqual([]);
    }
    // A cut that is longer than the patience ends them; then both come again.
    world.cut.add("1>2").add("2>1");
    world.run(2000);
    world.cut.clear();
    world.run(5000);
    for (const node of [1, 2]) expect(world.news(node)).toContain(`${3 - node} alive`);
  });

  test("a peer that is put out is forgotten, and can't come again; the others notice nothing", () => {
    const world = new World(3);
    for (const node of [1, 2, 3]) world.news(node);
    for (const node of [1, 2]) world.lines.get(node)!.setPeers([{ node: 3 - node, endpoint: endpoint(3 - node) }]);
    world.run(10_000);
    for (const node of [1, 2]) expect(world.news(node)).toEqual([]);
    for (const node of [1, 2]) expect(world.lines.get(node)!.status()).toMatchObject([{ node: 3 - node }]);
    expect(world.lines.get(3)!.status()).toMatchObject([{ connected: false }, { connected: false }]);
  });

  test("another start that the link believes is the end of the one before, though its connection seems to stand", () => {
    const world = new World(2);
    world.news(1);
    world.tcp.kill(2, true);
    world.run(300);
    expect(world.news(1)).toEqual([]);
    world.start(2, 2);
    world.run(10);
    expect(world.news(1)).toEqual(["2 restarted", "2 alive"]);
  });
});

describe("the fence", () => {
  test("a node that stood still for a moment goes on as soon as those who watch it have answered", () => {
    const world = new World(3);
    for (const node of [1, 2, 3]) world.news(node);
    world.tcp.pause(1, PAUSE_MS + 60);
    world.run(PAUSE_MS + 60 + KERNEL_MS);
    expect(world.news(1)).toEqual(["fenced", "unfenced"]);
    for (const node of [2, 3]) expect(world.news(node)).toEqual([]);
  });

  test("one that was taken for dead learns it before the fence falls, and takes nobody for dead itself", () => {
    const world = new World(3);
    for (const node of [1, 2, 3]) world.news(node);
    world.tcp.pause(1, 3000);
    world.run(3000);
    for (const node of [2, 3]) expect(world.news(node)).toEqual(["1 silent"]);
    world.run(2000);
    const news = world.news(1);
    expect(news[0]).toBe("fenced");
    expect(news.filter((one) => one.startsWith("unfenced"))).toEqual(["unfenced, condemned"]);
    expect(news.filter((one) => /silent/.test(one))).toEqual([]);
    for (const node of [2, 3]) expect(world.news(node)).toEqual(["1 alive"]);
  });

  test("a wall clock that jumps ahead is a pause that the other clock does not show", () => {
    const world = new World(2);
    world.news(1);
    world.wallMs += 60_000;
    world.run(100);
    expect(world.news(1)).toEqual(["fenced", "unfenced"]);
  });

  test("a node whose control thread hangs is fenced as long as it does, long before others take what it owns", () => {
    expect(HUNG_MS + 2 * PAUSE_MS).toBeLessThan(UNASKABLE_MS);
    const world = new World(3);
    for (const node of [1, 2, 3]) world.news(node);
    world.hung.set(1, world.ms);
    world.run(HUNG_MS);
    expect(world.news(1)).toEqual([]);
    world.run(100);
    expect(world.news(1)).toEqual(["fenced"]);
    world.run(60_000);
    // Also after its process stood still meanwhile.
    world.tcp.pause(1, 600);
    world.run(1000);
    expect(world.news(1)).toEqual(["fenced"]);
    world.hung.delete(1);
    world.run(100);
    expect(world.news(1)).toEqual(["unfenced, condemned"]);
    // It beat all the time.
    for (const node of [2, 3]) expect(world.news(node)).toEqual([]);
    world.hung.set(1, world.ms);
    world.run(HUNG_MS - 100);
    world.hung.delete(1);
    world.run(10_000);
    expect(world.news(1)).toEqual([]);
  });

  test("a node that is alone serves", () => {
    const world = new World(2);
    world.tcp.kill(2, true);
    world.run(2000);
    world.news(1);
    world.tcp.pause(1, 1000);
    world.run(2100);
    expect(world.news(1)).toEqual(["fenced", "unfenced"]);
  });
});

describe("strangers and liars", () => {
  const now = (ms: number) => ({ ms, wallMs: ms });
  const prng = new Prng(9);
  const entropy = {
    bytes: (n: number) => Uint8Array.from({ length: n }, () => prng.nextU32() & 255),
    keyPair: () => keyPairFromPrivate(new Uint8Array(32).fill(1)),
  };
  const bootId = new Uint8Array(8).fill(1);
  const make = () => new Lifeline(now(0), { node: 1, bootId, entropy, peers: [{ node: 2, endpoint: endpoint(2) }] });
  const secret = new Uint8Array(32).fill(7);
  const met = (secrets = [secret]) => {
    const line = make();
    line.agreed(now(0), { node: 2, bootId: hello.bootId, secrets }, []);
    return line;
  };
  const hello = {
    ...{ from: 2, to: 1, bootId: new Uint8Array(8).fill(2), nonce: new Uint8Array(16).fill(3) },
    ...{ condemned: bootId, times: 1 },
  };
  const events = (out: readonly LifelineOutput[]) => out.filter(({ kind }) => kind === "event");

  test("connections from elsewhere are turned away, and one address has few that prove nothing", () => {
    const line = make();
    const out: LifelineOutput[] = [];
    expect(line.accepted(now(1), endpoint(9), out)).toBeUndefined();
    const taken = Array.from({ length: 10 }, () => line.accepted(now(1), endpoint(2), out));
    expect(taken.filter((one) => one !== undefined)).toHaveLength(4);
    line.tick(now(50), []);
    for (let ms = 50; ms < 2100; ms += 50) line.tick(now(ms), out);
    expect(line.accepted(now(2100), endpoint(2), out)).toBeDefined();
  });

  test("a hello that is cut or changed anywhere is refused; what it says counts when an answer to a beat has come", () => {
    const good = encodeHello(secret, hello);
    expect(good).toHaveLength(HELLO_LEN);
    expect(decodeHello(secret, good)).toEqual(hello);
    for (let at = 0; at < good.length; at++) {
      const changed = good.slice();
      changed[at] ^= 1;
      expect(decodeHello(secret, changed)).toBeUndefined();
      expect(decodeHello(secret, good.subarray(0, at))).toBeUndefined();
      const line = met();
      const out: LifelineOutput[] = [];
      const connection = line.accepted(now(1), endpoint(2), out)!;
      line.received(now(1), connection, changed, out);
      // Not welcome; it might be under a secret that comes only now, so it is turned away a little later.
      expect(out.filter(({ kind }) => kind !== "close")).toEqual([]);
      line.received(now(2), connection, Uint8Array.of(0), out);
      for (let ms = 2; ms < 2100; ms += 50) line.tick(now(ms), out);
      expect(out).toContainEqual({ kind: "close", connection });
      expect(out.some((one) => one.kind === "write" && one.connection === connection)).toBe(false);
    }
    const line = met();
    const out: LifelineOutput[] = [];
    const connection = line.accepted(now(1), endpoint(2), out)!;
    // Byte by byte, as TCP may bring it.
    for (const byte of good) line.received(now(1), connection, Uint8Array.of(byte), out);
    const written = out.flatMap((one) => (one.kind === "write" ? [one.bytes] : []));
    expect(written.map(({ length }) => length)).toEqual([WELCOME_LEN, 23]);
    expect(events(out)).toEqual([]);
    const keys = {
      watched: new FrameKey(secret, "watched", good, written[0]),
      watcher: new FrameKey(secret, "watcher", good, written[0]),
    };
    const beat = keys.watched.open(written[1])!;
    expect(beat.kind).toBe("beat");
    const ack = keys.watcher.seal({ kind: "ack", value: beat.value });
    line.received(now(2), connection, ack, out);
    expect(events(out)).toMatchObject([
      { event: { kind: "fenced" } },
      { event: { kind: "unfenced", condemned: true } },
    ]);
    // The same frame again is not the next one.
    const after: LifelineOutput[] = [];
    line.received(now(3), connection, ack, after);
    expect(after).toEqual([{ kind: "close", connection }]);
  });

  test("a hello that is here before its secret waits for it; one under a secret that was given up is never welcome", () => {
    const [next, old] = [new Uint8Array(32).fill(8), new Uint8Array(32).fill(9)];
    const written = (out: readonly LifelineOutput[], connection: number) =>
      out.flatMap((one) => (one.kind === "write" && one.connection === connection ? [one.bytes.length] : []));
    const line = met([secret, old]);
    const out: LifelineOutput[] = [];
    const connections = [next, old, secret].map((one) => {
      const connection = line.accepted(now(1), endpoint(2), out)!;
      line.received(now(1), connection, encodeHello(one, hello), out);
      return connection;
    });
    // The secret before is good, too.
    expect(connections.map((connection) => written(out, connection).length)).toEqual([0, 2, 2]);
    line.agreed(now(2), { node: 2, bootId: hello.bootId, secrets: [next, secret] }, out);
    expect(written(out, connections[0])).toEqual([WELCOME_LEN, 23]);
    const late = line.accepted(now(3), endpoint(2), out)!;
    line.received(now(3), late, encodeHello(old, hello), out);
    for (let ms = 3; ms < 2100; ms += 50) line.tick(now(ms), out);
    expect(written(out, late)).toEqual([]);
    expect(out).toContainEqual({ kind: "close", connection: late });
  });
});

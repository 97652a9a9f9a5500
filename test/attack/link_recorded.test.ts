/**
 * Everything that passed on the node link was recorded, and later the fleet key and the signing keys of all nodes are
 * stolen. What opens then? Nothing: keys come from ephemeral keys that are thrown away. Two links on virtual time.
 */
import { describe, expect, test } from "vitest";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { Link, type LinkOutput } from "../../src/cluster/link.ts";
import { Epochs, RENEW_MS } from "../../src/cluster/link_epochs.ts";
import { HEADER_LEN, HELLO, HELLO_ACK, readAck, readHello, SEALED } from "../../src/cluster/link_greeting.ts";
import { readRoster, type SignedRoster, signRoster } from "../../src/cluster/roster.ts";
import { openChaChaPoly } from "../../src/crypto/chachapoly.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import type { KeyPair } from "../../src/crypto/x25519.ts";

const at = (node: number) => ({ family: 4 as const, w0: 0, w1: 0, w2: 0xffff, w3: 0xc6336400 + node, port: 4445 });
const FLEET = new Uint8Array(32).fill(9);
const GROUP = new Uint8Array(32).fill(8);
const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const signings = [1, 2].map((node) => signingKeyFrom(new Uint8Array(32).fill(10 + node)));

function rosterOf(keys: readonly Uint8Array[]): SignedRoster {
  const nodes = keys.map((publicKey, i) => ({ node: i + 1, publicKey, name: `n${i + 1}`, evictedIn: undefined }));
  const text = signRoster({ group: "example", version: 1, operator: operator.publicKey, nodes }, operator);
  return readRoster(text, "example", operator.publicKey) as SignedRoster;
}

class World {
  ms = 1000;
  readonly wire: { from: number; to: number; bytes: Uint8Array }[] = [];
  readonly got: string[] = [];
  /** Of each end, what the lifeline was told last. */
  readonly secrets: (readonly Uint8Array[])[] = [];
  /** Private halves of all ephemeral keys: for the check that the attack itself is right. */
  readonly pairs: KeyPair[] = [];
  readonly links: Link[];
  #flying: { dueMs: number; from: number; to: number; bytes: Uint8Array }[] = [];

  constructor(signed: boolean) {
    const roster = signed ? rosterOf(signings.map(({ publicKey }) => publicKey)) : undefined;
    this.links = [1, 2].map(
      (node) =>
        new Link(this.now(), {
          ...{ node, bootId: new Uint8Array(8).fill(node), groupPublicKey: GROUP, fleetKeys: new FleetKeys(FLEET) },
          peers: [{ node: 3 - node, endpoint: at(3 - node) }],
          identity: signed ? { signing: signings[node - 1], roster } : undefined,
          entropy: {
            bytes: systemEntropy.bytes,
            keyPair: () => {
              const pair = systemEntropy.keyPair();
              this.pairs.push(pair);
              return pair;
            },
          },
        }),
    );
  }

  now() {
    return { ms: this.ms, wallMs: 1e12 + this.ms };
  }

  act(node: number, act: (link: Link, out: LinkOutput[]) => void): void {
    const out: LinkOutput[] = [];
    act(this.links[node - 1], out);
    for (const output of out) {
      if (output.kind === "agreed") this.secrets[node - 1] = output.agreed.secrets;
      if (output.kind === "beat") this.send(node, "");
      if (output.kind === "payload" && output.payload.length > 0)
        this.got.push(new TextDecoder().decode(output.payload));
      if (output.kind !== "datagram") continue;
      const to = output.to.w3 - 0xc6336400;
      this.wire.push({ from: node, to, bytes: output.bytes.slice() });
      this.#flying.push({ dueMs: this.ms + 1, from: node, to, bytes: output.bytes });
    }
  }

  send(node: number, text: string): boolean {
    let sent = false;
    this.act(node, (link, out) => {
      sent = link.send(this.now(), 3 - node, new TextEncoder().encode(text), out);
    });
    return sent;
  }

  run(forMs: number, stepMs = 1): void {
    for (const endMs = this.ms + forMs; this.ms < endMs; this.ms += stepMs) {
      for (const node of [1, 2]) this.act(node, (link, out) => link.tick(this.now(), out));
      while (this.#flying.length > 0) {
        const flying = this.#flying;
        this.#flying = [];
        for (const { from, to, bytes } of flying)
          this.act(to, (link, out) => link.receive(this.now(), at(from), bytes, out));
      }
    }
  }
}

/** How many sealed datagrams open when these may be the private halves of ephemeral keys. */
function opened(world: World, pairs: readonly KeyPair[]): number {
  const fleet = new FleetKeys(FLEET).newest;
  const said = new Map<number, Map<string, Uint8Array>>([
    [1, new Map()],
    [2, new Map()],
  ]);
  for (const { from, bytes } of world.wire) {
    const greeting = bytes[0] === HELLO ? readHello(bytes) : bytes[0] === HELLO_ACK ? readAck(bytes) : undefined;
    if (greeting !== undefined)
      said.get(from)!.set(Buffer.from(greeting.ephemeral).toString("hex"), greeting.ephemeral);
  }
  let count = 0;
  const boot = (node: number) => new Uint8Array(8).fill(node);
  const all: Epochs[] = [];
  for (const own of said.get(1)!.values())
    for (const remote of said.get(2)!.values())
      for (const pair of pairs) {
        const epochs = new Epochs();
        epochs.add(
          0,
          { node: 1, bootId: boot(1), ephemeral: own, pair },
          { node: 2, bootId: boot(2), ephemeral: remote },
          fleet,
        );
        all.push(epochs);
      }
  for (const { from, bytes } of world.wire) {
    if (bytes[0] !== SEALED) continue;
    const nonce = new Uint8Array(12);
    nonce.set(bytes.subarray(HEADER_LEN + 2, HEADER_LEN + 8), 6);
    const opens = all.some(({ sealing: { sealKey, openKey } }) => {
      const key = from === 1 ? sealKey : openKey;
      return (
        openChaChaPoly(key, nonce, bytes.subarray(0, HEADER_LEN + 8), bytes.subarray(HEADER_LEN + 8)) !== undefined
      );
    });
    if (opens) count++;
  }
  return count;
}

describe.each([true, false])("recorded, then the fleet key and all signing keys stolen (roster: %s)", (signed) => {
  test("no datagram of the link opens, and all would with the ephemeral keys", () => {
    const world = new World(signed);
    world.run(50);
    for (let n = 0; n < 20; n++) expect(world.send(1, `secret of session ${n}`)).toBe(true);
    world.run(500);
    expect(world.got.length).toBe(20);
    const sealed = world.wire.filter(({ bytes }) => bytes[0] === SEALED).length;
    expect(opened(world, world.pairs)).toBe(sealed);
    // What the thief has: keys that sign, the fleet key, and pairs of his own.
    const thief = [systemEntropy.keyPair(), ...[FLEET, GROUP].map(() => systemEntropy.keyPair())];
    expect(opened(world, thief)).toBe(0);
  });
});

test("keys are renewed every hour, and nothing that is under way meanwhile is lost", () => {
  const world = new World(true);
  world.run(50);
  let sent = 0;
  const ids = new Set<number>();
  const say = () => {
    for (const node of [1, 2]) if (world.send(node, `${node} ${sent}`)) sent++;
  };
  // Big steps where nothing happens, small ones while keys change.
  for (let hour = 0; hour < 2; hour++) {
    while (world.ms % RENEW_MS < RENEW_MS - 2000) {
      say();
      world.run(900, 900);
    }
    for (let step = 0; step < 500; step++) {
      say();
      world.run(20, 10);
    }
  }
  const steps = sent / 2;
  // The key before is thrown away.
  world.run(20_000, 900);
  for (const { bytes } of world.wire)
    if (bytes[0] === SEALED) ids.add((bytes[HEADER_LEN] << 8) | bytes[HEADER_LEN + 1]);
  expect(world.got.length).toBe(sent);
  expect(steps).toBeGreaterThan(8000);
  expect(ids.size).toBeGreaterThanOrEqual(3);
  for (const link of world.links) expect(Object.fromEntries(link.refusals())).toEqual({});
  // Both ends have the same secret for what stands beside the link.
  expect(world.secrets[0]).toEqual(world.secrets[1]);
  expect(world.secrets[0]?.length).toBe(1);
});

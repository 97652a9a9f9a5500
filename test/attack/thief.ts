/**
 * Node 3 of three was stolen: who speaks as it, with the project's own link and envelope, on virtual time. What the group's
 * operator signs, and a world of three nodes that obey it.
 */
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import type { GroupConfig } from "../../src/cluster/group_types.ts";
import type { Heartbeat } from "../../src/cluster/heartbeat.ts";
import { Link, type LinkOutput } from "../../src/cluster/link.ts";
import { type LinkMessage, packMessages, unpackMessages } from "../../src/cluster/link_message.ts";
import { type RosterNode, readRoster, type SignedRoster, signRoster } from "../../src/cluster/roster.ts";
import { Signatures } from "../../src/cluster/signatures.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { endpoint, type Node, World } from "../cluster/world.ts";

export const FLEET = new Uint8Array(32).fill(9);
const GROUP = new Uint8Array(32).fill(3);
export const operator = signingKeyFrom(new Uint8Array(32).fill(1));
export const signing = (node: number) => signingKeyFrom(new Uint8Array(32).fill(10 + node));

export function rosterText(version: number, out: readonly number[] = [], signer = operator): string {
  const nodes = [1, 2, 3].map(
    (node): RosterNode => ({
      ...{ node, publicKey: signing(node).publicKey, name: `n${node}` },
      evictedIn: out.includes(node) ? version : undefined,
    }),
  );
  return signRoster({ group: "example", version, operator: operator.publicKey, nodes }, signer);
}
const read = (text: string) => readRoster(text, "example", operator.publicKey) as SignedRoster;

/** Those of a node that has this signing key. */
export function signaturesOf(node: number): Signatures {
  const roster = read(rosterText(1));
  return new Signatures(signing(node), () => roster);
}

/** `tellsOverLink` false: there is an engine. */
export const configOf = (node: number, roster: string | undefined, tellsOverLink = false): Partial<GroupConfig> => ({
  tellsOverLink,
  identity: { group: "example", operator: operator.publicKey, signing: signing(node), roster },
});

export const worldOf = (roster: string | undefined, tellsOverLink = false): World =>
  new World(1, [1, 2, 3], (node) => configOf(node, roster, tellsOverLink));

/** Who has node 3, or less of it. Takes its place on the link. */
export class Thief {
  readonly link: Link;
  readonly heard: LinkMessage[] = [];
  readonly said: LinkOutput[] = [];
  readonly world: World;
  /** What it says of itself. Undefined: nothing but that it lives. */
  beat: Heartbeat | undefined;
  readonly envelope: Envelope;
  /** Of the outputs of each node, how many it has looked through. */
  readonly #seen = new Map<Node, number>();

  constructor(world: World, node: number, seed: number, roster: string | undefined) {
    this.world = world;
    const fleetKeys = new FleetKeys(FLEET);
    const bootId = new Uint8Array(8).fill(77);
    this.envelope = new Envelope(fleetKeys, node, bootId);
    this.link = new Link(world.now(), {
      ...{ node, bootId, fleetKeys, groupPublicKey: GROUP, entropy: world.entropy },
      peers: [1, 2].filter((peer) => peer !== node).map((peer) => ({ node: peer, endpoint: endpoint(peer) })),
      identity: {
        signing: signingKeyFrom(new Uint8Array(32).fill(seed)),
        roster: roster === undefined ? undefined : read(roster),
      },
    });
    this.node = node;
    this.#hear([]);
  }
  readonly node: number;

  /** So long, in steps of 10 ms. */
  run(forMs: number): void {
    for (let ms = 0; ms < forMs; ms += 10) {
      const out: LinkOutput[] = [];
      this.link.tick(this.world.now(), out);
      this.#exchange(out);
      this.world.run(10);
      const late: LinkOutput[] = [];
      this.#hear(late);
      this.#exchange(late);
    }
  }

  say(to: number, ...messages: LinkMessage[]): boolean {
    return packMessages(messages).every((payload) => this.sayBytes(to, payload));
  }

  /** Whatever bytes these are, sealed as a message. False: its link takes that node for dead. */
  sayBytes(to: number, payload: Uint8Array): boolean {
    const out: LinkOutput[] = [];
    const sent = this.link.send(this.world.now(), to, payload, out);
    this.#exchange(out);
    return sent;
  }

  #exchange(first: LinkOutput[]): void {
    for (let more = first; more.length > 0; ) {
      const next: LinkOutput[] = [];
      for (const output of more) {
        if (output.kind === "beat")
          for (const payload of this.beat ? packMessages([this.beat]) : [new Uint8Array(0)])
            this.link.send(this.world.now(), output.node, payload, next);
        if (output.kind === "payload") this.heard.push(...(unpackMessages(output.payload) ?? []));
        if (output.kind !== "datagram") {
          this.said.push(output);
          continue;
        }
        const victim = this.world.node(output.to.w3 - endpoint(0).w3);
        victim.group.linkDatagram(this.world.now(), endpoint(this.node), output.bytes);
        victim.settle();
      }
      this.#hear(next);
      more = next;
    }
  }

  /** What the others have sent it since it last looked. */
  #hear(out: LinkOutput[]): void {
    const { world } = this;
    for (const victim of world.nodes.values()) {
      const from = this.#seen.get(victim) ?? victim.outputs.length;
      this.#seen.set(victim, victim.outputs.length);
      for (const answer of victim.outputs.slice(from))
        if (answer.kind === "link" && answer.to.w3 === endpoint(this.node).w3)
          this.link.receive(world.now(), endpoint(victim.id), answer.bytes, out);
    }
  }
}

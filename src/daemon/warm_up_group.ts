/**
 * Moves a session between two nodes that exist in memory only, again and again. Take-overs are rare, so V8 would run the
 * code of each one from its source: ten times as long as the network takes. Nothing of it is left but compiled code.
 */
import { PONG } from "../channel/kinds.ts";
import { encodeUnnumbered } from "../channel/unnumbered.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import { Group } from "../cluster/group.ts";
import type { GroupOutput } from "../cluster/group_types.ts";
import type { LiveRecord } from "../cluster/record.ts";
import { openHeld } from "../control/group/held_packet.ts";
import { sealAead } from "../crypto/aead.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { INDEX_KEY_LEN, IndexKeys } from "../crypto/session_index.ts";
import { ALG_AES_256_GCM } from "../dataplane/layout.ts";
import { AES_256_GCM, clientKey } from "../handshake/keys.ts";
import { TYPE_CONTROL, TYPE_IPV4 } from "../wire/satp.ts";

/** Enough for V8's optimising compiler, about a tenth of a second. */
const MOVES = 300;
/** In each so many packets are held. */
const PACKETS = 3;
/** Every so many moves the owner is silent. */
const SILENT = 3;
const FAST = 5000;
/** Nodes and sessions have settled by then. */
const SETTLED_MS = 12_000;
const STEP_MS = 100;
const MOVE_MS = 30;
/** A peer that is not alive is greeted every 200 ms. */
const GREETED_MS = 240;
const WINDOW_WORDS = 64;
const NODES = [1, 2] as const;

const linkOf = (node: number): Endpoint => ({ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: node, port: node });

export function warmUpGroup(entropy: Entropy): void {
  new Rehearsal(entropy).run();
}

class Rehearsal {
  readonly #entropy: Entropy;
  readonly #groups: readonly Group[];
  readonly #record: LiveRecord;
  readonly #bootIds: readonly Uint8Array[];
  #ms = 0;
  #seq = 0;
  #silent = 0;
  /** What the client was asked for. */
  #token: Uint8Array | undefined;

  constructor(entropy: Entropy) {
    this.#entropy = entropy;
    const [fleetKey, groupPublicKey] = [entropy.bytes(32), entropy.bytes(32)];
    this.#record = {
      ...{
        index: new IndexKeys([entropy.bytes(INDEX_KEY_LEN)]).make(NODES[0], 0),
        created: 1,
        phase: "pending",
        creator: NODES[0],
        receiver: 1,
      },
      ...{ aead: AES_256_GCM, modes: 1, secret: entropy.bytes(32), clientKey: entropy.bytes(32) },
      ...{ instance: entropy.bytes(8), expiryMs: 900_000, addresses: [], endpoint: linkOf(9) },
    };
    this.#bootIds = NODES.map(() => entropy.bytes(8));
    this.#groups = NODES.map(
      (node, k) =>
        new Group(
          this.#now(),
          {
            ...{ node, bootId: this.#bootIds[k], fleetKey, groupPublicKey, holdMs: 10, sessionLifeMs: 900_000 },
            peers: NODES.filter((other) => other !== node).map((other) => ({ node: other, endpoint: linkOf(other) })),
            ...{ sessionsMax: 16, tellsOverLink: false },
          },
          { entropy, open: openHeld, superseded: () => false, claimsOf: () => [], fenced: () => false },
        ),
    );
  }

  run(): void {
    for (const group of this.#groups) group.busState(this.#now(), true);
    while (this.#ms < SETTLED_MS) this.#pass(STEP_MS);
    this.#groups[0].answered(this.#now(), this.#record);
    this.#groups[0].confirmed(this.#now(), this.#record.index);
    this.#pass(1);
    for (let move = 0; move < MOVES; move++) {
      const [to, from] = move % 2 === 0 ? [this.#groups[1], this.#groups[0]] : [this.#groups[0], this.#groups[1]];
      // A client that fast may be further than what is held: then it is asked, and not forecast.
      if (move % (2 * SILENT) === 0) this.#seq += FAST;
      from.progress(this.#now(), [{ index: this.#record.index, seqHigh: this.#seq }]);
      this.#pass(1);
      this.#pass(1);
      const owner = NODES[from === this.#groups[0] ? 0 : 1];
      this.#silent = move % SILENT === 0 ? owner : 0;
      if (this.#silent !== 0) to.lifeline(this.#now(), { ...this.#startOf(owner), kind: "dead", cause: "silent" });
      for (let packet = 0; packet < PACKETS; packet++) this.#send(to, undefined);
      for (let ms = 0; ms < MOVE_MS; ms++) {
        this.#pass(1);
        if (this.#token === undefined) continue;
        const token = this.#token;
        this.#token = undefined;
        this.#send(to, token);
      }
      this.#pass(MOVE_MS);
      if (this.#silent === 0) continue;
      this.#silent = 0;
      to.lifeline(this.#now(), { ...this.#startOf(owner), kind: "alive" });
      // Greetings go on until they are answered.
      for (let ms = 0; ms < GREETED_MS; ms += MOVE_MS) this.#pass(MOVE_MS);
    }
  }

  #startOf(node: number): { readonly node: number; readonly bootId: Uint8Array } {
    return { node, bootId: this.#bootIds[node - 1] };
  }

  #now() {
    return { ms: this.#ms, wallMs: this.#ms };
  }

  /** A packet of the client, with PONG in it or without. */
  #send(to: Group, token: Uint8Array | undefined): void {
    const { index, secret, endpoint } = this.#record;
    const key = clientKey(secret, AES_256_GCM);
    const seq = ++this.#seq;
    const header = { seq, senderId: index >>> 15, mux: 0x8000 | (index & 0x7fff) };
    const control = token && encodeUnnumbered({ kind: PONG, token });
    const context = { algorithm: ALG_AES_256_GCM, sealKey: key, openKey: key };
    const inner = control ?? this.#entropy.bytes(64);
    const datagram = sealAead(context, header, token === undefined ? TYPE_IPV4 : TYPE_CONTROL, inner);
    to.held(this.#now(), { index, seq, datagram, from: endpoint, tos: 0 });
  }

  #pass(ms: number): void {
    this.#ms += ms;
    for (const group of this.#groups) group.tick(this.#now());
    for (let quiet = false; !quiet; ) {
      quiet = true;
      this.#groups.forEach((group, k) => {
        const outputs: GroupOutput[] = [];
        group.flush(this.#now(), outputs);
        for (const output of outputs) this.#carryOut(NODES[k], group, output);
        quiet &&= outputs.length === 0;
      });
    }
  }

  #carryOut(node: number, group: Group, output: GroupOutput): void {
    const other = this.#groups[2 - node];
    const reached = this.#silent === 0;
    if (output.kind === "link" && reached) other.linkDatagram(this.#now(), linkOf(node), output.bytes);
    else if (output.kind === "shout" && reached) other.busShout(this.#now(), node, output.message);
    else if (output.kind === "put")
      for (const { key, value } of output.entries) other.busRecord(this.#now(), node, key, value);
    else if (output.kind === "challenge") this.#token = output.token;
    else if (output.kind === "yield") {
      const window = { highest: this.#seq - PACKETS, words: new Int32Array(WINDOW_WORDS).fill(-1) };
      group.yielded(this.#now(), { token: output.token, result: "given", window });
    }
  }
}

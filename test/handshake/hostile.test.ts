/**
 * What strangers and the network can do to every message: cut it at every byte, flip every bit, send it again, back, or
 * to the wrong party. None of it may change anything but a counter.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ClientOutput } from "../../src/handshake/client_session.ts";
import * as control from "../../src/handshake/control.ts";
import type { Initiator } from "../../src/handshake/initiator.ts";
import type { NodeOutput } from "../../src/handshake/node_sessions.ts";
import type { Responder } from "../../src/handshake/responder.ts";
import { at, endpoint, Group } from "./party.ts";

const FROM = endpoint(9);
const sentBy = (out: readonly (ClientOutput | NodeOutput)[]) =>
  out.flatMap((o) => (o.kind === "send" ? [o.datagram] : []));

/** Every datagram cut short, one byte longer, and with each bit flipped. */
function* damaged(datagram: Uint8Array): Generator<[string, Uint8Array]> {
  for (let n = 0; n < datagram.length; n++) yield [`${n} bytes`, datagram.slice(0, n)];
  yield ["one byte more", Uint8Array.from([...datagram, 0])];
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    const changed = datagram.slice();
    changed[bit >> 3] ^= 1 << (bit & 7);
    yield [`bit ${bit}`, changed];
  }
}

const unlimited = {
  requestsPerClient: { perSecond: 1e9, burst: 1e9 },
  load: { enterPerSecond: 1e9, leavePerSecond: 1e9, calmMs: 1 },
};

/** One message of each type, with the party that it is for, before that party has seen it. */
function scene(type: "INIT" | "RESPONSE" | "RESUME" | "RESUMED" | "SENDER" | "UNKNOWN_SESSION") {
  const group = new Group(41, unlimited);
  let node = group.node();
  const client = group.client("a");
  const out: ClientOutput[] = [];
  const answers: NodeOutput[] = [];
  client.start(at(0), out);
  const scene = (datagram: Uint8Array) => ({ group, node, client, datagram });
  if (type === "INIT") return scene(sentBy(out)[0]);
  node.receive(at(0), sentBy(out)[0], FROM, answers);
  if (type === "RESPONSE") return scene(sentBy(answers)[0]);
  client.receive(at(0), sentBy(answers)[0], out);
  const { index, receiver } = client.current!;
  node.authentic(at(0), index, answers);
  client.heard(at(0), receiver, 0);
  if (type === "SENDER") {
    node.announce(at(0), index, { senderId: 9, bootId: new Uint8Array(8).fill(5) }, FROM, false, answers);
    return scene(sentBy(answers)[1]);
  }
  node = group.node();
  if (type === "UNKNOWN_SESSION") {
    const packet = new Uint8Array(24);
    const view = control.viewOf(packet);
    view.setUint16(4, Math.floor(index / 2 ** 15));
    view.setUint16(6, 0x8000 | (index & 0x7fff));
    client.sent.note(0, 0, 0);
    node.unknownSession(at(0), packet, FROM, answers);
    return scene(sentBy(answers).at(-1)!);
  }
  client.sealed(at(1), 1);
  const resume: ClientOutput[] = [];
  client.tick(at(20_000), resume);
  if (type === "RESUME") return scene(sentBy(resume)[0]);
  node.receive(at(20_000), sentBy(resume)[0], FROM, answers);
  return scene(sentBy(answers).at(-1)!);
}

const clientState = (client: Initiator) => [client.current, client.asking, client.nextTimeout()];
const nodeState = (node: Responder, group: Group) => [node.sessions.size, node.nextTimeout(), [...group.seen]];
const total = (counters: ReadonlyMap<string, number>) => [...counters.values()].reduce((a, b) => a + b, 0);

describe.each(["INIT", "RESUME"] as const)("%s damaged", (type) => {
  test("changes nothing at a node, each time with a counted reason; the genuine one works afterwards", () => {
    const { group, node, datagram } = scene(type);
    const before = nodeState(node, group);
    const counted = total(node.counters);
    let n = 0;
    for (const [what, changed] of damaged(datagram)) {
      const out: NodeOutput[] = [];
      const outcome = node.receive(at(20_000), changed, FROM, out);
      expect(["malformed", "unexpected", "mac1_wrong", "forged", "ticket_unknown", "cookie_sent"], what).toContain(
        outcome,
      );
      expect(
        out.every((o) => o.kind === "send" && o.datagram.length < changed.length),
        what,
      ).toBe(true);
      n++;
    }
    expect(nodeState(node, group)).toEqual(before);
    expect(total(node.counters)).toBe(counted + n);
    expect(node.receive(at(20_000), datagram, FROM, [])).toBe(type === "INIT" ? "answered" : "resumed");
  });
});

describe.each(["RESPONSE", "RESUMED", "SENDER", "UNKNOWN_SESSION"] as const)("%s damaged", (type) => {
  test("changes nothing at a client, each time with a counted reason", () => {
    let { client, datagram } = scene(type);
    const before = clientState(client);
    let counted = total(client.counters);
    for (const [what, changed] of damaged(datagram)) {
      const out: ClientOutput[] = [];
      const outcome = client.receive(at(20_000), changed, out);
      // Another transaction, type or session is a stranger's; everything else must have been looked into and found wrong.
      const strange = [0, 1, 2, 3, 8, ...(type === "SENDER" ? [12, 13, 14, 15] : [])];
      const elsewhere = outcome === "unexpected" && strange.some((i) => changed[i] !== datagram[i]);
      expect(
        ["malformed", "forged", "unknown_session_unproven"].includes(outcome) || elsewhere,
        `${what}: ${outcome}`,
      ).toBe(true);
      expect(out, what).toEqual([]);
      expect(clientState(client), what).toEqual(before);
      expect(total(client.counters)).toBe(++counted);
      if ((client.counters.get("forged") ?? 0) < 16) continue;
      // So many forged answers to one request are enough for a client: go on with another in the same state.
      client = scene(type).client;
      counted = total(client.counters);
    }
  });
});

test.each(["RESPONSE", "RESUMED"] as const)("after a few damaged copies of %s the genuine one is accepted", (type) => {
  const { client, datagram } = scene(type);
  for (let bit = 200; bit < 210; bit++) {
    const changed = datagram.slice();
    changed[bit] ^= 1;
    expect(client.receive(at(20_000), changed, [])).toBe("forged");
  }
  expect(client.receive(at(20_000), datagram, [])).toBe("accepted");
});

test("forgers of answers to one request are tried 16 times, not for ever", () => {
  const { client, datagram } = scene("RESPONSE");
  const changed = datagram.slice();
  changed[100] ^= 1;
  const outcomes = Array.from({ length: 40 }, () => client.receive(at(1), changed, []));
  expect(outcomes.filter((outcome) => outcome === "forged").length).toBe(16);
});

test.each(["INIT", "RESUME"] as const)(
  "%s again, at once or later, at this node or another: never a session",
  (type) => {
    const { group, node, datagram } = scene(type);
    node.receive(at(20_000), datagram, FROM, []);
    const size = node.sessions.size;
    for (const other of [node, group.node()]) {
      for (const ms of [20_000, 50_000]) {
        const out: NodeOutput[] = [];
        expect(other.receive(at(ms), datagram, endpoint(66), out)).toBe("stale");
        expect(out.map((o) => o.kind)).toEqual(["send"]);
        expect(sentBy(out)[0].length).toBeLessThan(100);
      }
    }
    expect(node.sessions.size).toBe(size);
  },
);

test.each(["RESPONSE", "RESUMED", "UNKNOWN_SESSION"] as const)("%s again: nothing", (type) => {
  const { client, datagram } = scene(type);
  expect(["accepted", "resuming"]).toContain(client.receive(at(20_000), datagram, []));
  const before = clientState(client);
  const out: ClientOutput[] = [];
  expect(["unexpected", "unknown_session_unproven"]).toContain(client.receive(at(20_001), datagram, out));
  expect(out).toEqual([]);
  expect(clientState(client)).toEqual(before);
});

test("messages reflected to who made them, or sent to the other kind of party", () => {
  for (const type of ["INIT", "RESUME"] as const) {
    const { client, datagram } = scene(type);
    expect(client.receive(at(0), datagram, []), type).toBe("unexpected");
  }
  for (const type of ["RESPONSE", "RESUMED", "SENDER", "UNKNOWN_SESSION"] as const) {
    const { node, datagram } = scene(type);
    const out: NodeOutput[] = [];
    expect(node.receive(at(0), datagram, FROM, out), type).toBe("unexpected");
    expect(out).toEqual([]);
  }
});

test("a captured INIT that never arrived makes at most an unconfirmed session, and disturbs no other", () => {
  const group = new Group(42);
  const node = group.node();
  const client = group.client("a");
  const held: ClientOutput[] = [];
  client.start(at(0), held);
  const next: ClientOutput[] = [];
  client.tick(at(700), next);
  // The attacker plays the first one after the second was answered: too late. Before it: it vanishes with the confirm.
  const out: NodeOutput[] = [];
  node.receive(at(701), sentBy(held)[0], endpoint(66), out);
  node.receive(at(702), sentBy(next)[0], FROM, out);
  client.receive(at(703), sentBy(out)[1], next);
  const ups: NodeOutput[] = [];
  node.authentic(at(704), client.current!.index, ups);
  expect(ups.map((o) => o.kind)).toEqual(["retire", "up"]);
  expect(node.sessions.size).toBe(1);
});

test("no bytes of any kind make either party throw, or answer with more than it got", () => {
  const { node, client } = scene("INIT");
  const random = fc.uint8Array({ maxLength: 1300 });
  const typed = fc
    .tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom(24, 28, 44, 64, 100, 1200), fc.uint8Array({ maxLength: 80 }))
    .map(([type, length, noise]) => {
      const datagram = control.begin(type, length, 0x01020304);
      datagram.set(noise.subarray(0, length - control.BODY), control.BODY);
      return datagram;
    });
  fc.assert(
    fc.property(fc.oneof(random, typed), (datagram) => {
      const out: (NodeOutput | ClientOutput)[] = [];
      node.receive(at(0), datagram, FROM, out as NodeOutput[]);
      node.unknownSession(at(0), datagram, FROM, out as NodeOutput[]);
      client.receive(at(0), datagram, out as ClientOutput[]);
      for (const answer of sentBy(out)) expect(answer.length).toBeLessThanOrEqual(datagram.length);
      expect(out.every((o) => o.kind === "send")).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

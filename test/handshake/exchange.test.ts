/** Handshakes between a real client and a real node, message by message, on virtual time. */
import { describe, expect, test } from "vitest";
import type { ClientOutput, ClientSession } from "../../src/handshake/client_session.ts";
import * as control from "../../src/handshake/control.ts";
import { type Initiator, OVERLAP_MS, SILENCE_MS } from "../../src/handshake/initiator.ts";
import { AES_128_GCM, CHACHA20_POLY1305, clientKey, groupKey } from "../../src/handshake/keys.ts";
import { mac1Key, writeMac1 } from "../../src/handshake/macs.ts";
import type { NodeOutput, NodeSession } from "../../src/handshake/node_sessions.ts";
import { MODE_RELAY } from "../../src/handshake/offer.ts";
import type { Responder } from "../../src/handshake/responder.ts";
import { senderDatagram } from "../../src/handshake/senders.ts";
import { identityOf } from "../../src/handshake/session_rows.ts";
import { at, endpoint, Group, hex, SETTINGS, ticketKey } from "./party.ts";

const sentBy = (out: readonly (ClientOutput | NodeOutput)[]) =>
  out.flatMap((o) => (o.kind === "send" ? [o.datagram] : []));
const problems = (out: readonly ClientOutput[]) => out.flatMap((o) => (o.kind === "problem" ? [o.problem] : []));
const upAt = (out: readonly ClientOutput[]) => out.flatMap((o) => (o.kind === "up" ? [o.session] : []))[0];
const FROM = endpoint(9);

/** Carries datagrams both ways until both are silent; returns all that both said. */
function talk(client: Initiator, node: Responder, ms: number, out: ClientOutput[], wallMs?: number) {
  const said: ClientOutput[] = [...out];
  const done: NodeOutput[] = [];
  let waiting = sentBy(out);
  while (waiting.length > 0) {
    const answers: NodeOutput[] = [];
    for (const datagram of waiting) node.receive(at(ms), datagram, FROM, answers);
    done.push(...answers);
    const more: ClientOutput[] = [];
    for (const datagram of sentBy(answers)) client.receive(at(ms, wallMs), datagram, more);
    said.push(...more);
    waiting = sentBy(more);
  }
  return { said, done };
}

/** A session up at both ends. */
function connect(client: Initiator, node: Responder, ms = 0): { client: ClientSession; node: NodeSession } {
  const out: ClientOutput[] = [];
  client.start(at(ms), out);
  return confirm(client, node, ms, out);
}

function confirm(client: Initiator, node: Responder, ms: number, out: ClientOutput[]) {
  const { said, done } = talk(client, node, ms, out);
  const session = upAt(said);
  expect(said).toContainEqual({ kind: "confirm", session });
  const pending = done.flatMap((o) => (o.kind === "pending" ? [o.session] : []))[0];
  const ups: NodeOutput[] = [];
  node.authentic(at(ms), session.index, ups);
  expect(ups.some((o) => o.kind === "up" && o.session.index === pending.index)).toBe(true);
  client.heard(at(ms), session.receiver, 0);
  return { client: session, node: pending };
}

test("one round trip: both ends have the same keys, the client has its settings", () => {
  const group = new Group(1);
  const node = group.node();
  const session = connect(group.client("laptop"), node);
  expect(session.client).toMatchObject({ aead: 1, modes: 1, keepaliveMs: 25_000, settings: SETTINGS, resumed: false });
  expect(session.node).toMatchObject({ index: session.client.index, receiver: session.client.receiver });
  expect(session.node).toMatchObject({ clientName: "laptop", from: FROM, settings: SETTINGS });
  expect(hex(session.client.secret)).toBe(hex(session.node.secret));
  expect(hex(session.client.sealKey)).toBe(hex(clientKey(session.node.secret, session.node.aead)));
  const [sender] = session.client.senders;
  expect(hex(sender.openKey)).toBe(
    hex(groupKey(session.node.secret, session.node.aead, identityOf(session.node), sender)),
  );
  expect(hex(sender.openKey)).not.toBe(hex(session.client.sealKey));
});

test("no answer is larger than its request", () => {
  const group = new Group(2);
  const out: ClientOutput[] = [];
  const client = group.client("a");
  client.start(at(0), out);
  const { said, done } = talk(client, group.node(), 0, out);
  expect(sentBy(said)[0].length).toBe(control.REQUEST_LEN);
  expect(sentBy(done)[0].length).toBeLessThanOrEqual(control.REQUEST_LEN);
});

test("the AEAD is the node's first that the client can do; an AES-128 key has 16 bytes", () => {
  const group = new Group(3, { aeads: [CHACHA20_POLY1305, AES_128_GCM] });
  const node = group.node();
  expect(connect(group.client("a"), node).client.aead).toBe(CHACHA20_POLY1305);
  const small = connect(group.client("b", { aeads: 1 << AES_128_GCM }), node).client;
  expect(small.aead).toBe(AES_128_GCM);
  expect([small.sealKey.length, small.senders[0].openKey.length]).toEqual([16, 16]);
});

describe("refusals", () => {
  test.each([
    ["no_common_aead", { aeads: 1 << 7 }, {}],
    ["mode_not_allowed", { modes: MODE_RELAY }, {}],
    ["node_full", {}, { sessions: { sessionsMax: 0, pendingMs: 1, overlapMs: 1, expireAfterMs: 1 } }],
  ] as const)("%s is said to the client, which asks again later", (why, clientChanges, groupChanges) => {
    const group = new Group(4, groupChanges);
    const client = group.client("a", clientChanges);
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const { said } = talk(client, group.node(), 0, out);
    expect(problems(said)).toEqual([{ reason: "refused", why }]);
    expect(client.nextTimeout()).toBeGreaterThan(10_000);
    expect(group.seen.size).toBe(0);
  });

  test("no address", () => {
    const group = new Group(5);
    const node = group.node();
    const ask = (name: string) => {
      const client = group.client(name);
      const out: ClientOutput[] = [];
      client.start(at(0), out);
      return problems(talk(client, node, 0, out).said);
    };
    group.given = undefined;
    expect(ask("a")).toEqual([{ reason: "refused", why: "no_address" }]);
  });

  test("settings that have no room: the session is granted, and says that more follows", () => {
    const route = SETTINGS.routes[0];
    for (const many of [
      { ...SETTINGS, version: 7, searchDomains: Array.from({ length: 8 }, () => "x".repeat(200)) },
      { ...SETTINGS, version: 7, routes: Array.from({ length: 70 }, () => route) },
      { ...SETTINGS, version: 7, routes: Array.from({ length: 13_000 }, () => route) },
      { ...SETTINGS, version: 7, addresses: Array.from({ length: 60 }, () => ({ ...route, length: 128 })) },
    ]) {
      const group = new Group(5);
      group.given = many;
      const client = group.client("a");
      const out: ClientOutput[] = [];
      client.start(at(0), out);
      expect(problems(talk(client, group.node(), 0, out).said)).toEqual([]);
      const { settings } = client.current!;
      expect(settings).toMatchObject({ version: 7, more: true, routes: [], searchDomains: [] });
      expect(settings.addresses).toEqual(many.addresses.length > 1 ? [] : many.addresses);
    }
  });

  test.each([
    ["another psk", { psk: new Uint8Array(32) }, "answered"],
    ["another group name", { groupName: "other" }, "forged"],
    ["another group key", { groupKey: new Uint8Array(32).fill(9) }, "mac1_wrong"],
  ])("%s: no session, and after four tries the client says so", (_, changes, outcome) => {
    const group = new Group(7);
    const node = group.node();
    const client = group.client("a", changes as never);
    const said: ClientOutput[] = [];
    client.start(at(0), said);
    for (let i = 0; i < 5; i++) {
      const ms = client.nextTimeout();
      const out: ClientOutput[] = [];
      client.tick(at(ms), out);
      said.push(...talk(client, node, ms, out).said);
    }
    expect(upAt(said)).toBeUndefined();
    expect(problems(said)).toEqual([{ reason: "no_answer" }]);
    expect(node.counters.get(outcome as never)).toBeGreaterThan(3);
    const ups: NodeOutput[] = [];
    node.tick(at(1e6), ups);
    expect(node.sessions.size).toBe(0);
  });

  test("a client that is not known gets no answer, whatever its key", () => {
    const group = new Group(8);
    const node = group.node();
    const client = group.client("a");
    group.known.clear();
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    expect(sentBy(talk(client, node, 0, out).done)).toEqual([]);
    expect([...node.counters]).toEqual([["client_unknown", 1]]);
  });
});

test("retries back off from half a second to 8 seconds, with jitter, and never end", () => {
  const client = new Group(9).client("a");
  client.start(at(0), []);
  let last = 0;
  const gaps: number[] = [];
  for (let i = 0; i < 12; i++) {
    const ms = client.nextTimeout();
    gaps.push(ms - last);
    last = ms;
    const out: ClientOutput[] = [];
    client.tick(at(ms), out);
    expect(sentBy(out).length).toBe(1);
  }
  gaps.forEach((gap, i) => {
    const nominal = Math.min(8000, 500 * 2 ** i);
    expect(gap).toBeGreaterThanOrEqual(nominal * 0.75);
    expect(gap).toBeLessThanOrEqual(nominal * 1.25);
  });
  expect(new Set(gaps).size).toBe(12);
});

test("an answer may come after the next request", () => {
  const group = new Group(10);
  const node = group.node();
  const client = group.client("a");
  const first: ClientOutput[] = [];
  client.start(at(0), first);
  client.tick(at(client.nextTimeout()), []);
  const late: NodeOutput[] = [];
  node.receive(at(900), sentBy(first)[0], FROM, late);
  expect(client.receive(at(901), sentBy(late)[0], [])).toBe("accepted");
});

describe("clocks", () => {
  test.each([-365, 365])("a clock wrong by %i days at first: the session comes up, later too", (days) => {
    const group = new Group(11);
    const node = group.node();
    const own = group.entropy.keyPair();
    const wrong = at(0).wallMs + days * 86_400_000;
    for (const wallMs of [at(0).wallMs, wrong, at(0).wallMs, wrong - 1000]) {
      const client = group.client("a", {}, own);
      const out: ClientOutput[] = [];
      client.start(at(0, wallMs), out);
      const { said } = talk(client, node, 0, out, wallMs);
      expect(upAt(said)).toBeDefined();
      const behind = problems(said);
      expect(behind.every((problem) => problem.reason === "clock" && problem.ownMs === wallMs)).toBe(true);
    }
  });

  test("a client behind what the group has seen is told, and needs one more round trip", () => {
    const group = new Group(12);
    const node = group.node();
    const client = group.client("a");
    const key = [...group.known.keys()][0];
    const seenMs = at(0).wallMs + 1e10;
    group.seen.set(key, seenMs);
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const { said } = talk(client, node, 0, out);
    expect(problems(said)).toEqual([{ reason: "clock", seenMs, ownMs: at(0).wallMs }]);
    expect(upAt(said)).toBeDefined();
    expect(group.seen.get(key)).toBe(seenMs + 1);
  });

  test("a clock far ahead costs one round trip and leaves nothing behind that would shut the client out", () => {
    const group = new Group(14);
    const node = group.node();
    const client = group.client("a");
    const key = [...group.known.keys()][0];
    const ahead = at(0).wallMs + 3e12;
    const out: ClientOutput[] = [];
    client.start(at(0, ahead), out);
    expect(upAt(talk(client, node, 0, out, ahead).said)).toBeDefined();
    expect(group.seen.get(key)).toBeLessThanOrEqual(at(0).wallMs + 1);
    expect([node.counters.get("stale"), node.counters.get("answered")]).toEqual([1, 1]);
    // From then on it counts from what it was told: no further round trip at a rekey.
    const rekey: ClientOutput[] = [];
    client.tick(at(130_000, ahead + 130_000), rekey);
    expect(upAt(talk(client, node, 130_000, rekey, ahead + 130_000).said)).toBeDefined();
    expect([node.counters.get("stale"), node.counters.get("answered")]).toEqual([1, 2]);
  });

  test("the greatest timestamp of all does not lock out for longer than it stands, nor loop", () => {
    const group = new Group(13);
    const client = group.client("a");
    group.seen.set([...group.known.keys()][0], control.TIMESTAMP_MAX);
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const { said } = talk(client, group.node(), 0, out);
    expect(upAt(said)).toBeUndefined();
    expect(sentBy(said).length).toBe(2);
  });
});

describe("cookies", () => {
  const loaded = { load: { enterPerSecond: 0, leavePerSecond: 0, calmMs: 5000 } };

  test("under load a request without a cookie costs no DH, gets a small answer, and is repeated with it", () => {
    const group = new Group(14, loaded);
    const node = group.node();
    const client = group.client("a");
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const answers: NodeOutput[] = [];
    expect(node.receive(at(0), sentBy(out)[0], FROM, answers)).toBe("cookie_sent");
    expect(sentBy(answers)[0].length).toBe(44);
    const again: ClientOutput[] = [];
    expect(client.receive(at(1), sentBy(answers)[0], again)).toBe("cookie");
    const done: NodeOutput[] = [];
    // Another node of the group, with nothing but the secret: the cookie is good there too.
    expect(group.node().receive(at(2), sentBy(again)[0], FROM, done)).toBe("answered");
    expect(client.receive(at(3), sentBy(done)[0], [])).toBe("accepted");
  });

  test("a cookie is good for its address and port, and for one to three minutes", () => {
    const group = new Group(15, { ...loaded, load: { ...loaded.load } });
    const node = group.node();
    const client = group.client("a");
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    talk(client, node, 0, out);
    client.start(at(1000), out);
    const init = sentBy(out).at(-1)!;
    expect(node.receive(at(1000), init, endpoint(10), [])).toBe("cookie_sent");
    expect(node.receive(at(1000), init, endpoint(9, 4445), [])).toBe("cookie_sent");
    expect(node.receive(at(181_000), init, FROM, [])).toBe("cookie_sent");
    expect(node.receive(at(59_000), init, FROM, [])).toBe("answered");
  });

  test("a wrong cookie heals at the next request, also without load", () => {
    const group = new Group(16, loaded);
    const node = group.node();
    const client = group.client("a");
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const answers: NodeOutput[] = [];
    node.receive(at(0), sentBy(out)[0], FROM, answers);
    const cookie = sentBy(answers)[0].slice();
    cookie[control.COOKIE_VALUE + 3] ^= 1;
    client.receive(at(1), cookie, out);
    expect(upAt(talk(client, node, 2, out.slice(1)).said)).toBeUndefined();
    const retry: ClientOutput[] = [];
    client.tick(at(client.nextTimeout()), retry);
    const calm = group.node({ load: new Group(16).config.load });
    expect(upAt(talk(client, calm, 1000, retry).said)).toBeDefined();
    expect(calm.counters.get("cookie_sent")).toBe(1);
  });

  test("RESUME needs one under load as well, and is repeated with it: once", () => {
    const group = new Group(17);
    const client = group.client("a");
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    expect(upAt(talk(client, group.node(), 0, out).said)).toBeDefined();
    // A node that has lost its memory, under load.
    const node = group.node(loaded);
    const asked: ClientOutput[] = [];
    client.sealed(at(1000), 1);
    client.tick(at(17_000), asked);
    const answers: NodeOutput[] = [];
    const [resume] = sentBy(asked);
    expect(resume[control.TYPE]).toBe(control.RESUME);
    expect(node.receive(at(17_000), resume, FROM, answers)).toBe("cookie_sent");
    expect(sentBy(answers)[0].length).toBe(44);
    const again: ClientOutput[] = [];
    expect(client.receive(at(17_001), sentBy(answers)[0], again)).toBe("cookie");
    expect(client.receive(at(17_002), sentBy(answers)[0], [])).toBe("unexpected");
    const [proven] = sentBy(again);
    expect(node.receive(at(17_003), proven, endpoint(10), [])).toBe("cookie_sent");
    expect(node.receive(at(17_003), proven, FROM, [])).toBe("resumed");
  });

  test("calm returns when requests are few again", () => {
    const group = new Group(17, { load: { enterPerSecond: 100, leavePerSecond: 50, calmMs: 1000 } });
    const node = group.node();
    const junk = control.begin(control.INIT, control.REQUEST_LEN, 1);
    for (let i = 0; i < 100; i++) node.receive(at(0), junk, endpoint(i), []);
    expect(node.loaded).toBe(true);
    node.receive(at(900), junk, FROM, []);
    expect(node.loaded).toBe(true);
    node.receive(at(1000), junk, FROM, []);
    expect(node.loaded).toBe(false);
  });
});

test("a client has a share of requests, wherever they come from; others lose nothing by it", () => {
  const group = new Group(18, { requestsPerClient: { perSecond: 1, burst: 2 } });
  const node = group.node();
  const client = group.client("a", {}, group.entropy.keyPair());
  const ask = (ms: number, who = client, from = FROM) => {
    const out: ClientOutput[] = [];
    who.start(at(ms), out);
    return node.receive(at(ms), sentBy(out)[0], from, []);
  };
  expect([ask(0), ask(1), ask(2)]).toEqual(["answered", "answered", "rate_limited"]);
  expect(ask(3, client, endpoint(200))).toBe("rate_limited");
  expect(ask(3, group.client("b"))).toBe("answered");
  expect(ask(1500)).toBe("answered");
});

describe("a stranger who forges the address of a client", () => {
  const LOAD = { load: { enterPerSecond: 500, leavePerSecond: 250, calmMs: 5000 } };
  /** He knows the group's public key, and what a RESUME looks like. */
  const garbage = (type: number, n: number) => {
    const request = control.begin(type, control.REQUEST_LEN, n);
    for (let i = control.NOISE; i < control.MAC1; i++) request[i] = (i * 31 + n) & 0xff;
    const view = control.viewOf(request);
    if (type === control.INIT) writeMac1(mac1Key(new Group(0).key.publicKey), request);
    else {
      control.writeTime(view, control.RESUME_TIMESTAMP, at(0).wallMs);
      view.setUint16(control.RESUME_TICKET_LEN, 200);
    }
    return request;
  };

  for (const [name, type] of [
    ["INIT", control.INIT],
    ["RESUME", control.RESUME],
  ] as const)
    for (const [how, mac2] of [
      ["without a cookie", 0],
      ["with a false cookie", 0x5a],
    ] as const)
      test(`by ${name}s ${how} takes nothing from it: session, rekey, resumption`, () => {
        const group = new Group(19, LOAD);
        let node = group.node();
        const client = group.client("a");
        let n = 0;
        const during = (ms: number, out: ClientOutput[]) => {
          for (let k = 0; k < 200; k++) node.receive(at(ms), garbage(type, n++).fill(mac2, control.MAC2), FROM, []);
          expect(node.loaded).toBe(true);
          expect(upAt(talk(client, node, ms, out).said)).toBeDefined();
        };
        const first: ClientOutput[] = [];
        client.start(at(0), first);
        during(0, first);
        const rekey: ClientOutput[] = [];
        client.tick(at(130_000), rekey);
        during(130_000, rekey);
        node = group.node();
        client.sealed(at(140_000), 5);
        const resume: ClientOutput[] = [];
        client.tick(at(156_000), resume);
        expect(sentBy(resume)[0][control.TYPE]).toBe(control.RESUME);
        during(156_000, resume);
        expect(node.counters.get("resumed")).toBe(1);
      });

  test("and plays old requests of it: only answers to old requests run out", () => {
    const group = new Group(20);
    const node = group.node();
    const client = group.client("a");
    const out: ClientOutput[] = [];
    client.start(at(0), out);
    const [recorded] = sentBy(out);
    talk(client, node, 0, out);
    const outcomes = new Set(Array.from({ length: 50 }, () => node.receive(at(10), recorded, FROM, [])));
    expect(outcomes).toEqual(new Set(["stale", "rate_limited"]));
    const rekey: ClientOutput[] = [];
    client.tick(at(130_000), rekey);
    for (let k = 0; k < 50; k++) node.receive(at(130_000), recorded, FROM, []);
    expect(node.receive(at(130_000), sentBy(rekey)[0], FROM, [])).toBe("answered");
  });

  test("by datagrams of other sessions takes none of the answers that its own session gets", () => {
    const node = new Group(21).node();
    const datagram = (index: number) => {
      const bytes = new Uint8Array(26);
      control.viewOf(bytes).setUint32(4, index);
      return bytes;
    };
    for (let k = 0; k < 1000; k++) node.unknownSession(at(0), datagram(0x1_8000 + k), FROM, []);
    expect(node.unknownSession(at(0), datagram(0x9_8000), FROM, [])).toBe("unknown_sent");
    for (let k = 0; k < 1000; k++) node.unknownSession(at(0), datagram(0x9_8000), endpoint(77), []);
    expect(node.unknownSession(at(0), datagram(0x9_8000), FROM, [])).toBe("unknown_sent");
    expect(node.counters.get("unknown_limited")).toBeGreaterThan(0);
  });
});

describe("rekey", () => {
  test("a new session before the old one ages, both open for 30 seconds, the node seals with the new one when confirmed", () => {
    const group = new Group(19);
    const node = group.node();
    const client = group.client("a");
    const old = connect(client, node);
    const due = client.nextTimeout();
    expect(due).toBeGreaterThan(108_000 - 1);
    expect(due).toBeLessThanOrEqual(120_000);
    const out: ClientOutput[] = [];
    client.tick(at(due), out);
    const { said } = talk(client, node, due, out);
    const session = upAt(said);
    expect(session.index).not.toBe(old.client.index);
    expect(node.sessions.phase(old.client.index)).toBe("up");
    const ups: NodeOutput[] = [];
    node.authentic(at(due), session.index, ups);
    expect(ups).toMatchObject([{ kind: "up", replaces: [old.client.index] }]);
    client.heard(at(due), session.receiver, 0);
    const early: (ClientOutput | NodeOutput)[] = [];
    client.tick(at(due + OVERLAP_MS - 1), early as ClientOutput[]);
    node.tick(at(due + 30_000 - 1), early as NodeOutput[]);
    expect(early).toEqual([]);
    const late: (ClientOutput | NodeOutput)[] = [];
    client.tick(at(due + OVERLAP_MS), late as ClientOutput[]);
    node.tick(at(due + 30_000), late as NodeOutput[]);
    expect(late).toMatchObject([{ kind: "retire" }, { kind: "retire", index: old.client.index, reason: "replaced" }]);
  });

  test.each(["sealed", "heard"] as const)("2^30 packets %s bring it forward", (way) => {
    const group = new Group(20);
    const client = group.client("a");
    const session = connect(client, group.node()).client;
    if (way === "sealed") client.sealed(at(10), 2 ** 30);
    else client.heard(at(10), session.receiver, 2 ** 30);
    expect(client.nextTimeout()).toBe(10);
  });

  test("without a new one a session ends after ten minutes, at both ends", () => {
    const group = new Group(21);
    const node = group.node();
    const client = group.client("a");
    connect(client, node);
    const out: ClientOutput[] = [];
    client.tick(at(600_000), out);
    expect(out.map((o) => o.kind)).toEqual(["retire", "down", "send"]);
    const ended: NodeOutput[] = [];
    node.tick(at(600_000), ended);
    expect(ended).toMatchObject([{ kind: "retire", reason: "expired" }]);
    expect(node.sessions.size).toBe(0);
  });
});

describe("resume", () => {
  test("a node that lost all memory goes on from the ticket in one round trip, with other keys", () => {
    const group = new Group(22);
    const client = group.client("a");
    const before = connect(client, group.node());
    client.sent.note(7, 0x01020304, 0x05060708);
    const reborn = group.node();
    const lost = packetOf(before.client.index, 7, "0102030405060708");
    const unknown: NodeOutput[] = [];
    expect(reborn.unknownSession(at(5), lost, FROM, unknown)).toBe("unknown_sent");
    expect(sentBy(unknown)[0].length).toBeLessThanOrEqual(lost.length);
    const out: ClientOutput[] = [];
    expect(client.receive(at(6), sentBy(unknown)[0], out)).toBe("resuming");
    const after = confirm(client, reborn, 7, out);
    expect(after.client).toMatchObject({ resumed: true, index: before.client.index, settings: SETTINGS });
    expect(hex(after.client.secret)).toBe(hex(after.node.secret));
    const keys = [before, after].flatMap(({ client: c }) => [c.sealKey, ...c.senders.map((s) => s.openKey)]);
    expect(new Set(keys.map(hex)).size).toBe(4);
  });

  test.each(["sequence number", "ciphertext", "index"])(
    "an unknown-session answer with another %s is not believed",
    (what) => {
      const group = new Group(23);
      const client = group.client("a");
      const session = connect(client, group.node()).client;
      client.sent.note(7, 0x01020304, 0x05060708);
      const packet = packetOf(
        what === "index" ? session.index ^ (2 ** 16) : session.index,
        what === "sequence number" ? 8 : 7,
        what === "ciphertext" ? "0102030405060709" : "0102030405060708",
      );
      const unknown: NodeOutput[] = [];
      group.node().unknownSession(at(5), packet, FROM, unknown);
      expect(client.receive(at(6), sentBy(unknown)[0], [])).toBe("unknown_session_unproven");
      expect(client.asking).toBeUndefined();
    },
  );

  test("silence for 15 seconds after something was sent leads to it too", () => {
    const group = new Group(24);
    const client = group.client("a");
    connect(client, group.node());
    client.sealed(at(100), 1);
    client.sealed(at(9000), 2);
    expect(client.nextTimeout()).toBe(100 + SILENCE_MS);
    const out: ClientOutput[] = [];
    client.tick(at(100 + SILENCE_MS), out);
    expect(sentBy(out)[0][control.TYPE]).toBe(control.RESUME);
  });

  test.each(["rotated away", "expired", "of a removed client"])(
    "a ticket %s: the client handshakes anew, or stays out",
    (what) => {
      const group = new Group(25);
      const client = group.client("a");
      connect(client, group.node());
      const later = what === "expired" ? 3_600_001 : 100_000;
      const node = group.node();
      if (what === "rotated away") {
        node.update({ ticketKeys: [3, 2].map((id) => ticketKey(id, group.entropy.bytes(32))) });
      }
      if (what === "of a removed client") group.known.clear();
      client.sealed(at(10), 1);
      const out: ClientOutput[] = [];
      client.tick({ ms: 10 + SILENCE_MS, wallMs: at(later).wallMs }, out);
      const answers: NodeOutput[] = [];
      const outcome = node.receive(at(later), sentBy(out)[0], FROM, answers);
      if (what === "of a removed client") {
        expect([outcome, answers]).toEqual(["client_unknown", []]);
        return;
      }
      expect(outcome).toBe("ticket_unknown");
      const next: ClientOutput[] = [];
      expect(client.receive(at(10 + SILENCE_MS), sentBy(answers)[0], next)).toBe("resuming");
      expect(sentBy(next)[0][control.TYPE]).toBe(control.INIT);
      expect(upAt(talk(client, node, later, next).said)).toMatchObject({ resumed: false });
    },
  );

  test("three unanswered tries, then a full handshake", () => {
    const group = new Group(34);
    const client = group.client("a");
    connect(client, group.node());
    client.sealed(at(10), 1);
    const types: number[] = [];
    while (types.length < 5) {
      const out: ClientOutput[] = [];
      client.tick(at(client.nextTimeout()), out);
      types.push(...sentBy(out).map((datagram) => datagram[control.TYPE]));
    }
    expect(types).toEqual([control.RESUME, control.RESUME, control.RESUME, control.INIT, control.INIT]);
  });

  test("an older ticket key of the ring still opens, and the expiry does not move", () => {
    const group = new Group(26);
    const client = group.client("a");
    connect(client, group.node());
    const node = group.node();
    const [own] = group.config.ticketKeys;
    node.update({ ticketKeys: [own, ticketKey(2, group.entropy.bytes(32))] });
    client.sealed(at(10), 1);
    const out: ClientOutput[] = [];
    client.tick(at(20_000), out);
    const resumed = confirm(client, node, 20_000, out);
    expect(resumed.client.resumed).toBe(true);
    client.sealed(at(30_000), 1);
    const again: ClientOutput[] = [];
    client.tick({ ms: 50_000, wallMs: at(3_600_001).wallMs }, again);
    expect(node.receive(at(3_600_001), sentBy(again)[0], FROM, [])).toBe("ticket_unknown");
  });
});

describe("who is who", () => {
  test("two clients with one key: the newer wins, the older is told and stops", () => {
    const group = new Group(27);
    const node = group.node();
    const own = group.entropy.keyPair();
    const older = group.client("a", {}, own);
    const before = connect(older, node);
    const newer = group.client("a", {}, own);
    const out: ClientOutput[] = [];
    newer.start(at(5000), out);
    const { said } = talk(newer, node, 5000, out);
    const ups: NodeOutput[] = [];
    node.authentic(at(5000), upAt(said).index, ups);
    expect(ups.map((o) => o.kind)).toEqual(["takeover", "close", "retire", "up"]);
    expect(ups[0]).toMatchObject({ before: before.node, after: { index: upAt(said).index } });
    const end: ClientOutput[] = [];
    older.closedByGroup(at(5000), before.client.receiver, "replaced", end);
    expect(end.map((o) => o.kind)).toEqual(["retire", "down", "problem"]);
    expect(older.nextTimeout()).toBe(Number.POSITIVE_INFINITY);
  });

  test("a removed client's sessions end at once and it gets no other", () => {
    const group = new Group(28);
    const node = group.node();
    const client = group.client("a");
    const session = connect(client, node);
    group.known.clear();
    const out: NodeOutput[] = [];
    node.sessions.endClient(session.node.clientKey, out);
    expect(out).toMatchObject([
      { kind: "close", reason: "removed" },
      { kind: "retire", reason: "removed" },
    ]);
    const asked: ClientOutput[] = [];
    client.closedByGroup(at(1), session.client.receiver, "removed", asked);
    expect(asked.map((o) => o.kind)).toEqual(["retire", "down", "send"]);
    expect(sentBy(talk(client, node, 1, asked).done)).toEqual([]);
  });

  test("at most four unconfirmed sessions a client; unconfirmed ones vanish", () => {
    const group = new Group(29);
    const node = group.node();
    const client = group.client("a");
    const out: NodeOutput[] = [];
    for (let i = 0; i < 10; i++) {
      const asked: ClientOutput[] = [];
      client.start(at(i), asked);
      node.receive(at(i), sentBy(asked)[0], FROM, out);
    }
    expect(node.sessions.size).toBe(4);
    expect(node.nextTimeout()).toBe(15_006);
    node.tick(at(15_009), out);
    expect(node.sessions.size).toBe(0);
  });
});

describe("senders", () => {
  test("a new sender introduces itself until it is acknowledged; hearing it twice changes nothing", () => {
    const group = new Group(30);
    const node = group.node();
    const client = group.client("a");
    const session = connect(client, node);
    const sender = { senderId: 77, bootId: group.entropy.bytes(8) };
    const out: NodeOutput[] = [];
    expect(node.announce(at(0), session.node.index, sender, FROM, false, out)).toBe(true);
    node.tick(at(node.nextTimeout()), out);
    const [first, second] = sentBy(out);
    expect(hex(first)).toBe(hex(second));
    const heard: ClientOutput[] = [];
    expect([client.receive(at(1), first, heard), client.receive(at(2), second, heard)]).toEqual(["sender", "sender"]);
    expect(heard.map((o) => o.kind)).toEqual(["sender", "acknowledge", "acknowledge"]);
    const key = groupKey(session.node.secret, session.node.aead, identityOf(session.node), sender);
    expect(heard[0]).toMatchObject({ sender: { ...sender, openKey: key } });
    node.acknowledged(session.node.index, { ...sender, bootId: new Uint8Array(8) });
    expect(node.nextTimeout()).toBeLessThan(10_000);
    node.acknowledged(session.node.index, sender);
    expect(node.nextTimeout()).toBe(600_000);
  });

  test("a packet from elsewhere, which may be a replayed one, does not lead the introduction away", () => {
    const group = new Group(32);
    const node = group.node();
    const { index } = connect(group.client("a"), node).node;
    const sender = { senderId: 77, bootId: group.entropy.bytes(8) };
    const out: NodeOutput[] = [];
    node.announce(at(0), index, sender, FROM, false, out);
    node.announce(at(1), index, sender, endpoint(66), true, out);
    for (let tries = 0; tries < 2; tries++) node.tick(at(node.nextTimeout()), out);
    const places = out.flatMap((o) => (o.kind === "send" ? [o.to] : []));
    expect(places).toEqual([FROM, endpoint(66), FROM, FROM]);
  });

  test("tries end, and the table of a client is bounded", () => {
    const group = new Group(31);
    const node = group.node();
    const client = group.client("a");
    const session = connect(client, node);
    const out: NodeOutput[] = [];
    node.announce(at(0), session.node.index, { senderId: 5, bootId: new Uint8Array(8) }, FROM, false, out);
    while (node.nextTimeout() < 100_000) node.tick(at(node.nextTimeout()), out);
    expect(sentBy(out).length).toBe(6);
    const outcomes = [1, 2, 3, 4, 5].map((n) =>
      client.receive(at(9), senderDatagram(session.client, { senderId: 6, bootId: new Uint8Array(8).fill(n) }, n), []),
    );
    expect(outcomes).toEqual(["sender", "sender", "sender", "sender", "senders_full"]);
    expect(client.nextTimeout()).toBe(9);
  });
});

test("a confirm that gets no answer is repeated, then the session is resumed", () => {
  const group = new Group(32);
  const client = group.client("a");
  const out: ClientOutput[] = [];
  client.start(at(0), out);
  const { said } = talk(client, group.node(), 0, out);
  const kinds = said.map((o) => o.kind);
  let ms = 0;
  while (!client.asking) {
    ms = client.nextTimeout();
    const more: ClientOutput[] = [];
    client.tick(at(ms), more);
    kinds.push(...more.map((o) => o.kind));
  }
  expect(kinds).toEqual(["send", "up", ...Array(5).fill("confirm"), "send"]);
  expect(ms).toBeLessThan(11_000);
});

test("stop ends everything; start begins anew", () => {
  const group = new Group(33);
  const client = group.client("a");
  const node = group.node();
  connect(client, node);
  const out: ClientOutput[] = [];
  client.stop(out);
  expect(out.map((o) => o.kind)).toEqual(["retire", "down"]);
  expect([client.current, client.nextTimeout()]).toEqual([undefined, Number.POSITIVE_INFINITY]);
  connect(client, node, 10);
});

/** A session datagram of a client: header, eight bytes, tag. */
function packetOf(index: number, seq: number, head: string): Uint8Array {
  const packet = new Uint8Array(34);
  const view = control.viewOf(packet);
  view.setUint32(0, seq);
  view.setUint16(4, Math.floor(index / 2 ** 15));
  view.setUint16(6, 0x8000 | (index & 0x7fff));
  packet.set(Buffer.from(head, "hex"), 8);
  return packet;
}

/** A client of the crowd against the real responder of a node: handshake, cookie, packets, another handshake. */
import { createSocket } from "node:dgram";
import { afterAll, expect, test } from "vitest";
import { PING, PONG } from "../../src/channel/kinds.ts";
import { encodeUnnumbered } from "../../src/channel/unnumbered.ts";
import { crowdAddressText, crowdPair } from "../../src/crowd/order.ts";
import { CrowdSession } from "../../src/crowd/session.ts";
import { openAead, sealAead } from "../../src/crypto/aead.ts";
import { readHeader } from "../../src/crypto/satp.ts";
import { ALG_AES_128_GCM } from "../../src/dataplane/layout.ts";
import { AES_128_GCM, clientKey, groupKey, type Sender } from "../../src/handshake/keys.ts";
import { mac1Key } from "../../src/handshake/macs.ts";
import type { NodeOutput } from "../../src/handshake/node_sessions.ts";
import { groupNameBytes, MODE_TUNNEL } from "../../src/handshake/offer.ts";
import { identityOf, type NodeSession } from "../../src/handshake/session_rows.ts";
import { TYPE_CONTROL, TYPE_IPV4 } from "../../src/wire/satp.ts";
import { at, endpoint, Group, hex, PSK } from "../handshake/party.ts";

const socket = createSocket("udp4");
afterAll(() => socket.close());

const FROM = endpoint(1);
const ECHO = 0x0a400001;
/** Of this start of the node. */
const SENDER: Sender = { senderId: 1, bootId: new Uint8Array(8).fill(3) };

/** A node that knows client 0, and that client. */
function pair(load?: Group["config"]["load"]) {
  const group = new Group(1, { aeads: [AES_128_GCM], ...(load && { load }) });
  const own = crowdPair("seed", 0);
  group.known.set(hex(own.publicKey), { name: "c0", psk: PSK, modes: MODE_TUNNEL });
  const common = { groupKey: group.key.publicKey, groupName: groupNameBytes("example"), psk: PSK };
  const order = {
    ...{ groupKey: "", service: { address: "192.0.2.1", port: 4444 }, echo: "10.64.0.1", clients: 1 },
    ...{ firstAddress: "10.64.0.2", sources: ["203.0.113.1"], seed: "seed" },
  };
  const source = { socket, cookie: undefined };
  const session = new CrowdSession(order, 0, 5, source, { ...common, mac1Key: mac1Key(group.key.publicKey) });
  return { node: group.node({ senders: [SENDER] }), session };
}

type Pair = ReturnType<typeof pair>;

/** Answers until the client has nothing more to say; the node's session that came of it. */
function handshake({ node, session }: Pair, ms: number): NodeSession {
  let made: NodeSession | undefined;
  for (let datagram: Uint8Array | undefined = session.ask(ms); session.isAsking; ) {
    const out: NodeOutput[] = [];
    // The crowd says the time of this machine.
    node.receive(at(ms, Date.now()), datagram!, FROM, out);
    datagram = undefined;
    for (const output of out) {
      if (output.kind === "pending") made = output.session;
      if (output.kind === "send") datagram = session.heard(output.datagram);
    }
    expect(datagram).toBeDefined();
    if (session.isAsking) continue;
    // The confirm: an authentic packet with nothing in it.
    const opened = openAead(keysOf(made!), datagram!, readHeader(datagram!));
    expect(opened).toMatchObject({ result: "opened", payloadType: -1 });
  }
  return made!;
}

const keysOf = ({ secret }: NodeSession) => {
  const openKey = clientKey(secret, AES_128_GCM);
  return { algorithm: ALG_AES_128_GCM, sealKey: openKey, openKey };
};

function answer(session: NodeSession, seq: number, type: number, inner: Uint8Array) {
  const sealKey = groupKey(session.secret, AES_128_GCM, identityOf(session), SENDER);
  const header = { seq, senderId: SENDER.senderId, mux: 0x8000 | session.receiver };
  return sealAead({ algorithm: ALG_AES_128_GCM, sealKey, openKey: sealKey }, header, type, inner);
}

test("a request is an echo request from the client's address, and its answer is known by its number alone", () => {
  const both = pair();
  both.session.prepare();
  const made = handshake(both, 0);
  expect(both.session).toMatchObject({ isUp: true, tries: 1, cookies: 0 });
  const sealed = both.session.request(ECHO, 0x01020304);
  const opened = openAead(keysOf(made), sealed, readHeader(sealed));
  if (opened.result !== "opened") throw new Error(opened.result);
  const { inner } = opened;
  expect(opened.payloadType).toBe(TYPE_IPV4);
  expect([inner.subarray(12, 16).join("."), inner.subarray(16, 20).join(".")]).toEqual(["10.64.0.2", "10.64.0.1"]);
  expect([inner[9], inner[20], hex(inner.subarray(24, 28))]).toEqual([1, 8, "01020304"]);
  const reply = answer(made, 0, TYPE_IPV4, inner);
  expect(both.session.answered(reply)).toBe(0x01020304);
  for (let i = 0; i < reply.length; i++) {
    const forged = Uint8Array.from(reply);
    forged[i]! ^= 1;
    expect(both.session.answered(forged)).toBeUndefined();
  }
  expect(both.session.answered(sealed)).toBeUndefined();
});

test("a node under load gets its cookie, and PING its PONG", () => {
  const both = pair({ enterPerSecond: 0, leavePerSecond: 0, calmMs: 5000 });
  both.session.prepare();
  const made = handshake(both, 0);
  expect(both.session.cookies).toBe(1);
  const token = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const pong = both.session.pong(answer(made, 0, TYPE_CONTROL, encodeUnnumbered({ kind: PING, token })))!;
  const opened = openAead(keysOf(made), pong, readHeader(pong));
  expect(opened).toMatchObject({ result: "opened", payloadType: TYPE_CONTROL });
  expect(both.session.pong(answer(made, 1, PONG, token))).toBeUndefined();
});

test("another handshake makes another session: what the first one sealed is nobody's answer", () => {
  const both = pair();
  both.session.prepare();
  const first = handshake(both, 0);
  const inner = new Uint8Array(28);
  expect(both.session.opens(answer(first, 0, TYPE_IPV4, inner))).toBe(true);
  both.session.prepare();
  expect(both.session).toMatchObject({ isUp: true, isAsking: true });
  const second = handshake(both, 5000);
  expect(second.index).not.toBe(first.index);
  expect(both.session.opens(answer(first, 1, TYPE_IPV4, inner))).toBe(false);
  expect(both.session.opens(answer(second, 0, TYPE_IPV4, inner))).toBe(true);
});

test("addresses follow each other across bytes", () => {
  expect([0, 253, 254, 65_534].map((n) => crowdAddressText("10.64.0.2", n))).toEqual([
    "10.64.0.2",
    "10.64.0.255",
    "10.64.1.0",
    "10.65.0.0",
  ]);
});

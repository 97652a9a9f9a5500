/** What strangers, clients and other nodes send: wire headers, handshakes, control inside sessions, messages of a group. */
import fc from "fast-check";
import * as kinds from "../../src/channel/kinds.ts";
import { channelName, decodeAck, decodePage, encodeAck, encodePage } from "../../src/channel/page.ts";
import { decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../../src/channel/unnumbered.ts";
import { decodeClient, encodeClient } from "../../src/cluster/book_record.ts";
import { Reader, Writer } from "../../src/cluster/bytes.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { decodeFleetKeys, FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { decodeGroupKeys, encodeGroupKeys } from "../../src/cluster/group_secrets.ts";
import { readHeartbeat, writeHeartbeat } from "../../src/cluster/heartbeat.ts";
import {
  encodeHello,
  encodeAck as encodeHelloAck,
  encodeRoster,
  HELLO_ACK_LEN,
  HELLO_LEN,
  readAck,
  readHello,
  readRosterPiece,
} from "../../src/cluster/link_greeting.ts";
import { type LinkMessage, packMessages, unpackMessages } from "../../src/cluster/link_message.ts";
import { decodeShouts, encodeShouts, type Shout } from "../../src/cluster/location.ts";
import { decodeRecord, encodeRecord } from "../../src/cluster/record.ts";
import { readRoster, signRoster } from "../../src/cluster/roster.ts";
import { TicketKeyRing } from "../../src/cluster/ticket_keys.ts";
import { readWindow, writeWindow } from "../../src/cluster/window.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { readNotice, signNotice } from "../../src/crypto/group_key_notice.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { parseHeartbeat } from "../../src/drivers/nats_peers.ts";
import { parseInner, splitPacket } from "../../src/drivers/twin_split.ts";
import type { ClientOutput } from "../../src/handshake/client_session.ts";
import * as control from "../../src/handshake/control.ts";
import { type Answer, decodeAnswer, encodeAnswer } from "../../src/handshake/grant.ts";
import { mac1Key, writeMac1 } from "../../src/handshake/macs.ts";
import type { NodeOutput } from "../../src/handshake/node_sessions.ts";
import { decodeOffer, encodeOffer } from "../../src/handshake/offer.ts";
import { decodeSettings, encodeSettings, NO_SETTINGS } from "../../src/handshake/settings.ts";
import { openTicket, sealTicket } from "../../src/handshake/ticket.ts";
import * as ethernet from "../../src/wire/ethernet.ts";
import * as icmp from "../../src/wire/icmp.ts";
import * as ipv4 from "../../src/wire/ipv4.ts";
import * as ipv6 from "../../src/wire/ipv6.ts";
import * as satp from "../../src/wire/satp.ts";
import * as tcp from "../../src/wire/tcp.ts";
import * as udp from "../../src/wire/udp.ts";
import * as any from "../cluster/arbitrary.ts";
import { frame, Host, PORT, packet4, packet6 } from "../dataplane/world.ts";
import { at, endpoint, Group, SETTINGS, ticketKey } from "../handshake/party.ts";
import { packetOf } from "../offload/packets.ts";
import type { Input, Parser } from "./run.ts";

const SAMPLES = 48;
const seed = 7;
const sample = <T>(arbitrary: fc.Arbitrary<T>): T[] => fc.sample(arbitrary, { numRuns: SAMPLES, seed });
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** A parser of bytes: its name, what is valid, how it is read. */
const bytes = (
  name: string,
  valid: readonly Uint8Array[],
  decode: (bytes: Uint8Array) => unknown,
  more: Pick<Parser, "weight" | "takesAll" | "sealed"> = {},
): Parser => ({ name, valid, decode: (input: Input) => decode(input as Uint8Array), ...more });

/** One of a reader: what `must` not be, or is left over, is a no. */
const read =
  <T>(one: (reader: Reader) => T) =>
  (input: Uint8Array) => {
    const reader = new Reader(input);
    return reader.finish(one(reader) as never);
  };

const ip4 = sample(fc.record({ flow: fc.nat(3), payload: any.exactly(40), udp: fc.boolean(), df: fc.boolean() })).map(
  packetOf,
);
const ip6 = sample(
  fc.record({ flow: fc.nat(3), payload: any.exactly(40), udp: fc.boolean(), v6: fc.constant(true) }),
).map(packetOf);
const upper = (packets: readonly Uint8Array[], head: number, protocol: number, where: number) =>
  packets.filter((packet) => packet[where] === protocol).map((packet) => packet.slice(head));

type Check = (view: DataView, at: number, end: number) => number;
const header = (name: string, check: Check, valid: readonly Uint8Array[]): Parser =>
  bytes(`header ${name}`, valid, (input) => check(viewOf(input), 0, input.length), { weight: 0.5 });

const headers: Parser[] = [
  header("ipv4", ipv4.check, ip4),
  header("ipv6", ipv6.check, ip6),
  header("tcp", tcp.check, upper(ip4, 20, 6, 9)),
  header("udp", udp.check, upper(ip4, 20, 17, 9)),
  header("icmp", icmp.check, [Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4, 5, 6)]),
  header("ethernet", ethernet.check, [frame("020000000001", "020000000002")]),
  header("satp", satp.check, [new Uint8Array(24)]),
  bytes("super-packet", [...ip4, ...ip6], (input) => {
    const inner = parseInner(input);
    return inner && splitPacket(input, inner.headerLen, 1 + (input[0] % 9));
  }),
];

/** Two hosts with a tunnel: what one sends, changed, arrives at the other; both run their whole pipeline. */
function planes(
  ethernetFrames: boolean,
  sessions?: "node" | "client",
): (input: Uint8Array, fromDevice: boolean) => number {
  const network = new MemoryNetwork();
  const [a, b] = ["192.0.2.1", "192.0.2.2"].map((address) => {
    const more = sessions === undefined ? {} : { sessions, group: sessions === "node" };
    return new Host(network, { address, ethernet: ethernetFrames, ...more });
  });
  a.tunnel("left", 1, { remote: b.address, window: 0 });
  b.tunnel("right", 1, { remote: a.address, window: 0 });
  a.local("10.9.0.1/32");
  b.local("10.9.0.2/32");
  return (input, fromDevice) => {
    if (fromDevice) a.io.device!.inject(input.subarray(0, 2048));
    else
      network.deliver(
        network.sockets[0],
        [0, 0, 0xffff, 0xc0000201 | 0],
        0,
        0,
        0xffff,
        0xc0000202 | 0,
        PORT,
        input,
        0,
        input.length,
        0,
      );
    for (const host of [a, b, a]) {
      host.turn();
      host.delivered();
      host.plane.control.drain();
      host.plane.events.drain();
    }
    return 0;
  };
}
const datagrams = (first: number) =>
  ip4.map((packet, i) => {
    const datagram = new Uint8Array(10 + packet.length);
    viewOf(datagram).setUint32(0, i);
    viewOf(datagram).setUint16(6, first);
    datagram.set(packet, 10);
    return datagram;
  });
const [tunnels, bridges, node, client] = [planes(false), planes(true), planes(false, "node"), planes(false, "client")];
const pipeline: Parser[] = [
  bytes(
    "packet from the device",
    [...ip4, ...ip6, packet4("10.9.0.1", "10.9.0.2", 90), packet6("2001:db8:9::1", "2001:db8:9::2", 9)],
    (input) => tunnels(input, true),
    { takesAll: true },
  ),
  bytes(
    "frame from the device",
    [frame("020000000001", "020000000002"), frame("ffffffffffff", "020000000003")],
    (input) => bridges(input, true),
    { takesAll: true },
  ),
  bytes("datagram of a tunnel", datagrams(1), (input) => tunnels(input, false), { takesAll: true }),
  bytes("datagram at a node", [...datagrams(0x8001), ...datagrams(0xffff)], (input) => node(input, false), {
    takesAll: true,
  }),
  bytes("datagram at a client", [...datagrams(0x8001), ...datagrams(0xffff)], (input) => client(input, false), {
    takesAll: true,
  }),
];

const FROM = endpoint(9);
const sent = (out: readonly (ClientOutput | NodeOutput)[]) =>
  out.flatMap((o) => (o.kind === "send" ? [o.datagram] : []));
const unlimited = {
  requestsPerSource: { perSecond: 1e9, burst: 1e9 },
  load: { enterPerSecond: 1e9, leavePerSecond: 1e9, calmMs: 1, shedPerSecond: 1e9 },
};

/** A node and a client in the middle of a handshake, and what each is about to get. */
function handshake(from: number) {
  const group = new Group(from, unlimited);
  const responder = group.node();
  const initiator = group.client("a");
  const out: ClientOutput[] = [];
  const answers: NodeOutput[] = [];
  initiator.start(at(0), out);
  const requests = sent(out);
  responder.receive(at(0), requests[0], FROM, answers);
  return { responder, initiator, requests, answers: sent(answers) };
}
const scenes = Array.from({ length: 8 }, (_, n) => handshake(100 + n));
const [stage] = scenes;
/** With the MAC that anybody can make who knows the group, so that the node looks further. */
const remade = (input: Uint8Array): Uint8Array => {
  if (input.length !== control.REQUEST_LEN) return input;
  const datagram = input.slice();
  writeMac1(mac1Key(new Group(1).key.publicKey), datagram);
  return datagram;
};
const answered: Answer = {
  ...{ kind: "grant", index: 5, aead: 1, modes: 1, rekeyAfterMs: 1000, expireAfterMs: 2000, keepaliveMs: 0 },
  ...{ senders: [{ senderId: 1, bootId: new Uint8Array(8) }], ticket: new Uint8Array(9), settings: SETTINGS },
};
const ring = [ticketKey(1, new Uint8Array(32).fill(3))];
const tickets = sample(fc.tuple(any.exactly(32), any.exactly(8), any.time)).map(
  ([key, instance, expiryMs]) =>
    sealTicket(ring[0], key.slice(0, 16), {
      ...{ aead: 2, modes: 1, index: 77, clientKey: key, resumption: key, instance, expiryMs },
      addresses: SETTINGS.addresses,
    })!,
);
const offers = sample(any.time).map((timestamp) =>
  encodeOffer({ timestamp, aeads: 6, modes: 1, instance: new Uint8Array(8).fill(3) }),
);
/** The length of an offer is that of INIT. */
const exact = (input: Uint8Array): Uint8Array => {
  const offer = new Uint8Array(offers[0].length);
  offer.set(input.subarray(0, offer.length));
  return offer;
};
const handshakes: Parser[] = [
  bytes(
    "handshake datagram",
    scenes.flatMap(({ requests, answers }) => [...requests, ...answers]),
    (input) => control.check(input) || undefined,
  ),
  bytes(
    "request at a node",
    scenes.map(({ requests }) => requests[0]),
    (input) => stage.responder.receive(at(1), remade(input), FROM, []).length,
    { weight: 0.2, takesAll: true },
  ),
  bytes("answer at a client", stage.answers, (input) => stage.initiator.receive(at(1), input, []).length, {
    weight: 0.2,
    takesAll: true,
  }),
  bytes(
    "unknown session at a node",
    datagrams(0x8001),
    (input) => stage.responder.unknownSession(at(1), input, FROM, []).length,
    { weight: 0.5, takesAll: true },
  ),
  bytes(
    "answer",
    [
      encodeAnswer(answered)!,
      encodeAnswer({ kind: "stale", timestamp: 5 })!,
      encodeAnswer({ kind: "refused", reason: "node_full" })!,
    ],
    decodeAnswer,
  ),
  bytes("offer", offers, (input) => decodeOffer(exact(input)), { takesAll: true }),
  bytes("settings", [encodeSettings(SETTINGS), encodeSettings({ ...NO_SETTINGS, mtuBytes: 1280 })], decodeSettings),
  bytes("ticket", tickets, (input) => openTicket(ring, input), { weight: 0.3, sealed: true }),
];

const token = new Uint8Array(8).fill(4);
const unnumbered: Unnumbered[] = [
  { kind: kinds.PING, token },
  { kind: kinds.PONG, token },
  { kind: kinds.CLOSE, reason: "removed" },
  { kind: kinds.SENDER_ACK, sender: { senderId: 9, bootId: token } },
  { kind: kinds.PATH_PROBE, token, length: 300 },
  { kind: kinds.PATH_ACK, token, length: 300 },
];

const name = { index: any.index, created: any.time };
const messages: fc.Arbitrary<LinkMessage> = fc.oneof(
  any.heartbeat,
  fc.record({ kind: fc.constant("take" as const), ...name, seq: any.u32 }),
  fc.record({
    kind: fc.constant("taken" as const),
    ...name,
    owner: fc.constant(0),
    window: any.window,
    result: fc.constant("given" as const),
  }),
  fc.record({ kind: fc.constantFrom("ask" as const, "absent" as const), index: any.index }),
  fc.record({
    ...{
      kind: fc.constant("record" as const),
      encoded: any.record.map((one) => encodeRecord(one)!),
      owner: fc.nat(63),
    },
    ...{ seq: any.u32, endpoint: any.endpoint },
  }),
  fc.record({
    kind: fc.constant("forward" as const),
    source: any.endpoint,
    tos: fc.nat(255),
    datagram: any.exactly(90),
  }),
  fc.record({ kind: fc.constant("part" as const), ...name, window: any.window, endpoint: any.endpoint }),
);
const shouts: fc.Arbitrary<Shout> = fc.oneof(
  any.heartbeat,
  fc.record({ kind: fc.constant("moved" as const), ...name, seq: any.u32, owner: any.node, endpoint: any.endpoint }),
  fc.record({
    kind: fc.constant("progress" as const),
    sessions: fc.array(fc.record({ index: any.index, life: any.u16, seq: any.u32 }), { minLength: 1, maxLength: 9 }),
  }),
);
const fleetKeys = new FleetKeys(new Uint8Array(32).fill(1));
const operator = signingKeyFrom(new Uint8Array(32).fill(2));
const roster = signRoster(
  {
    ...{ group: "example", version: 3, operator: operator.publicKey },
    nodes: [{ node: 1, publicKey: operator.publicKey, name: "n1", evictedIn: 2 }],
  },
  operator,
);
const notice = signNotice(
  { version: 2, operator: operator.publicKey, keys: [new Uint8Array(32).fill(3), new Uint8Array(32).fill(4)] },
  operator,
);
const groupKeys = encodeGroupKeys(notice, [new Uint8Array(32).fill(5)]);
const [one, two] = [1, 2].map((number) => new Envelope(fleetKeys, number, new Uint8Array(8).fill(number)));
const records = sample(any.record).map((record) => encodeRecord(record)!);
const perhaps = (length: number) => fc.option(any.exactly(length), { nil: undefined });
const clients = sample(fc.tuple(any.node, any.time, perhaps(60), perhaps(64))).map(
  ([by, stamp, content, signature]) => {
    const version = { stamp, node: by };
    return encodeClient({ version, claimed: version, content, signature });
  },
);
const bookKeys = new TicketKeyRing();
const bookKey = { id: 5, key: new Uint8Array(32).fill(7), notBeforeMs: 1, notAfterMs: 2, roster: 3, maker: 4 };

const group: Parser[] = [
  bytes(
    "messages of the link",
    sample(fc.array(messages, { minLength: 1, maxLength: 4 })).flatMap((list) => packMessages(list)),
    unpackMessages,
  ),
  bytes(
    "shouts",
    sample(shouts).flatMap((shout) => encodeShouts([shout])),
    decodeShouts,
  ),
  bytes("session record", records, decodeRecord),
  bytes("client of the book", clients, decodeClient),
  bytes(
    "ticket key of the book",
    [bookKeys.encode(bookKey), bookKeys.encode({ ...bookKey, signature: new Uint8Array(64).fill(9) })],
    (input) => bookKeys.decode(input),
  ),
  bytes("fleet keys", [fleetKeys.encode()], decodeFleetKeys),
  bytes("group keys", [groupKeys], decodeGroupKeys),
  bytes(
    "notice of group keys",
    [new TextEncoder().encode(notice)],
    (input) => readNotice(new TextDecoder().decode(input), operator.publicKey),
    { sealed: true },
  ),
  bytes(
    "roster",
    [new TextEncoder().encode(roster)],
    (input) => readRoster(new TextDecoder().decode(input), "example", operator.publicKey),
    { weight: 0.3, sealed: true },
  ),
  bytes(
    "window",
    sample(any.window).map((window) => {
      const writer = new Writer(4096);
      writeWindow(writer, window);
      return writer.done();
    }),
    read(readWindow),
  ),
  bytes(
    "heartbeat",
    sample(any.heartbeat).map((beat) => {
      const writer = new Writer(4096);
      writeHeartbeat(writer, beat);
      return writer.done();
    }),
    read(readHeartbeat),
  ),
  bytes(
    "envelope",
    records.map((record) => one.seal(0, "s.1", record)),
    (input) => two.open(0, 1, "s.1", input),
    { weight: 0.3, sealed: true },
  ),
  bytes(
    "record in an envelope",
    records,
    (input) => {
      const opened = two.open(0, 1, "s.1", one.seal(0, "s.1", input));
      return typeof opened === "string" ? opened : decodeRecord(opened.plain);
    },
    { weight: 0.3 },
  ),
  bytes(
    "heartbeat of the engine",
    [new TextEncoder().encode(JSON.stringify({ boot: "a", n: 1, puts: 7, domain: "d", streams: { l: "x", b: "y" } }))],
    parseHeartbeat,
  ),
];

const page = { senderId: 1, bootId: new Uint8Array(8).fill(5) };
const pages: Parser[] = [
  bytes(
    "page of a control message",
    [1, 2].map((count) =>
      encodePage({
        ...channelName(page),
        number: 7,
        kind: 64,
        page: 0,
        pages: count,
        size: 300,
        content: new Uint8Array(300),
      }),
    ),
    decodePage,
  ),
  bytes("pages that have come", [encodeAck({ ...channelName(page), next: 4, seen: Uint8Array.of(5, 0) })], decodeAck),
];

const greeting = {
  ...{ groupId: new Uint8Array(8).fill(1), fleetId: 2, roster: 3, bootId: new Uint8Array(8).fill(4) },
  ...{ nonce: new Uint8Array(16).fill(5), ephemeral: new Uint8Array(32).fill(6) },
};
const key = new Uint8Array(32).fill(7);
/** The link looks at the length first. */
const long = (length: number, decode: (bytes: Uint8Array) => unknown) => (input: Uint8Array) =>
  input.length === length ? decode(input) : undefined;
const head = (length: number) => new Writer(6 + length).raw(new Uint8Array(6));
const ack = { ...greeting, status: "" as const, echoedBoot: new Uint8Array(8), echo: new Uint8Array(16) };
const greetings: Parser[] = [
  bytes("hello of the link", [encodeHello(head(HELLO_LEN), greeting, undefined, key)], long(HELLO_LEN, readHello)),
  bytes("answer to a hello", [encodeHelloAck(head(HELLO_ACK_LEN), ack, undefined, key)], long(HELLO_ACK_LEN, readAck)),
  bytes("piece of a roster", encodeRoster(head, greeting, "x".repeat(2000), key), readRosterPiece),
];

export const binaryParsers: readonly Parser[] = [
  ...headers,
  ...pipeline,
  ...handshakes,
  bytes("control inside a session", unnumbered.map(encodeUnnumbered), (input) => decodeUnnumbered(input)),
  ...pages,
  ...group,
  ...greetings,
];

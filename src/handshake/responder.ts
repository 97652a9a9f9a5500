/**
 * The group's side of key exchange, sans-IO: takes control datagrams and the time, appends datagrams to send and what
 * becomes of sessions. Every node of a group can answer any client: what it needs is shared (static key, cookie secret,
 * ticket keys) or comes back with the client. It never reads a clock, never throws on what a stranger sends, and keeps
 * nothing for one that has not proven a client key. docs/PROTOCOL.md, "Sessions".
 */

import type { Remote } from "../base/ip.ts";
import { hmac } from "../crypto/blake2s.ts";
import { sealChaChaPoly } from "../crypto/chachapoly.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { equalBytes } from "../crypto/kdf.ts";
import { agree, openFirst, openStatic, writeSecond } from "../crypto/noise.ts";
import { creatorOf, IndexKeys, SESSION_NUMBERS } from "../crypto/session_index.ts";
import { KEY_LEN, type KeyPair } from "../crypto/x25519.ts";
import type { Now } from "./clock.ts";
import * as control from "./control.ts";
import { ANSWER_MAX, type Answer, encodeAnswer, type Grant, refusedReasons } from "./grant.ts";
import { GroupKeys } from "./group_keys.ts";
import { type Aead, resumedKeys, resumeKey, resumptionSecret, type Sender, sessionSecret } from "./keys.ts";
import { type BucketLimits, Buckets, LoadDetector, type LoadLimits, sourceHigh, sourceLow } from "./limits.ts";
import { Cookies, hasMac2 } from "./macs.ts";
import { type NodeOutput, type NodeSession, NodeSessions, type SessionLimits } from "./node_sessions.ts";
import { decodeOffer, groupNameBytes, prologueOf } from "./offer.ts";
import { type Asker, RefusedRequests } from "./refused_requests.ts";
import { Announcer } from "./senders.ts";
import { type InnerPrefix, NO_SETTINGS, type Settings } from "./settings.ts";
import { openTicket, SALT_LEN, sealingKey, sealTicket, TICKET_LIFETIME_MAX_MS, type TicketRing } from "./ticket.ts";

/** Who may come in; asked anew for every request, so that a removed client is out at once. */
export interface ClientRecord {
  readonly name: string;
  /** 32 bytes; zero when the client has none. */
  readonly psk: Uint8Array;
  /** Bitmap of modes that it may use. */
  readonly modes: number;
}

export interface Clients {
  /** `publicKey` in hex. */
  find(publicKey: string): ClientRecord | undefined;
  /** What the client gets; `wanted` are addresses that it had before. Undefined when there is no address for it. */
  settings(client: ClientRecord, wanted: readonly InnerPrefix[]): Settings | undefined;
  /** Another node of the group knows a session by this index, or knew it until lately. */
  isTaken?(index: number): boolean;
}

/** Greatest timestamp seen of each client key (hex), -1 for none. Should survive a restart. */
export interface Timestamps {
  greatest(publicKey: string): number;
  advance(publicKey: string, timestamp: number): void;
}

export interface ResponderConfig {
  /** The static key in force. */
  readonly group: KeyPair;
  /** Keys that the group had before: clients that were away still ask under one of them. */
  readonly earlierGroupKeys?: readonly KeyPair[];
  /** Up to 255 bytes; the same at every client and node. */
  readonly groupName: string;
  /** 32 bytes, shared by the group. */
  readonly cookieSecret: Uint8Array;
  readonly ticketKeys: TicketRing;
  readonly ticketLifetimeMs: number;
  /**
   * In a group of several nodes: number of this one, 1-63, which stands in the index of every session that it makes, so
   * that the others know whom to ask. 0: on its own; then a resumed session keeps its index.
   */
  readonly creator: number;
  /** Keys of the check in session indices, the present one first (crypto/session_index.ts). */
  readonly indexKeys: readonly Uint8Array[];
  /** AEADs in the order of preference. */
  readonly aeads: readonly Aead[];
  /** All senders that may send to clients, this node's and known ones of others. */
  readonly senders: readonly Sender[];
  readonly rekeyAfterMs: number;
  readonly keepaliveMs: number;
  readonly sessions: SessionLimits;
  readonly load: LoadLimits;
  /** Requests of one client that are proven to be its own, and new. */
  readonly requestsPerClient: BucketLimits;
}

/** What became of a datagram; each is a counter with this help text. */
export const nodeOutcomes = {
  answered: "A full handshake was answered with a session.",
  resumed: "A session was resumed by ticket.",
  stale:
    "The request was no newer than one before (repeated on the way, replayed, or the client's clock went back), or more " +
    "than 10 minutes ahead of this node's clock: the client was told what to count from.",
  refused: "A known client was refused: no common AEAD, no allowed mode, no address, or the node is full.",
  cookie_sent:
    "Under load, or with an old cookie: the client was asked to show that it gets what is sent to its address.",
  unknown_sent: "A client was told that its session is unknown here.",
  malformed: "Not a control datagram, or one with impossible contents.",
  unexpected: "A type that a node does not take.",
  mac1_wrong: "The sender does not know this group's public key: a stranger, or a client of another group.",
  rate_limited:
    "Too many requests of one client, or under load too many false ones from an address that had shown its cookie.",
  unknown_limited: "Too many datagrams of unknown sessions: their senders were not told.",
  forged: "The request does not open under the group's key: changed on the way, or made by a stranger.",
  client_unknown: "A client that may not come, or not any more.",
  ticket_unknown: "A ticket that expired or of keys that are gone: the client was told to begin anew.",
} as const;
export type NodeOutcome = keyof typeof nodeOutcomes;

/** Ends of requests that somebody may want to know the sender of. */
const LISTED: ReadonlySet<NodeOutcome> = new Set([
  ...(["stale", "refused", "mac1_wrong", "rate_limited", "forged", "client_unknown"] as const),
]);

/** A client's timestamp is at most so far ahead of this node's clock: one of the far future would shut the client out. */
export const AHEAD_MAX_MS = 600_000;
/** Of one client: its clock went back once, or somebody plays its old requests. */
const STALE_ANSWERS: BucketLimits = { perSecond: 2, burst: 10 };
/** Of one address that showed its cookie: requests that do not open, each of which costs a DH. */
const FAILURES: BucketLimits = { perSecond: 10, burst: 20 };
/** To one place about one session. A client needs one; a forged datagram in its name must not take that one. */
const UNKNOWN_ANSWERS: BucketLimits = { perSecond: 20, burst: 4 };
/** Sender id and mux of a session datagram. */
const SESSION_NAME = 4;
/** Any odd number with bits everywhere. */
const PORT_MIX = 0x9e3779b1;
/** More routes have no room in any answer, so it need not be tried: each takes at least 7 bytes. */
const ROUTES_MAX = Math.floor(ANSWER_MAX / 7);

export class Responder {
  readonly sessions: NodeSessions;
  readonly counters = new Map<NodeOutcome, number>();
  readonly refusals = new RefusedRequests();
  /** Of the request that is being read: who sent it, as far as it has said that, and why it is refused. */
  #asker: Asker | undefined;
  #detail = "";
  #config: ResponderConfig;
  readonly #clients: Clients;
  readonly #timestamps: Timestamps;
  readonly #entropy: Entropy;
  readonly #load: LoadDetector;
  readonly #cookies: Cookies;
  readonly #requests: Buckets;
  readonly #stale: Buckets;
  readonly #failures: Buckets;
  readonly #unknown: Buckets;
  readonly #announcer = new Announcer();
  readonly #indexKeys = new IndexKeys();
  readonly #groupKeys: GroupKeys;
  readonly #groupName: Uint8Array;

  constructor(config: ResponderConfig, clients: Clients, timestamps: Timestamps, entropy: Entropy) {
    this.#config = config;
    this.#clients = clients;
    this.#timestamps = timestamps;
    this.#entropy = entropy;
    this.sessions = new NodeSessions(config.sessions);
    this.#load = new LoadDetector(config.load);
    this.#cookies = new Cookies(config.cookieSecret);
    this.#requests = new Buckets(config.requestsPerClient, this.#u32());
    this.#stale = new Buckets(STALE_ANSWERS, this.#u32());
    this.#failures = new Buckets(FAILURES, this.#u32());
    this.#unknown = new Buckets(UNKNOWN_ANSWERS, this.#u32());
    this.#indexKeys.set(config.indexKeys);
    this.#groupKeys = new GroupKeys([config.group, ...(config.earlierGroupKeys ?? [])]);
    this.#groupName = groupNameBytes(config.groupName);
  }

  /** True while requests must carry a cookie. */
  get loaded(): boolean {
    return this.#load.loaded;
  }

  /** What counts from the next request on: a whole ring of keys, senders that started since, times for clients. */
  update(
    changes: Partial<Pick<ResponderConfig, "ticketKeys" | "indexKeys" | "senders" | "rekeyAfterMs" | "keepaliveMs">>,
  ): void {
    this.#config = { ...this.#config, ...changes };
    this.#indexKeys.set(this.#config.indexKeys);
  }

  /** Static keys of the group from the next request on. The one in force is where clients go on to. */
  useGroupKeys(inForce: KeyPair, earlier: readonly KeyPair[]): void {
    this.#groupKeys.set([inForce, ...earlier]);
    this.sessions.forgetStaticShared();
  }

  /** One datagram with mux 0xFFFF. */
  receive(now: Now, datagram: Uint8Array, from: Remote, out: NodeOutput[]): NodeOutcome {
    const type = control.check(datagram);
    if (type !== control.INIT && type !== control.RESUME) return this.#count(type === 0 ? "malformed" : "unexpected");
    this.#asker = undefined;
    this.#detail = "";
    const outcome =
      type === control.INIT ? this.#init(now, datagram, from, out) : this.#resume(now, datagram, from, out);
    if (LISTED.has(outcome)) this.refusals.note(now, outcome, this.#detail, from, this.#asker);
    return this.#count(outcome);
  }

  /** One datagram of a session that this node does not know. Answers with at most its own length. */
  unknownSession(now: Now, datagram: Uint8Array, from: Remote, out: NodeOutput[]): NodeOutcome {
    if (datagram.length < control.ECHO_HEAD + 8) return this.#count("malformed");
    // Of one session at one place: a stranger with other indices, or another address, takes nothing from it.
    const place = sourceLow(from) ^ Math.imul(from.port, PORT_MIX);
    const session = control.viewOf(datagram).getInt32(SESSION_NAME);
    if (!this.#unknown.take(place, session, now.ms)) return this.#count("unknown_limited");
    out.push({ kind: "send", datagram: unknownDatagram(datagram), to: from });
    return this.#count("unknown_sent");
  }

  /** See NodeSessions.authentic: tell of authentic packets of sessions that are not up. */
  authentic(now: Now, index: number, out: NodeOutput[]): void {
    this.sessions.authentic(now, index, out);
  }

  /** Introduces a sender that the client of session `index` does not know. False: no such session, or too many wait. */
  announce(now: Now, index: number, sender: Sender, to: Remote, once: boolean, out: NodeOutput[]): boolean {
    const session = this.sessions.get(index);
    if (session === undefined) return false;
    return this.#announcer.announce(now, session, sender, this.#u32(), to, once, sendTo(out));
  }

  acknowledged(index: number, sender: Sender): void {
    this.#announcer.acknowledged(index, sender);
  }

  tick(now: Now, out: NodeOutput[]): void {
    this.#load.rest(now.ms);
    this.sessions.tick(now, out);
    this.#announcer.tick(now, sendTo(out));
  }

  nextTimeout(): number {
    return Math.min(this.sessions.nextTimeout(), this.#announcer.nextTimeout());
  }

  #init(now: Now, datagram: Uint8Array, from: Remote, out: NodeOutput[]): NodeOutcome {
    const loaded = this.#load.arrived(now.ms);
    const group = this.#groupKeys.ofInit(datagram);
    if (group === undefined) return "mac1_wrong";
    const unproven = this.#checkAddress(now, datagram, from, loaded, out);
    if (unproven !== undefined) return unproven;
    const noise = datagram.subarray(control.NOISE, control.MAC1);
    const claimed = openStatic(prologueOf(this.#groupName, datagram), group, noise);
    if (claimed === undefined) return this.#failed(now, from, "forged");
    const clientKey = toHex(claimed.remoteStatic);
    this.#asker = { clientName: "", clientKey };
    const client = this.#clients.find(clientKey);
    if (client === undefined) return this.#failed(now, from, "client_unknown");
    // A rekey is spared one DH of five.
    const isInForce = group === this.#groupKeys.inForce;
    const first = openFirst(group, claimed, isInForce ? this.sessions.staticSharedOf(clientKey) : undefined);
    if (first === undefined) return this.#failed(now, from, "forged");
    this.#asker = { clientName: client.name, clientKey };
    const offer = decodeOffer(first.payload);
    if (offer === undefined) return this.#failed(now, from, "malformed");
    const seen = this.#timestamps.greatest(clientKey);
    if (!this.#mayAsk(now, claimed.remoteStatic, offer.timestamp > seen)) return "rate_limited";
    const agreed = agree(first, this.#entropy.keyPair(), client.psk);
    if (agreed === undefined) return this.#failed(now, from, "forged");
    const receiver = control.viewOf(datagram).getUint16(control.RECEIVER);
    const instance = toHex(offer.instance);
    const request = { clientKey, client, clientStatic: claimed.remoteStatic, instance, receiver, from };
    const decided = this.#decide(now, {
      ...request,
      ...{ timestamp: offer.timestamp, seen },
      aeads: offer.aeads,
      modes: offer.modes,
      secret: sessionSecret(agreed.keys),
      expiryMs: now.wallMs + this.#config.ticketLifetimeMs,
      wanted: [],
      index: -1,
      resumed: false,
    });
    const { message } = writeSecond(agreed, decided.answer);
    const response = control.begin(control.RESPONSE, control.NOISE + message.length, transactionOf(datagram));
    control.viewOf(response).setUint16(control.RECEIVER, receiver);
    response.set(message, control.NOISE);
    const { session } = decided;
    if (session !== undefined && !isInForce) out.push({ kind: "outdated_key", index: session.index });
    return this.#finish(now, response, decided, from, out, isInForce ? first.staticShared : undefined);
  }

  #resume(now: Now, datagram: Uint8Array, from: Remote, out: NodeOutput[]): NodeOutcome {
    const loaded = this.#load.arrived(now.ms);
    const view = control.viewOf(datagram);
    const timestamp = control.readTime(view, control.RESUME_TIMESTAMP);
    const ticketEnd = control.RESUME_TICKET + view.getUint16(control.RESUME_TICKET_LEN);
    if (timestamp < 0 || ticketEnd > control.MAC1) return "malformed";
    const unproven = this.#checkAddress(now, datagram, from, loaded, out);
    if (unproven !== undefined) return unproven;
    const ticket = openTicket(this.#config.ticketKeys, datagram.subarray(control.RESUME_TICKET, ticketEnd));
    if (ticket === undefined || !inForce(ticket, now) || !this.#config.aeads.includes(ticket.aead)) {
      // The client can't go on with this ticket: let it begin anew without waiting for its timer.
      out.push({ kind: "send", datagram: unknownDatagram(datagram), to: from });
      return this.#failed(now, from, "ticket_unknown");
    }
    const mac = hmac(resumeKey(ticket.resumption), datagram.subarray(0, control.MAC1)).subarray(0, control.MAC_LEN);
    if (!equalBytes(mac, datagram.subarray(control.MAC1, control.MAC2))) return this.#failed(now, from, "forged");
    const clientKey = toHex(ticket.clientKey);
    const client = this.#clients.find(clientKey);
    this.#asker = { clientName: client?.name ?? "", clientKey };
    if (client === undefined) return this.#failed(now, from, "client_unknown");
    const seen = this.#timestamps.greatest(clientKey);
    if (!this.#mayAsk(now, ticket.clientKey, timestamp > seen)) return "rate_limited";
    const remote = datagram.subarray(control.EPHEMERAL, control.EPHEMERAL + KEY_LEN);
    const ephemeral = this.#entropy.keyPair();
    const shared = ephemeral.shared(remote);
    if (shared === undefined) return "malformed";
    const keys = resumedKeys(ticket.resumption, shared, remote, ephemeral.publicKey);
    const receiver = view.getUint16(control.RECEIVER);
    const instance = toHex(ticket.instance);
    const decided = this.#decide(now, {
      ...{ clientKey, client, clientStatic: ticket.clientKey, instance, receiver, from },
      ...{ timestamp, seen },
      aeads: 1 << ticket.aead,
      modes: ticket.modes,
      secret: keys.secret,
      expiryMs: ticket.expiryMs,
      wanted: ticket.addresses,
      index: ticket.index,
      resumed: true,
    });
    const length = control.RESUMED_SEALED + decided.answer.length + control.MAC_LEN;
    const resumed = control.begin(control.RESUMED, length, transactionOf(datagram));
    control.viewOf(resumed).setUint16(control.RECEIVER, receiver);
    resumed.set(ephemeral.publicKey, control.EPHEMERAL);
    const head = resumed.subarray(0, control.RESUMED_SEALED);
    resumed.set(sealChaChaPoly(keys.answer, new Uint8Array(12), head, decided.answer), control.RESUMED_SEALED);
    return this.#finish(now, resumed, decided, from, out);
  }

  /**
   * Under load a request is read on only if it shows that its sender gets what is sent to its address, so nobody can act in
   * the name of another address. Undefined: read on.
   */
  #checkAddress(
    now: Now,
    request: Uint8Array,
    from: Remote,
    loaded: boolean,
    out: NodeOutput[],
  ): NodeOutcome | undefined {
    // A cookie that is wrong also without load: the client's address changed. Give it the right one.
    if (!loaded && !hasMac2(request)) return undefined;
    if (!this.#cookies.check(from, now.wallMs, request)) {
      out.push({ kind: "send", datagram: cookieDatagram(request, this.#cookies.make(from, now.wallMs)), to: from });
      return "cookie_sent";
    }
    return loaded && !this.#failures.has(sourceHigh(from), sourceLow(from), now.ms) ? "rate_limited" : undefined;
  }

  /** A request that proves nothing counts against its address under load, when it is the true one. */
  #failed(now: Now, from: Remote, outcome: NodeOutcome): NodeOutcome {
    if (this.#load.loaded) this.#failures.take(sourceHigh(from), sourceLow(from), now.ms);
    return outcome;
  }

  /**
   * Whose request it is has been proven here. A new one can only be the client's own; an old one may be played by anybody,
   * so these have a share of their own.
   */
  #mayAsk(now: Now, rawKey: Uint8Array, isNew: boolean): boolean {
    const view = control.viewOf(rawKey);
    const [high, low] = [view.getInt32(0), view.getInt32(4)];
    return (isNew ? this.#requests : this.#stale).take(high, low, now.ms);
  }

  /** Grants a session, or says why not. Changes nothing. */
  #decide(now: Now, request: Request): Decided {
    const { seen } = request;
    if (request.timestamp <= seen) return plain({ kind: "stale", timestamp: seen });
    const latest = Math.max(seen, Math.floor(now.wallMs));
    if (request.timestamp > latest + AHEAD_MAX_MS) return plain({ kind: "stale", timestamp: latest });
    const { aeads, rekeyAfterMs, keepaliveMs, senders, sessions } = this.#config;
    const aead = aeads.find((candidate) => (request.aeads & (1 << candidate)) !== 0);
    if (aead === undefined) return plain({ kind: "refused", reason: "no_common_aead" });
    const modes = request.modes & request.client.modes;
    if (modes === 0) return plain({ kind: "refused", reason: "mode_not_allowed" });
    const index = this.sessions.full ? undefined : this.#freeIndex(request.index);
    if (index === undefined) return plain({ kind: "refused", reason: "node_full" });
    const settings = this.#clients.settings(request.client, request.wanted);
    if (settings === undefined) return plain({ kind: "refused", reason: "no_address" });
    // Read once: they may be made when they are asked for.
    const { addresses, routes, mtuBytes, dns, searchDomains, version } = settings;
    const { clientKey, instance, receiver, secret, timestamp, from, resumed } = request;
    const key = sealingKey(this.#config.ticketKeys, now.wallMs);
    const contents = {
      ...{ aead, modes, index, clientKey: request.clientStatic, expiryMs: request.expiryMs },
      resumption: resumptionSecret(secret),
      instance: Buffer.from(instance, "hex"),
      addresses,
    };
    const ticket = (key && sealTicket(key, this.#entropy.bytes(SALT_LEN), contents)) ?? new Uint8Array(0);
    const grant: Omit<Grant, "settings"> = {
      ...{ kind: "grant", index, aead, modes, rekeyAfterMs, keepaliveMs, senders, ticket },
      expireAfterMs: sessions.expireAfterMs,
    };
    const all: Settings = { addresses, routes, mtuBytes, dns, searchDomains, version, more: false };
    const whole = routes.length > ROUTES_MAX ? undefined : encodeAnswer({ ...grant, settings: all });
    // What has no room comes over the channel, when the client asks for it.
    const some: Settings = { ...NO_SETTINGS, version, more: true };
    const answer =
      whole ??
      encodeAnswer({ ...grant, settings: { ...some, addresses, mtuBytes } }) ??
      encodeAnswer({ ...grant, settings: some });
    if (answer === undefined) return plain({ kind: "refused", reason: "settings_too_long" });
    const clientName = request.client.name;
    return {
      answer,
      told: whole === undefined ? 0 : version,
      session: {
        ...{ index, receiver, clientKey, clientName, instance, aead, modes },
        secret,
        settings,
        from,
        timestamp,
        resumed,
      },
    };
  }

  #finish(
    now: Now,
    datagram: Uint8Array,
    { answer, session, told }: Decided,
    from: Remote,
    out: NodeOutput[],
    staticShared?: Uint8Array,
  ): NodeOutcome {
    if (session !== undefined) {
      this.#timestamps.advance(session.clientKey, session.timestamp);
      this.sessions.add(now, session, out, staticShared, told);
    }
    out.push({ kind: "send", datagram, to: from });
    if (session === undefined && answer[0] === 1) return "stale";
    if (session === undefined) {
      this.#detail = refusedReasons[answer[1]] ?? "";
      return "refused";
    }
    return session.resumed ? "resumed" : "answered";
  }

  /** `wanted`: the index of the session that goes on, or -1. Undefined: this node has made as many as there are. */
  #freeIndex(wanted: number): number | undefined {
    const { creator } = this.#config;
    // Another node may know a session by the old index still: in a group each answer makes a new one.
    const keeps = creator === 0 && wanted >= 0 && creatorOf(wanted) === 0 && this.#indexKeys.accepts(wanted);
    if (keeps && this.#isFree(wanted)) return wanted;
    // A place drawn by lot, and the first free one from there on: also the last one is found.
    const first = this.#u32() % SESSION_NUMBERS;
    for (let step = 0; step < SESSION_NUMBERS; step++) {
      const index = this.#indexKeys.make(creator, (first + step) % SESSION_NUMBERS);
      if (index >= 0 && this.#isFree(index)) return index;
    }
    return undefined;
  }

  #isFree(index: number): boolean {
    return this.sessions.phase(index) === undefined && this.#clients.isTaken?.(index) !== true;
  }

  #u32(): number {
    return control.viewOf(this.#entropy.bytes(4)).getUint32(0);
  }

  #count(outcome: NodeOutcome): NodeOutcome {
    this.counters.set(outcome, (this.counters.get(outcome) ?? 0) + 1);
    return outcome;
  }
}

/** Also of a ticket that a stolen key has sealed: none lives longer than any that this group gives. */
const inForce = ({ expiryMs }: { readonly expiryMs: number }, { wallMs }: Now): boolean =>
  expiryMs >= wallMs && expiryMs <= wallMs + TICKET_LIFETIME_MAX_MS;

/** Answer to a request. */
interface Decided {
  /** Sealed payload of RESPONSE or RESUMED. */
  readonly answer: Uint8Array;
  /** Undefined: none was granted. */
  readonly session: NodeSession | undefined;
  /** Version of the settings that the answer has as a whole; 0: there is more, or no session. */
  readonly told: number;
}

/** What a request asks for, when it is proven whose it is. */
interface Request {
  readonly clientKey: string;
  readonly clientStatic: Uint8Array;
  readonly client: ClientRecord;
  readonly instance: string;
  readonly receiver: number;
  readonly from: Remote;
  readonly timestamp: number;
  /** Greatest timestamp of this client before: read once, it may be on disk. -1: none. */
  readonly seen: number;
  readonly aeads: number;
  readonly modes: number;
  readonly secret: Uint8Array;
  readonly expiryMs: number;
  readonly wanted: readonly InnerPrefix[];
  /** Index to go on with, -1 for any. */
  readonly index: number;
  readonly resumed: boolean;
}

const plain = (answer: Exclude<Answer, Grant>): Decided => ({
  ...{ answer: encodeAnswer(answer)!, session: undefined, told: 0 },
});

const toHex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

const transactionOf = (datagram: Uint8Array): number => control.viewOf(datagram).getUint32(control.TRANSACTION);

const sendTo = (out: NodeOutput[]) => (datagram: Uint8Array, to: Remote) => {
  out.push({ kind: "send", datagram, to });
};

function cookieDatagram(request: Uint8Array, cookie: Uint8Array): Uint8Array {
  const datagram = control.begin(control.COOKIE, control.COOKIE_VALUE + control.COOKIE_LEN, transactionOf(request));
  datagram.set(request.subarray(control.MAC1, control.MAC2), control.COOKIE_CAUSE);
  datagram.set(cookie, control.COOKIE_VALUE);
  return datagram;
}

/** Echoes bytes 0-15 of what caused it. */
function unknownDatagram(cause: Uint8Array): Uint8Array {
  const datagram = control.begin(control.UNKNOWN_SESSION, control.ECHO_HEAD + 8, transactionOf(cause));
  datagram.set(cause.subarray(4, 16), control.ECHO_INDEX);
  return datagram;
}

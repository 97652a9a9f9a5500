/**
 * The client's side of key exchange, sans-IO: takes control datagrams, news of the data plane and the time; appends
 * datagrams to send and what becomes of sessions. Once started it never gives up: it asks with back-off, makes sessions
 * anew before they grow old, and resumes by ticket when the group has lost one. It never reads a clock and never throws
 * on what a stranger sends. States and timers: docs/PROTOCOL.md, "Life of a session at a client".
 */
import type { CloseReason } from "../channel/unnumbered.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { equalBytes } from "../crypto/kdf.ts";
import type { KeyPair } from "../crypto/x25519.ts";
import { SentRing } from "../table/sent_ring.ts";
import {
  type ClientOutput,
  type ClientProblem,
  type ClientSession,
  type DownReason,
  knownSender,
  sessionFrom,
} from "./client_session.ts";
import type { Now } from "./clock.ts";
import * as control from "./control.ts";
import type { Grant } from "./grant.ts";
import { resumptionSecret } from "./keys.ts";
import { COOKIE_SLOT_MS, mac1Key, writeMac2 } from "./macs.ts";
import { groupNameBytes, INSTANCE_LEN } from "./offer.ts";
import { type ClientIdentity, makeInit, makeResume, type RequestSent, readAnswer, readCookie } from "./requests.ts";
import { openSender } from "./senders.ts";

export interface InitiatorConfig {
  readonly own: KeyPair;
  /** 32 bytes. */
  readonly groupKey: Uint8Array;
  readonly groupName: string;
  /** 32 bytes; zero for none. */
  readonly psk: Uint8Array;
  /** Bitmaps of AEADs and modes to ask for. */
  readonly aeads: number;
  readonly modes: number;
}

/** What another start of the same client needs to go on with a session. Secret: `ticket` and `resumption`. */
export interface KeptTicket {
  readonly ticket: Uint8Array;
  /** 32 bytes: `resumptionSecret` of the session that the ticket was granted with. */
  readonly resumption: Uint8Array;
  /** Of the start that made the session: who goes on with it is no other machine. */
  readonly instance: Uint8Array;
}

/** What became of a datagram; each is a counter. */
export type ClientOutcome =
  | "accepted"
  | "cookie"
  | "resuming"
  | "stale"
  | "refused"
  | "sender"
  | "malformed"
  | "unexpected"
  | "forged"
  | "unknown_session_unproven"
  | "senders_full";

/** Requests that may still be answered: an answer may be slower than the next try. */
const SENT_MAX = 4;
/** Forged answers to one request that are worth a try at opening. */
const FORGED_MAX = 16;
const SESSIONS_MAX = 3;
export const SENDERS_PER_SESSION = 64;
export const BOOTS_PER_SENDER = 4;

export const FIRST_RETRY_MS = 500;
/** What kept the group from answering may end at any time: nobody waits much longer for it. */
export const RETRY_MAX_MS = 8_000;
/** A refusal comes from the group itself: only a person, or time, changes it. */
export const REFUSED_RETRY_MS = 16_000;
const RESUME_TRIES = 3;
const CONFIRM_FIRST_MS = 250;
const CONFIRM_TRIES = 5;
/** The old session is still opened for so long after the new one was heard. */
export const OVERLAP_MS = 30_000;
/** Something was sent and nothing came back. */
export const SILENCE_MS = 15_000;
export const REKEY_PACKETS = 2 ** 30;
/** Lets wait between two requests that strangers could provoke. */
const PROVOKED_MS = 1000;
const NO_ANSWER_TRIES = 4;

interface Exchange {
  kind: RequestSent["kind"];
  tries: number;
  retryAtMs: number;
  /** Monotonic, and how many requests went out since, of either kind. */
  readonly sinceMs: number;
  sent: number;
}

/** How asking for a session goes. */
export interface Asking {
  readonly kind: RequestSent["kind"];
  /** Monotonic. */
  readonly sinceMs: number;
  /** Requests since then that were not answered with a session. */
  readonly tries: number;
}

interface Held {
  session: ClientSession;
  heard: boolean;
  confirms: number;
  confirmAtMs: number;
  rekeyAtMs: number;
  readonly expireAtMs: number;
  retireAtMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;

export class Initiator {
  readonly counters = new Map<ClientOutcome, number>();
  /** The data plane notes what it seals in the newest session. */
  readonly sent = new SentRing();
  readonly #config: InitiatorConfig;
  #identity: ClientIdentity;
  readonly #entropy: Entropy;
  readonly #instance: Uint8Array;
  /** To begin with, until the first full handshake. */
  #kept: KeptTicket | undefined;
  /** Newest first. The first is the one to seal with. */
  readonly #sessions: Held[] = [];
  #requests: { readonly sent: RequestSent; forged: number }[] = [];
  #exchange: Exchange | undefined;
  #timestamp = 0;
  /** What is taken off our clock for timestamps, ms: the group says that it is ahead. */
  #aheadMs = 0;
  #cookie: { readonly value: Uint8Array; readonly untilMs: number } | undefined;
  #provokedAtMs = Number.NEGATIVE_INFINITY;
  #unansweredSinceMs = NEVER;

  /** `kept`: of an earlier start. One that the group does not take costs a round trip and does nothing else. */
  constructor(config: InitiatorConfig, entropy: Entropy, kept?: KeptTicket) {
    this.#config = config;
    this.#entropy = entropy;
    this.#kept = kept;
    this.#instance = kept?.instance ?? entropy.bytes(INSTANCE_LEN);
    const { own, groupKey, psk } = config;
    const groupName = groupNameBytes(config.groupName);
    this.#identity = { own, groupKey, psk, groupName, mac1Key: mac1Key(groupKey) };
  }

  /** The group has another static key: requests from the next one on are made for it. 32 bytes. */
  useGroupKey(groupKey: Uint8Array): void {
    this.#identity = { ...this.#identity, groupKey, mac1Key: mac1Key(groupKey) };
    // A cookie proves the address, whatever the key: it stays.
  }

  /** The session to seal with. */
  get current(): ClientSession | undefined {
    return this.#sessions[0]?.session;
  }

  /** What to keep of a session for another start; undefined when it has no ticket. */
  keep({ ticket, secret }: ClientSession): KeptTicket | undefined {
    return ticket.length > 0 ? { ticket, resumption: resumptionSecret(secret), instance: this.#instance } : undefined;
  }

  /** When another key is asked for, monotonic; undefined: this is not the session to seal with. */
  rekeyAtMs(receiver: number): number | undefined {
    const at = this.#sessions.findIndex(({ session }) => session.receiver === receiver);
    return at === 0 ? this.#sessions[0].rekeyAtMs : undefined;
  }

  /** Whether the group has been heard in the session to seal with. */
  get confirmed(): boolean {
    return this.#sessions[0]?.heard ?? false;
  }

  /** While requests are sent. */
  get asking(): Asking | undefined {
    const exchange = this.#exchange;
    return exchange && { kind: exchange.kind, sinceMs: exchange.sinceMs, tries: exchange.sent };
  }

  /** Begins to ask for a session. Also the way back after "stopped" and "replaced". */
  start(now: Now, out: ClientOutput[]): void {
    this.#begin(now, this.#kept === undefined ? "init" : "resume", out);
  }

  /** Ends everything. Seal CLOSE in the current session before. */
  stop(out: ClientOutput[]): void {
    this.#drop("stopped", out);
  }

  /** One datagram with mux 0xFFFF. */
  receive(now: Now, datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    return this.#count(this.#dispatch(now, datagram, out));
  }

  /** The data plane sealed packets that want an answer, `seq` the last of them, in the current session. */
  sealed(now: Now, seq: number): void {
    if (this.#unansweredSinceMs === NEVER) this.#unansweredSinceMs = now.ms;
    this.#used(now, this.#sessions[0], seq);
  }

  /** An authentic packet with this receiver index and seq arrived. */
  heard(now: Now, receiver: number, seq: number): void {
    this.#unansweredSinceMs = NEVER;
    const held = this.#sessions.find(({ session }) => session.receiver === receiver);
    this.#used(now, held, seq);
    if (held === undefined || held.heard) return;
    held.heard = true;
    held.confirmAtMs = NEVER;
    for (const older of this.#sessions.slice(this.#sessions.indexOf(held) + 1)) {
      older.retireAtMs = Math.min(older.retireAtMs, now.ms + OVERLAP_MS);
    }
  }

  /** CLOSE arrived in the session with this receiver index. */
  closedByGroup(now: Now, receiver: number, reason: CloseReason, out: ClientOutput[]): void {
    const held = this.#sessions.find(({ session }) => session.receiver === receiver);
    if (held === undefined) return;
    const wasCurrent = held === this.#sessions[0];
    if (reason === "replaced") {
      this.#drop("replaced", out);
      this.#problem({ reason: "replaced" }, out);
      return;
    }
    this.#retire(held, out);
    if (!wasCurrent) return;
    if (this.#sessions.length === 0) out.push({ kind: "down", reason });
    if (this.#exchange === undefined) this.#begin(now, "init", out);
  }

  /** The client's address or interface changed: cookies are bound to it. Seal something, so that the group learns it. */
  moved(): void {
    this.#cookie = undefined;
  }

  /** Requests go to another place now that was not asked yet: the pauses begin anew there. */
  redirected(now: Now, out: ClientOutput[]): void {
    if (this.#exchange === undefined) return;
    this.#exchange.tries = 0;
    this.#ask(now, this.#exchange, out);
  }

  tick(now: Now, out: ClientOutput[]): void {
    for (const held of [...this.#sessions]) {
      if (Math.min(held.expireAtMs, held.retireAtMs) > now.ms) continue;
      const wasCurrent = held === this.#sessions[0];
      this.#retire(held, out);
      if (this.#sessions.length === 0) out.push({ kind: "down", reason: "expired" });
      if (wasCurrent && this.#exchange === undefined) this.#begin(now, "init", out);
    }
    const current = this.#sessions[0];
    if (current !== undefined && this.#exchange === undefined) {
      if (now.ms - this.#unansweredSinceMs >= SILENCE_MS) this.#begin(now, "resume", out);
      else if (now.ms >= current.rekeyAtMs) this.#begin(now, "init", out);
    }
    if (current !== undefined && now.ms >= current.confirmAtMs) this.#confirm(now, current, out);
    if (this.#exchange !== undefined && now.ms >= this.#exchange.retryAtMs) this.#ask(now, this.#exchange, out);
  }

  /** Monotonic time of the next `tick` that does something; Infinity for none. */
  nextTimeout(): number {
    let next = this.#exchange?.retryAtMs ?? NEVER;
    for (const held of this.#sessions) next = Math.min(next, held.expireAtMs, held.retireAtMs);
    const current = this.#sessions[0];
    if (current === undefined) return next;
    next = Math.min(next, current.confirmAtMs);
    if (this.#exchange !== undefined) return next;
    return Math.min(next, current.rekeyAtMs, this.#unansweredSinceMs + SILENCE_MS);
  }

  #dispatch(now: Now, datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    switch (control.check(datagram)) {
      case 0:
        return "malformed";
      case control.RESPONSE:
        return this.#answered(now, "init", datagram, out);
      case control.RESUMED:
        return this.#answered(now, "resume", datagram, out);
      case control.COOKIE:
        return this.#cookied(now, datagram, out);
      case control.UNKNOWN_SESSION:
        return this.#unknown(now, datagram, out);
      case control.SENDER:
        return this.#introduced(now, datagram, out);
      default:
        return "unexpected";
    }
  }

  #answered(now: Now, kind: RequestSent["kind"], datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    const request = this.#request(kind, datagram);
    if (request === undefined || request.forged >= FORGED_MAX) return "unexpected";
    const answered = readAnswer(request.sent, this.#config.psk, datagram);
    if (typeof answered === "string") {
      request.forged++;
      return answered;
    }
    const { answer, secret } = answered;
    if (answer.kind === "grant") {
      this.#establish(now, answer, request.sent, secret, out);
      return "accepted";
    }
    if (answer.kind === "refused") {
      this.#problem({ reason: "refused", why: answer.reason }, out);
      this.#requests = [];
      if (this.#exchange !== undefined) {
        this.#exchange.kind = "init";
        this.#exchange.tries = 0;
        this.#exchange.retryAtMs = now.ms + this.#jittered(REFUSED_RETRY_MS);
      }
      return "refused";
    }
    const isAhead = answer.timestamp < request.sent.timestamp;
    // Our own request, seen twice by the group, is no problem of clocks.
    if (!isAhead && answer.timestamp <= this.#timestamp) return "stale";
    this.#problem({ reason: "clock", seenMs: answer.timestamp, ownMs: now.wallMs }, out);
    // All requests so far have the same fault, and are not answered twice.
    if (isAhead) this.#requests = [];
    if (isAhead) this.#aheadMs = Math.floor(now.wallMs) - answer.timestamp;
    this.#timestamp = Math.min(answer.timestamp, control.TIMESTAMP_MAX - 1);
    if (this.#exchange !== undefined) this.#ask(now, this.#exchange, out);
    return "stale";
  }

  #cookied(now: Now, datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    const sent = (this.#request("init", datagram) ?? this.#request("resume", datagram))?.sent;
    if (sent === undefined || sent.cookied) return "unexpected";
    const cookie = readCookie(sent, datagram);
    if (cookie === undefined) return "forged";
    this.#cookie = { value: cookie, untilMs: now.ms + COOKIE_SLOT_MS };
    sent.cookied = true;
    writeMac2(cookie, sent.datagram);
    out.push({ kind: "send", datagram: sent.datagram });
    return "cookie";
  }

  #unknown(now: Now, datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    const view = control.viewOf(datagram);
    const resume = this.#request("resume", datagram);
    if (resume !== undefined && this.#exchange !== undefined) {
      const own = resume.sent.datagram.subarray(4, 16);
      if (!equalBytes(own, datagram.subarray(control.ECHO_INDEX))) return "unknown_session_unproven";
      this.#requests = [];
      this.#begin(now, "init", out);
      return "resuming";
    }
    const current = this.#sessions[0]?.session;
    const seq = view.getUint32(control.TRANSACTION);
    const index = control.indexOf(view.getUint16(control.ECHO_INDEX), view.getUint16(control.ECHO_INDEX + 2));
    const proven = this.sent.has(seq, view.getInt32(control.ECHO_HEAD), view.getInt32(control.ECHO_HEAD + 4));
    if (current === undefined || index !== current.index || !proven) return "unknown_session_unproven";
    if (now.ms - this.#provokedAtMs < PROVOKED_MS || this.#exchange?.kind === "resume") return "unexpected";
    this.#provokedAtMs = now.ms;
    this.#begin(now, "resume", out);
    return "resuming";
  }

  #introduced(now: Now, datagram: Uint8Array, out: ClientOutput[]): ClientOutcome {
    const index = control.viewOf(datagram).getUint32(control.SENDER_INDEX);
    const held = this.#sessions.find(({ session }) => session.index === index);
    if (held === undefined) return "unexpected";
    const { session } = held;
    const sender = openSender(session, datagram);
    if (sender === undefined) return "forged";
    const boots = session.senders.filter(({ senderId }) => senderId === sender.senderId);
    if (!boots.some(({ bootId }) => equalBytes(bootId, sender.bootId))) {
      if (boots.length >= BOOTS_PER_SENDER || session.senders.length >= SENDERS_PER_SESSION) {
        held.rekeyAtMs = now.ms;
        return "senders_full";
      }
      const known = knownSender(session, sender);
      held.session = { ...session, senders: [...session.senders, known] };
      out.push({ kind: "sender", session: held.session, sender: known });
    }
    out.push({ kind: "acknowledge", session: held.session, sender });
    return "sender";
  }

  #establish(now: Now, grant: Grant, sent: RequestSent, secret: Uint8Array, out: ClientOutput[]): void {
    this.#requests = [];
    this.#exchange = undefined;
    this.#unansweredSinceMs = NEVER;
    this.sent.clear();
    const session = sessionFrom(grant, sent, secret, this.#identity.own.publicKey);
    const held: Held = {
      session,
      heard: false,
      confirms: 0,
      confirmAtMs: now.ms,
      rekeyAtMs: now.ms + grant.rekeyAfterMs * (0.9 + 0.1 * this.#unit()),
      expireAtMs: now.ms + grant.expireAfterMs,
      retireAtMs: NEVER,
    };
    this.#sessions.unshift(held);
    if (this.#sessions.length > SESSIONS_MAX) this.#retire(this.#sessions.at(-1)!, out);
    out.push({ kind: "up", session });
    this.#confirm(now, held, out);
  }

  #confirm(now: Now, held: Held, out: ClientOutput[]): void {
    if (held.confirms >= CONFIRM_TRIES) {
      held.confirmAtMs = NEVER;
      if (this.#exchange === undefined) this.#begin(now, "resume", out);
      return;
    }
    held.confirmAtMs = now.ms + this.#jittered(CONFIRM_FIRST_MS * 2 ** held.confirms);
    held.confirms++;
    out.push({ kind: "confirm", session: held.session });
  }

  #begin(now: Now, kind: RequestSent["kind"], out: ClientOutput[]): void {
    const { sinceMs, sent } = this.#exchange ?? { sinceMs: now.ms, sent: 0 };
    this.#exchange = { kind, tries: 0, retryAtMs: now.ms, sinceMs, sent };
    this.#unansweredSinceMs = NEVER;
    this.#ask(now, this.#exchange, out);
  }

  #ask(now: Now, exchange: Exchange, out: ClientOutput[]): void {
    const current = this.#sessions[0]?.session;
    const from = current === undefined ? this.#kept : this.keep(current);
    if (exchange.kind === "resume" && (from === undefined || exchange.tries >= RESUME_TRIES)) {
      exchange.kind = "init";
      exchange.tries = 0;
    }
    if (exchange.kind === "init") this.#kept = undefined;
    this.#timestamp = Math.min(
      Math.max(Math.floor(now.wallMs) - this.#aheadMs, this.#timestamp + 1, 0),
      control.TIMESTAMP_MAX,
    );
    const transaction = this.#u32();
    const sent =
      exchange.kind === "resume"
        ? makeResume(
            from!.ticket,
            from!.resumption,
            this.#entropy.keyPair(),
            this.#timestamp,
            transaction,
            this.#receiver(),
            this.#cookieAt(now),
          )
        : this.#makeInit(now, transaction);
    exchange.tries++;
    exchange.retryAtMs = now.ms + this.#jittered(Math.min(RETRY_MAX_MS, FIRST_RETRY_MS * 2 ** (exchange.tries - 1)));
    const unanswered = exchange.tries - 1;
    if (exchange.kind === "init" && unanswered > 0 && unanswered % NO_ANSWER_TRIES === 0)
      this.#problem({ reason: "no_answer" }, out);
    if (sent === undefined) return;
    exchange.sent++;
    this.#requests = [{ sent, forged: 0 }, ...this.#requests].slice(0, SENT_MAX);
    out.push({ kind: "send", datagram: sent.datagram });
  }

  #makeInit(now: Now, transaction: number): RequestSent | undefined {
    const { aeads, modes } = this.#config;
    const offer = { timestamp: this.#timestamp, aeads, modes, instance: this.#instance };
    return makeInit(this.#identity, this.#entropy.keyPair(), offer, transaction, this.#receiver(), this.#cookieAt(now));
  }

  #cookieAt(now: Now): Uint8Array | undefined {
    return this.#cookie !== undefined && this.#cookie.untilMs > now.ms ? this.#cookie.value : undefined;
  }

  /** 2^30 packets either way: time for another key. Packets of a replaced session change nothing. */
  #used(now: Now, held: Held | undefined, seq: number): void {
    if (held !== undefined && seq >= REKEY_PACKETS) held.rekeyAtMs = Math.min(held.rekeyAtMs, now.ms);
  }

  #request(kind: RequestSent["kind"], datagram: Uint8Array) {
    const transaction = control.viewOf(datagram).getUint32(control.TRANSACTION);
    return this.#requests.find(({ sent }) => sent.kind === kind && sent.transaction === transaction);
  }

  /** A receiver index that no session and no open request has. */
  #receiver(): number {
    for (;;) {
      const receiver = this.#u32() % (control.RECEIVER_MAX + 1);
      const taken =
        this.#sessions.some(({ session }) => session.receiver === receiver) ||
        this.#requests.some(({ sent }) => sent.receiver === receiver);
      if (!taken) return receiver;
    }
  }

  #retire(held: Held, out: ClientOutput[]): void {
    this.#sessions.splice(this.#sessions.indexOf(held), 1);
    out.push({ kind: "retire", session: held.session });
  }

  #drop(reason: DownReason, out: ClientOutput[]): void {
    this.#exchange = undefined;
    this.#requests = [];
    this.#unansweredSinceMs = NEVER;
    for (const held of [...this.#sessions]) this.#retire(held, out);
    out.push({ kind: "down", reason });
  }

  #problem(problem: ClientProblem, out: ClientOutput[]): void {
    out.push({ kind: "problem", problem });
  }

  #jittered(ms: number): number {
    return ms * (0.75 + 0.5 * this.#unit());
  }

  /** [0, 1). */
  #unit(): number {
    return this.#u32() / 2 ** 32;
  }

  #u32(): number {
    return control.viewOf(this.#entropy.bytes(4)).getUint32(0);
  }

  #count(outcome: ClientOutcome): ClientOutcome {
    this.counters.set(outcome, (this.counters.get(outcome) ?? 0) + 1);
    return outcome;
  }
}

/**
 * Who recorded a client's traffic and gets the ticket key afterwards: what the recording and the key open together, and
 * that nothing else opens. Real handshakes on virtual time; the attacker tries every derivation of docs/PROTOCOL.md.
 */
import { describe, expect, test } from "vitest";
import { openAead, sealAead } from "../../src/crypto/aead.ts";
import { expand } from "../../src/crypto/kdf.ts";
import { readHeader } from "../../src/crypto/satp.ts";
import type { ClientOutput, ClientSession } from "../../src/handshake/client_session.ts";
import * as control from "../../src/handshake/control.ts";
import type { Initiator } from "../../src/handshake/initiator.ts";
import { type Aead, clientKey, resumedKeys, resumptionSecret } from "../../src/handshake/keys.ts";
import type { NodeOutput } from "../../src/handshake/node_sessions.ts";
import { makeResume } from "../../src/handshake/requests.ts";
import type { Responder } from "../../src/handshake/responder.ts";
import { openTicket, sealTicket, type TicketContents } from "../../src/handshake/ticket.ts";
import { at, endpoint, Group } from "../handshake/party.ts";

const FROM = endpoint(9);
/** AEADs of sessions as `crypto/aead.ts` numbers them. */
const ALGORITHM = { 1: 1, 2: 0, 3: 2 } as const;

/** Carries what the client says to the node and back until both are silent. Everything is recorded. */
function talk(client: Initiator, node: Responder, ms: number, first: ClientOutput[], recorded: Uint8Array[]) {
  const said = [...first];
  let waiting = first;
  while (waiting.length > 0) {
    const answers: NodeOutput[] = [];
    const more: ClientOutput[] = [];
    for (const output of waiting)
      if (output.kind === "send") {
        recorded.push(output.datagram.slice());
        node.receive(at(ms), output.datagram, FROM, answers);
      }
    for (const output of answers)
      if (output.kind === "send") {
        recorded.push(output.datagram.slice());
        client.receive(at(ms), output.datagram, more);
      }
    said.push(...more);
    waiting = more;
  }
  return said.flatMap((output) => (output.kind === "up" ? [output.session] : []))[0];
}

function sealed(session: ClientSession, text: string): Uint8Array {
  const header = { seq: 1, senderId: session.index >>> 15, mux: 0x8000 | (session.index & 0x7fff) };
  const key = { algorithm: ALGORITHM[session.aead], sealKey: session.sealKey, openKey: session.sealKey };
  return sealAead(key, header, 0x800, new TextEncoder().encode(text));
}

function opens(secret: Uint8Array, aead: Aead, datagram: Uint8Array): boolean {
  const key = clientKey(secret, aead);
  const keys = { algorithm: ALGORITHM[aead], sealKey: key, openKey: key };
  return openAead(keys, datagram, readHeader(datagram)!).result === "opened";
}

/** A life: full handshake, data, RESUME at a node that lost its memory, data. And all that passed on the wire. */
function life() {
  const group = new Group(70);
  const client = group.client("a");
  const wire: Uint8Array[] = [];
  const out: ClientOutput[] = [];
  client.start(at(0), out);
  const before = talk(client, group.node(), 0, out, wire);
  const dataBefore = sealed(before, "said before");
  client.heard(at(1), before.receiver, 0);
  client.sealed(at(1), 1);
  const resume: ClientOutput[] = [];
  client.tick(at(20_000), resume);
  const after = talk(client, group.node(), 20_000, resume, wire);
  return { group, before, after, wire, dataBefore, dataAfter: sealed(after, "said after") };
}

describe("recorded, then the ticket key stolen", () => {
  test("opens the ticket in RESUME and who the client is; no data before it, none after it", () => {
    const { group, before, after, wire, dataBefore, dataAfter } = life();
    expect(after.resumed).toBe(true);
    // The data can be opened at all: with the secrets of the sessions.
    expect(opens(before.secret, before.aead, dataBefore)).toBe(true);
    expect(opens(after.secret, after.aead, dataAfter)).toBe(true);
    const request = wire.find((datagram) => control.check(datagram) === control.RESUME)!;
    const answer = wire.find((datagram) => control.check(datagram) === control.RESUMED)!;
    const length = new DataView(request.buffer).getUint16(control.RESUME_TICKET_LEN);
    const at = control.RESUME_TICKET;
    const ticket = openTicket(group.config.ticketKeys, request.subarray(at, at + length)) as TicketContents;
    expect(Buffer.from(ticket.resumption)).toEqual(Buffer.from(resumptionSecret(before.secret)));
    const ephemerals = [request, answer].map((datagram) =>
      datagram.subarray(control.EPHEMERAL, control.EPHEMERAL + 32),
    );
    const zero = new Uint8Array(32);
    const guesses = [ticket.resumption, resumptionSecret(ticket.resumption)];
    for (const label of ["session", "resumed", "answer", "resume", "resumption", "c2g"])
      guesses.push(expand(ticket.resumption, label));
    for (const shared of [zero, ...ephemerals, ticket.resumption]) {
      const keys = resumedKeys(ticket.resumption, shared, ephemerals[0], ephemerals[1]);
      guesses.push(keys.secret, keys.answer);
    }
    for (const secret of guesses)
      for (const data of [dataBefore, dataAfter]) expect(opens(secret, before.aead, data)).toBe(false);
  });

  test("tickets in RESPONSE and RESUMED are sealed: they open with no ticket key", () => {
    const { group, wire } = life();
    for (const datagram of wire) {
      if (control.check(datagram) === control.RESUME) continue;
      for (let at = 0; at < datagram.length - 100; at++)
        expect(openTicket(group.config.ticketKeys, datagram.subarray(at, at + 188))).toBeUndefined();
    }
  });
});

test("a ticket that a stolen key has sealed counts for 48 hours at most", () => {
  const group = new Group(71);
  const node = group.node();
  const own = group.entropy.keyPair();
  group.client("victim", {}, own);
  const contents = (expiryMs: number): TicketContents => ({
    ...{ aead: 1, modes: 1, index: 12_345, clientKey: own.publicKey, resumption: new Uint8Array(32).fill(5) },
    ...{ instance: new Uint8Array(8), expiryMs, addresses: [] },
  });
  const [hour, start] = [3_600_000, at(0).wallMs];
  for (const [expiryMs, outcome] of [
    [2 ** 48 - 1, "ticket_unknown"],
    [start + 48 * hour + 1, "ticket_unknown"],
    [start - 1, "ticket_unknown"],
    [start + 48 * hour, "resumed"],
  ] as const) {
    const ticket = sealTicket(group.config.ticketKeys[0], new Uint8Array(16), contents(expiryMs))!;
    const request = makeResume(ticket, new Uint8Array(32).fill(5), group.entropy.keyPair(), start, 7, 1);
    expect(node.receive(at(0), request.datagram, FROM, [])).toBe(outcome);
  }
});

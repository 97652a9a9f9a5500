/** What is written is read again; what is cut or out of range is not. And the published values of docs/PROTOCOL.md. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { Endpoint } from "../../src/base/ip.ts";
import { CookieTags, cookieTagKeyOf } from "../../src/crypto/cookie_tags.ts";
import { kindOfRequest, NOTHING, PROVEN_ASK } from "../../src/dataplane/control_budget.ts";
import * as control from "../../src/handshake/control.ts";
import { type Answer, decodeAnswer, encodeAnswer, refusedReasons } from "../../src/handshake/grant.ts";
import {
  type Aead,
  clientKey,
  groupKey,
  resumedKeys,
  resumptionSecret,
  sessionSecret,
} from "../../src/handshake/keys.ts";
import { Buckets, LoadDetector, sourceHigh, sourceLow } from "../../src/handshake/limits.ts";
import { COOKIE_SLOT_MS, Cookies, writeMac2 } from "../../src/handshake/macs.ts";
import { decodeOffer, encodeOffer, groupNameBytes } from "../../src/handshake/offer.ts";
import { decodeSettings, encodeSettings, NO_SETTINGS, type Settings } from "../../src/handshake/settings.ts";
import { openTicket, sealingKey, sealTicket, type TicketContents } from "../../src/handshake/ticket.ts";
import { SENT_RING, SentRing } from "../../src/table/sent_ring.ts";
import { endpoint, hex, SETTINGS, ticketKey } from "./party.ts";

const exactly = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const v4 = word.map((w3) => ({ family: 4 as const, w0: 0, w1: 0, w2: 0xffff, w3 }));
const v6 = fc.tuple(word, word, word, word).map(([w0, w1, w2, w3]) => ({ family: 6 as const, w0, w1, w2, w3 }));
const prefix = fc.oneof(
  fc.tuple(v4, fc.nat(32)).map(([a, length]) => ({ ...a, length })),
  fc.tuple(v6, fc.nat(128)).map(([a, length]) => ({ ...a, length })),
);
const settings: fc.Arbitrary<Settings> = fc.record({
  addresses: fc.array(prefix, { maxLength: 4 }),
  routes: fc.array(prefix, { maxLength: 4 }),
  mtuBytes: fc.nat(65_535),
  dns: fc.array(fc.oneof(v4, v6), { maxLength: 3 }),
  searchDomains: fc.array(fc.domain(), { maxLength: 2 }),
  version: fc.nat(0xffffffff),
  more: fc.boolean(),
});
const aead = fc.constantFrom<Aead>(1, 2, 3);
const index = fc.integer({ min: 0, max: 2 ** 31 - 1 }).filter((i) => (i & 0x7fff) !== 0x7fff);
const seconds = fc.integer({ min: 1, max: 65_535 }).map((s) => s * 1000);
const answer: fc.Arbitrary<Answer> = fc.oneof(
  fc.record({ kind: fc.constant("stale" as const), timestamp: time }),
  fc.record({
    kind: fc.constant("refused" as const),
    reason: fc.constantFrom(...refusedReasons).filter((r) => r !== ""),
  }),
  fc.record({
    kind: fc.constant("grant" as const),
    ...{ index, aead, modes: fc.nat(65_535), rekeyAfterMs: seconds, expireAfterMs: seconds, keepaliveMs: seconds },
    senders: fc.array(fc.record({ senderId: fc.nat(65_535), bootId: exactly(8) }), { maxLength: 8 }),
    ticket: fc.uint8Array({ maxLength: 300 }),
    settings,
  }),
);

test("answers", () => {
  fc.assert(
    fc.property(answer, (value) => {
      const bytes = encodeAnswer(value)!;
      expect(decodeAnswer(bytes)).toEqual(value);
      if (value.kind !== "grant") {
        for (let n = 0; n < bytes.length; n++) expect(decodeAnswer(bytes.subarray(0, n))).toBeUndefined();
      }
    }),
  );
});

test("a grant cut at any byte is refused, or is a grant whose last settings are missing", () => {
  const grant: Answer = {
    ...{ kind: "grant", index: 5, aead: 1, modes: 1, rekeyAfterMs: 1000, expireAfterMs: 2000, keepaliveMs: 0 },
    ...{ senders: [{ senderId: 1, bootId: new Uint8Array(8) }], ticket: new Uint8Array(9), settings: SETTINGS },
  };
  const bytes = encodeAnswer(grant)!;
  const records = bytes.length - encodeSettings(SETTINGS).length;
  for (let n = 0; n < bytes.length; n++) {
    const cut = decodeAnswer(bytes.subarray(0, n));
    if (n < records) expect(cut, `${n}`).toBeUndefined();
    if (cut?.kind === "grant") expect(encodeAnswer(cut)).toEqual(bytes.slice(0, n));
  }
  for (const [at, value] of [
    [1, 0],
    [1, 4],
    [4, 0x80],
    [14, 33],
    [0, 3],
  ]) {
    const changed = bytes.slice();
    changed[at] = value;
    expect(decodeAnswer(changed), `byte ${at} = ${value}`).toBeUndefined();
  }
  expect(encodeAnswer({ ...grant, ticket: new Uint8Array(401) })).toBeUndefined();
});

test("settings: what is unknown is skipped, what does not fit is refused", () => {
  fc.assert(fc.property(settings, (value) => void expect(decodeSettings(encodeSettings(value))).toEqual(value)));
  expect(decodeSettings(Uint8Array.of(99, 2, 1, 1, 3, 2, 5, 120))).toEqual({ ...NO_SETTINGS, mtuBytes: 1400 });
  for (const bad of [
    [1],
    [1, 5, 33, 1, 2, 3, 4],
    [1, 0],
    [2, 4, 1, 2, 3, 4],
    [3, 1, 9],
    [4, 5, 1, 1, 1, 1, 1],
    [5, 3, 65],
  ])
    expect(decodeSettings(Uint8Array.from(bad)), `${bad}`).toBeUndefined();
});

test("offers: fixed length, timestamps below 2^48", () => {
  const offer = { timestamp: 0, aeads: 14, modes: 3, instance: new Uint8Array(8).fill(3) };
  const bytes = encodeOffer(offer);
  expect(bytes.length).toBe(1056);
  fc.assert(
    fc.property(
      time,
      (timestamp) => void expect(decodeOffer(encodeOffer({ ...offer, timestamp }))).toEqual({ ...offer, timestamp }),
    ),
  );
  bytes[1] = 1;
  expect(decodeOffer(bytes)).toBeUndefined();
  expect(() => groupNameBytes("x".repeat(256))).toThrow(/255/);
});

const ticket: fc.Arbitrary<TicketContents> = fc.record({
  ...{ aead, modes: fc.nat(65_535), index, clientKey: exactly(32), resumption: exactly(32), instance: exactly(8) },
  ...{ expiryMs: time, addresses: fc.array(prefix, { maxLength: 8 }) },
});
const key = (id: number) => ticketKey(id, new Uint8Array(32).fill(id));

test("tickets: opened under each key of the ring, also where ids collide, not under others; never longer than 400 bytes", () => {
  fc.assert(
    fc.property(ticket, exactly(16), (contents, salt) => {
      const sealed = sealTicket(key(1), salt, contents)!;
      expect(sealed.length).toBeLessThanOrEqual(400);
      expect(openTicket([key(1)], sealed)).toEqual(contents);
      expect(openTicket([key(2), { ...key(3), id: 1 }, key(1)], sealed)).toEqual(contents);
      expect(openTicket([key(2), key(3)], sealed)).toBeUndefined();
      expect(openTicket([{ ...key(2), id: 1 }], sealed)).toBeUndefined();
      if (contents.resumption.some((byte) => byte !== 0)) expect(hex(sealed)).not.toContain(hex(contents.resumption));
    }),
  );
  const sample = fc.sample(ticket, { numRuns: 1, seed: 1 })[0];
  const many = {
    ...sample,
    addresses: Array.from({ length: 15 }, () => fc.sample(v6, 1)[0]).map((a) => ({ ...a, length: 64 })),
  };
  expect(sealTicket(key(1), new Uint8Array(16), many)).toBeUndefined();
});

test("the newest key that is usable seals, whatever the order of the ring", () => {
  const from = (id: number, notBeforeMs: number, notAfterMs: number) => ({ ...key(id), notBeforeMs, notAfterMs });
  const ring = [from(1, 100, 300), from(2, 200, 400), from(3, 200, 400), from(4, 350, 500)];
  for (const order of [ring, ring.toReversed()])
    expect([99, 100, 199, 200, 349, 350, 499, 500].map((ms) => sealingKey(order, ms)?.id)).toEqual([
      ...[undefined, 1, 1, 3, 3, 4, 4, undefined],
    ]);
});

test("the ring of sent packets knows the last 1024, by all of their words", () => {
  const ring = new SentRing();
  expect(ring.has(0, 0, 0)).toBe(false);
  for (let seq = 0xffffff00; seq < 0xffffff00 + 200; seq++) ring.note(seq, seq, -seq);
  expect(ring.has(0xffffff00, 0xffffff00, -0xffffff00)).toBe(true);
  expect(ring.has(0xffffff00, 0xffffff01, -0xffffff00)).toBe(false);
  expect(ring.has(0xffffff00, 0xffffff00, 0)).toBe(false);
  expect(ring.has(0xfffffb00, 0xffffff00, -0xffffff00)).toBe(false);
  ring.note(0xffffff00 - SENT_RING, 1, 1);
  expect(ring.has(0xffffff00, 0xffffff00, -0xffffff00)).toBe(false);
});

test("cookies differ by source, port, slot and secret; the data plane knows by the tag where one was sent", () => {
  const secret = new Uint8Array(32);
  const cookies = new Cookies(secret);
  const all = [
    cookies.make(endpoint(1), 7 * COOKIE_SLOT_MS),
    cookies.make(endpoint(2), 7 * COOKIE_SLOT_MS),
    cookies.make(endpoint(1, 5), 7 * COOKIE_SLOT_MS),
    cookies.make(endpoint(1), 8 * COOKIE_SLOT_MS),
    new Cookies(new Uint8Array(32).fill(1)).make(endpoint(1), 7 * COOKIE_SLOT_MS),
  ];
  expect(new Set(all.map(hex)).size).toBe(5);
  expect(new Set(all.map((cookie) => hex(cookie.subarray(1, 5)))).size).toBe(5);
  expect(cookies.check(endpoint(1), 0, new Uint8Array(1200).fill(255))).toBe(false);
  const tags = new CookieTags(cookieTagKeyOf(secret));
  const { w0, w1, w2, w3, port } = endpoint(1);
  expect(tags.of(7, w0, w1, w2, w3, port)).toBe(new DataView(all[0].buffer).getInt32(1));
});

test("a request with mac2 counts as proven at its own address only, whatever else is in it", () => {
  const secret = new Uint8Array(32).fill(3);
  const tags = new CookieTags(cookieTagKeyOf(secret));
  const columns = (from: Endpoint) => ({
    addr0: Int32Array.of(from.w0),
    addr1: Int32Array.of(from.w1),
    addr2: Int32Array.of(from.w2),
    addr3: Int32Array.of(from.w3),
    port: Int32Array.of(from.port),
    sock: Int32Array.of(0),
    tos: Int32Array.of(0),
  });
  const kind = (bytes: Uint8Array, from: Endpoint) =>
    kindOfRequest(control.viewOf(bytes), 0, bytes.length, columns(from), 0, tags);
  for (const type of [control.INIT, control.RESUME]) {
    const request = control.begin(type, control.REQUEST_LEN, 1);
    const first = kind(request, endpoint(1));
    writeMac2(new Cookies(secret).make(endpoint(1), 5 * COOKIE_SLOT_MS), request);
    expect(kind(request, endpoint(1))).toBe(PROVEN_ASK);
    expect(kind(request, endpoint(2))).toBe(first);
    expect(kind(request, endpoint(1, 5))).toBe(first);
    request[control.MAC2 + 2] ^= 1;
    expect(kind(request, endpoint(1))).toBe(first);
    expect(first).not.toBe(PROVEN_ASK);
  }
  for (const [type, length] of [
    [control.INIT, 1199],
    [control.RESPONSE, 1200],
    [control.SENDER, 44],
    [126, 32],
  ])
    expect(kind(control.begin(type, length, 1), endpoint(1))).toBe(NOTHING);
});

test("buckets: a name gets its rate, and IPv6 hosts of one /64 share", () => {
  const buckets = new Buckets({ perSecond: 10, burst: 5 }, 42);
  const take = (from: Endpoint, ms: number) => buckets.take(sourceHigh(from), sourceLow(from), ms);
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms++) if (take(endpoint(1), ms)) taken++;
  expect(taken).toBeGreaterThanOrEqual(104);
  expect(taken).toBeLessThanOrEqual(105);
  const host = (w1: number, w3: number) => ({ family: 6 as const, w0: 0x20010db8, w1, w2: 0, w3, port: 1 });
  const of64 = Array.from({ length: 8 }, (_, i) => take(host(1, i), 0));
  expect(of64.filter(Boolean).length).toBe(5);
  expect(buckets.has(sourceHigh(host(1, 9)), sourceLow(host(1, 9)), 0)).toBe(false);
  expect(take(host(2, 0), 0)).toBe(true);
});

test("load: on above one limit, off below the other for a while, never in between", () => {
  const load = new LoadDetector({ enterPerSecond: 100, leavePerSecond: 40, calmMs: 1000 });
  const run = (perSecond: number, fromMs: number, forMs: number) => {
    for (let t = 0; t < forMs; t += 1000 / perSecond) load.arrived(fromMs + t);
    return load.loaded;
  };
  expect(run(60, 0, 3000)).toBe(false);
  expect(run(150, 3000, 1000)).toBe(true);
  expect(run(60, 4000, 5000)).toBe(true);
  expect(run(20, 9000, 900)).toBe(true);
  expect(run(20, 9900, 1000)).toBe(false);
});

const filled = (byte: number) => new Uint8Array(32).fill(byte);

test("key derivation: the values of docs/PROTOCOL.md", () => {
  const keys = { initiatorKey: new Uint8Array(32).fill(1), responderKey: new Uint8Array(32).fill(2) };
  const secret = sessionSecret(keys);
  const sender = { senderId: 0x0102, bootId: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) };
  const session = { index: 0x0a0007db, created: 0x018bcfe56800, client: filled(6) };
  expect({
    secret: hex(secret),
    c2g: hex(clientKey(secret, 1)),
    g2c: hex(groupKey(secret, 2, session, sender)),
    resumption: hex(resumptionSecret(secret)),
    resumed: hex(resumedKeys(resumptionSecret(secret), filled(3), filled(4), filled(5)).secret),
  }).toEqual({
    secret: "b8a7e951b4b98dfe04016daec305fbd9790599202f6f5feabc1a197f946cc16d",
    c2g: "dea47a371b83a9a691c3adf08a8d3b33cd369cbb958a0a09215ba16e908fdd82",
    g2c: "daae9f846fc431e526829ae6f109ac0f",
    resumption: "658dd1399f7f95abfcccf9c01cd6c5a0491961eec49d37445ecb52dda7da65cc",
    resumed: "bdedac818e12c34d4dd64b60de2224b0f255772aeb61daf064badb0e38a0c123",
  });
});

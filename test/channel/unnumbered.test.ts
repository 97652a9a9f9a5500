/** Unnumbered control messages: what is written is what is read, and nothing else is read. */
import fc from "fast-check";
import { expect, test } from "vitest";
import * as kinds from "../../src/channel/kinds.ts";
import { closeReasons, decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../../src/channel/unnumbered.ts";

const token = fc.uint8Array({ minLength: 8, maxLength: 8 });
const message: fc.Arbitrary<Unnumbered> = fc.oneof(
  fc.record({ kind: fc.constantFrom(kinds.PING, kinds.PONG), token }),
  fc.record({ kind: fc.constant(kinds.CLOSE), reason: fc.constantFrom(...closeReasons).filter((r) => r !== "") }),
  fc.record({
    kind: fc.constant(kinds.SENDER_ACK),
    sender: fc.record({ senderId: fc.nat(65_535), bootId: token }),
  }),
  fc.record({ kind: fc.constant(kinds.PATH_PROBE), token, length: fc.integer({ min: 9, max: 1500 }) }),
  fc.record({ kind: fc.constant(kinds.PATH_ACK), token, length: fc.nat(65_535) }),
);

test("parse after emit is the identity; a byte less or more is another message or none", () => {
  fc.assert(
    fc.property(message, (m) => {
      const bytes = encodeUnnumbered(m);
      expect(decodeUnnumbered(bytes)).toEqual(m);
      if (m.kind === kinds.PATH_PROBE) return;
      expect(decodeUnnumbered(bytes.subarray(0, -1))).toBeUndefined();
      expect(decodeUnnumbered(Uint8Array.from([...bytes, 0]))).toBeUndefined();
    }),
  );
});

test("kinds that are no unnumbered ones, and contents that do not exist", () => {
  for (let kind = 0; kind < 256; kind++) {
    const known = kind >= kinds.PING && kind <= kinds.PATH_ACK;
    for (const length of [1, 2, 9, 11]) {
      const read = decodeUnnumbered(Uint8Array.of(kind, 1, ...new Uint8Array(Math.max(0, length - 2))));
      if (!known) expect(read).toBeUndefined();
    }
  }
  expect(decodeUnnumbered(new Uint8Array(0))).toBeUndefined();
  for (const reason of [0, 5, 255]) expect(decodeUnnumbered(Uint8Array.of(kinds.CLOSE, reason))).toBeUndefined();
});

test("of a probe that is longer than what is handed over, the length that arrived counts", () => {
  const probe = encodeUnnumbered({ kind: kinds.PATH_PROBE, token: new Uint8Array(8), length: 9000 });
  expect(decodeUnnumbered(probe.subarray(0, 1280), 9000)).toMatchObject({ length: 9000 });
});

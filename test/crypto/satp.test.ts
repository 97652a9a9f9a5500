/** The TypeScript transforms beyond the vectors: what must not open, key rules, and empty packets. */
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isValidContext,
  masterKeyFromPassphrase,
  openSatp,
  readHeader,
  type SatpContext,
  satpKeyFromPassphrase,
  sealSatp,
} from "../../src/crypto/satp.ts";
import { contexts, headers, peerOf } from "./arbitrary.ts";

const plain: SatpContext = satpKeyFromPassphrase("lantern", { cipherLen: 16, tagLen: 10, kdLen: 16, role: 0 });
const header = { seq: 0x80000001, senderId: 0xfffe, mux: 0x1234 };
const inner = Uint8Array.from({ length: 37 }, (_, i) => i * 7);

test("open undoes seal for every configuration", () => {
  fc.assert(
    fc.property(contexts, headers, fc.nat(0xffff), fc.uint8Array({ maxLength: 300 }), (context, head, type, packet) => {
      const datagram = sealSatp(context, head, type, packet);
      expect(readHeader(datagram)).toEqual(head);
      expect(datagram.length).toBe(10 + packet.length + Math.max(0, context.tagLen));
      const opened = openSatp(peerOf(context), datagram, head);
      if (packet.length === 0) expect(opened).toMatchObject({ result: "opened", payloadType: -1 });
      else expect(opened).toEqual({ result: "opened", payloadType: type, inner: packet });
    }),
  );
});

test("an empty packet is header and tag", () => {
  const datagram = sealSatp(plain, header, -1, inner);
  expect(datagram.length).toBe(18);
  expect(openSatp(peerOf(plain), datagram, header)).toMatchObject({ result: "opened", payloadType: -1 });
});

test("a datagram cut at any byte is short or forged", () => {
  const datagram = sealSatp(plain, header, 0x0800, inner);
  for (let length = 0; length < datagram.length; length++) {
    const { result } = openSatp(peerOf(plain), datagram.subarray(0, length), header);
    expect(result, `${length} bytes`).toBe(length < 18 ? "short" : "forged");
  }
});

test("no flipped bit goes unnoticed", () => {
  const datagram = sealSatp(plain, header, 0x0800, inner);
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    const flipped = datagram.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    expect(openSatp(peerOf(plain), flipped, readHeader(flipped)).result, `bit ${bit}`).toBe("forged");
  }
});

test("an end does not accept what its own role sealed", () => {
  expect(openSatp(plain, sealSatp(plain, header, 0x0800, inner), header).result).toBe("forged");
});

test("an empty tag accepts everything, as the originals do", () => {
  const context = { ...plain, tagLen: 0 };
  const datagram = sealSatp(context, header, 0x0800, inner);
  datagram[20] ^= 1;
  expect(openSatp(peerOf(context), datagram, header).result).toBe("opened");
});

test("cipher and auth null need no key at all", () => {
  const context = satpKeyFromPassphrase("lantern", { cipherLen: 0, tagLen: -1, kdLen: 32, role: 1 });
  expect(context).toMatchObject({ kdLen: 0, masterKey: new Uint8Array(0), masterSalt: new Uint8Array(0) });
  expect(sealSatp(context, header, 0x0800, inner).subarray(10)).toEqual(inner);
});

test("shorter master keys are the tail of longer ones", () => {
  const longest = masterKeyFromPassphrase("lantern", 32);
  expect(masterKeyFromPassphrase("lantern", 24)).toEqual(longest.subarray(8));
  expect(masterKeyFromPassphrase("lantern", 16)).toEqual(longest.subarray(16));
});

test("a context with a wrong length is not valid", () => {
  expect(isValidContext(plain)).toBe(true);
  for (const wrong of [
    { cipherLen: 17 as 16 },
    { kdLen: 24 as const },
    { tagLen: 21 },
    { tagLen: -2 },
    { tagLen: 1.5 },
    { role: 2 },
    { masterKey: new Uint8Array(15) },
    { masterSalt: new Uint8Array(13) },
  ])
    expect(isValidContext({ ...plain, ...wrong }), JSON.stringify(Object.keys(wrong))).toBe(false);
});

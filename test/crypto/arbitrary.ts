/** Random SATP contexts and headers for property tests. */
import fc from "fast-check";
import type { KeyLen, SatpContext } from "../../src/crypto/satp.ts";

const keyLens = fc.constantFrom<KeyLen[]>(0, 16, 24, 32);

export const contexts: fc.Arbitrary<SatpContext> = fc
  .record({ cipherLen: keyLens, tagLen: fc.integer({ min: -1, max: 20 }), kdLen: keyLens, role: fc.nat(1) })
  .chain((lengths) =>
    fc
      .record({
        masterKey: fc.uint8Array({ minLength: lengths.kdLen, maxLength: lengths.kdLen }),
        masterSalt: fc.uint8Array({ minLength: lengths.kdLen && 14, maxLength: lengths.kdLen && 14 }),
      })
      .map((secret) => ({ ...lengths, ...secret })),
  );

export const headers = fc.record({
  seq: fc.oneof(fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff), fc.nat(0xffffffff)),
  senderId: fc.nat(0xffff),
  mux: fc.nat(0xffff),
});

/** The same context at the other end. */
export const peerOf = (context: SatpContext): SatpContext => ({ ...context, role: 1 - context.role });

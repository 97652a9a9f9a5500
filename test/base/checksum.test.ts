import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fold, pseudo4, pseudo6, sum, update16, update32 } from "../../src/base/checksum.ts";

const bytes = (hex: string) => new DataView(new Uint8Array(Buffer.from(hex, "hex")).buffer);

describe("sum and fold", () => {
  it("give the example of RFC 1071 section 3", () => {
    const view = bytes("0001f203f4f5f6f7");
    expect(sum(view, 0, 8)).toBe(0x2ddf0);
    expect(fold(sum(view, 0, 8))).toBe(0x220d);
  });

  it("find a captured header intact", () => {
    expect(fold(sum(bytes("450000151234400040fda3b4c0000201c0000202"), 0, 20))).toBe(0);
  });

  it("read only [at, at + len), and an odd last byte as the upper half of a word", () => {
    const view = bytes("ffff0102ff");
    expect(sum(view, 2, 2)).toBe(0x0102);
    expect(sum(view, 2, 1)).toBe(0x0100);
    expect(sum(view, 2, 0, 7)).toBe(7);
  });

  it("carry around as often as needed", () => {
    expect(fold(0xffff)).toBe(0);
    expect(fold(0)).toBe(0xffff);
    expect(fold(0x1fffe)).toBe(0);
    const largest = new DataView(new Uint8Array(65534).fill(0xff).buffer);
    expect(fold(sum(largest, 0, 65534, 1))).toBe(0xfffe);
  });

  it("may be cut at any even place", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(50), (data, half) => {
        const view = new DataView(data.buffer, data.byteOffset, data.length);
        const cut = Math.min(2 * half, data.length & ~1);
        expect(sum(view, cut, data.length - cut, sum(view, 0, cut))).toBe(sum(view, 0, data.length));
      }),
    );
  });
});

describe("pseudo-headers", () => {
  it("give the checksum of a UDP packet added up by hand", () => {
    // 192.0.2.1:1 -> 192.0.2.2:2, length 10, "hi":
    // c000+0201+c000+0202 + 0011+000a + 0001+0002+000a+0000+6869 = 1ec94 -> ec95 -> 136a.
    const view = bytes("c0000201c0000202" + "00010002000a0000" + "6869");
    expect(fold(sum(view, 8, 10, pseudo4(view, 0, 17, 10)))).toBe(0x136a);
  });

  it("cover all 32 bytes of IPv6 addresses, the length and the next header", () => {
    const view = new DataView(new ArrayBuffer(32));
    for (let i = 0; i < 16; i++) view.setUint16(2 * i, 1 << i);
    expect(pseudo6(view, 0, 58, 1000)).toBe(0xffff + 58 + 1000);
  });
});

describe("update16 and update32", () => {
  it("give the example of RFC 1624 section 4", () => {
    expect(update16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it("equal the full sum", () => {
    const data = fc.uint8Array({ minLength: 20, maxLength: 20 });
    fc.assert(
      fc.property(data, fc.nat(8), fc.integer(), (header, index, value) => {
        header[18] = 1; // Like any real header, never all zero (section 3).
        const view = new DataView(header.buffer, header.byteOffset, 20);
        const checksum = fold(sum(view, 0, 20));
        const before = view.getUint16(2 * index);
        view.setUint16(2 * index, value);
        expect(update16(checksum, before, value & 0xffff)).toBe(fold(sum(view, 0, 20)));
      }),
    );
    fc.assert(
      fc.property(data, fc.nat(7), fc.integer(), (header, index, value) => {
        header[18] = 1;
        const view = new DataView(header.buffer, header.byteOffset, 20);
        const checksum = fold(sum(view, 0, 20));
        const [signed, unsigned] = [view.getInt32(2 * index), view.getUint32(2 * index)];
        view.setInt32(2 * index, value);
        expect(update32(checksum, signed, value | 0)).toBe(fold(sum(view, 0, 20)));
        expect(update32(checksum, unsigned, value >>> 0)).toBe(fold(sum(view, 0, 20)));
      }),
    );
  });
});

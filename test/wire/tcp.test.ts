import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clampMss, findMss } from "../../src/wire/tcp.ts";
import { hex, octets, onesSum, slab } from "./packet.ts";

const AT = 7;
const SYN = 0x02;
const PSEUDO = [192, 0, 2, 1, 198, 51, 100, 2, 0, 6];

/** Segment with a right checksum; options are padded with end-of-list to a multiple of 4. */
function segment(flags: number, options: readonly number[], payload: readonly number[] = []): number[] {
  const padded = [...options, ...Array((4 - (options.length % 4)) % 4).fill(0)];
  const header = [
    0x11,
    0x5c,
    0,
    80,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    (5 + padded.length / 4) << 4,
    flags,
    0xfa,
    0xf0,
    0,
    0,
    0,
    0,
  ];
  const whole = [...header, ...padded, ...payload];
  const checksum = ~checksumOf(whole) & 0xffff;
  whole[16] = checksum >> 8;
  whole[17] = checksum & 255;
  return whole;
}

function checksumOf(whole: readonly number[]): number {
  return onesSum([...PSEUDO, whole.length >> 8, whole.length & 255, ...whole]);
}

function clamp(whole: readonly number[], mss: number): { changed: number; after: number[] } {
  const view = slab(whole, AT);
  const changed = clampMss(view, AT, AT + whole.length, mss);
  const after = octets(view, AT, AT + whole.length);
  expect(hex(view, 0, AT)).toBe("a5".repeat(AT));
  expect(hex(view, AT + whole.length)).toBe("a5".repeat(4096 - AT - whole.length));
  return { changed, after };
}

describe("clampMss", () => {
  it("lowers the MSS of a SYN and of a SYN-ACK", () => {
    for (const flags of [SYN, SYN | 0x10]) {
      const { changed, after } = clamp(segment(flags, [2, 4, 0x05, 0xb4], [1]), 1320);
      expect(changed).toBe(1);
      expect(after.slice(20)).toEqual([2, 4, 0x05, 0x28, 1]);
      expect(checksumOf(after)).toBe(0xffff);
    }
  });

  it.each([
    ["an MSS that is small enough", segment(SYN, [2, 4, 0x05, 0x28]), 1320],
    ["a segment without SYN", segment(0x10, [2, 4, 0x05, 0xb4]), 1320],
    ["a SYN without options", segment(SYN, []), 1320],
    ["a SYN with other options", segment(SYN, [1, 3, 3, 7, 4, 2]), 1320],
    ["an option behind the end of the list", segment(SYN, [0, 2, 4, 0x05, 0xb4]), 1320],
    ["an MSS option of length 3", segment(SYN, [2, 3, 0x05, 0xb4]), 1320],
    ["an option of length 0", segment(SYN, [8, 0, 2, 4, 0x05, 0xb4]), 1320],
    ["an option of length 1", segment(SYN, [8, 1, 2, 4, 0x05, 0xb4]), 1320],
    ["an option that runs out of the header", segment(SYN, [8, 10, 2, 4, 0x05, 0xb4]), 1320],
    ["a kind without a length", segment(SYN, [1, 1, 1, 2], [4, 0xff, 0xff]), 1320],
    ["an MSS that the header cuts", segment(SYN, [1, 2, 4, 0xff], [0xff]), 1320],
    ["a limit of 0", segment(SYN, [2, 4, 0x05, 0xb4]), 0],
    ["a limit below 0", segment(SYN, [2, 4, 0x05, 0xb4]), -40],
  ])("leaves %s alone", (_, whole, mss) => {
    expect(clamp(whole, mss)).toEqual({ changed: 0, after: whole });
  });

  it("does nothing to a header that is cut at any byte", () => {
    const whole = segment(SYN, [1, 1, 1, 1, 2, 4, 0x05, 0xb4]);
    for (let len = 0; len < whole.length; len++) {
      const view = slab(whole, AT);
      expect(clampMss(view, AT, AT + len, 1000)).toBe(0);
      expect(octets(view, AT, AT + whole.length)).toEqual(whole);
    }
  });

  it("lowers each of several", () => {
    const { changed, after } = clamp(segment(SYN, [2, 4, 0x02, 0, 1, 2, 4, 0xff, 0xff, 2, 4, 0x05, 0xb4]), 1000);
    expect(changed).toBe(1);
    expect(after.slice(20, 33)).toEqual([2, 4, 0x02, 0, 1, 2, 4, 0x03, 0xe8, 2, 4, 0x03, 0xe8]);
    expect(checksumOf(after)).toBe(0xffff);
  });

  it("keeps the checksum right wherever the option stands", () => {
    const padding = fc.array(fc.constantFrom([1], [3, 3, 7], [4, 2], [8, 10, 1, 2, 3, 4, 5, 6, 7, 8]), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(
        padding,
        fc.nat(0xffff),
        fc.integer({ min: 1, max: 0xffff }),
        fc.uint8Array(),
        (pad, old, mss, data) => {
          const options = [...pad.flat(), 2, 4, old >> 8, old & 255];
          const { changed, after } = clamp(segment(SYN, options, [...data]), mss);
          expect(changed).toBe(old > mss ? 1 : 0);
          const at = 20 + pad.flat().length + 2;
          expect(after[at] * 256 + after[at + 1]).toBe(Math.min(old, mss));
          expect(checksumOf(after)).toBe(0xffff);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("ends and stays inside the options for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 10 }), (options, data) => {
        fc.pre(options.length % 4 === 0);
        const { after } = clamp(segment(SYN, [...options], [...data]), 1000);
        expect(after.slice(20 + options.length)).toEqual([...data]);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("findMss", () => {
  it("gives the place of the option", () => {
    const view = slab(segment(SYN, [1, 3, 3, 7, 2, 4, 5, 0xb4]), AT);
    expect(findMss(view, AT + 20, AT + 28)).toBe(AT + 24);
    expect(findMss(view, AT + 20, AT + 27)).toBe(-1);
  });
});

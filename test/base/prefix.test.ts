import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, parseAddress } from "../../src/base/ip.ts";
import { contains, formatPrefix, overlap, type Prefix, parsePrefix } from "../../src/base/prefix.ts";

function prefix(text: string): Prefix {
  const p = parsePrefix(text);
  if (p === undefined) throw new Error(`not a prefix: ${text}`);
  return p;
}

const has = (p: Prefix, text: string): boolean => {
  const a = parseAddress(text) as Address;
  return contains(p, a.w0, a.w1, a.w2, a.w3);
};

/** The bits of an address in its family, as text: the simple model. */
function bits(a: Address): string {
  const words = a.family === 4 ? [a.w3] : [a.w0, a.w1, a.w2, a.w3];
  return words.map((w) => (w >>> 0).toString(2).padStart(32, "0")).join("");
}

const anyPrefix = fc
  .record({
    four: fc.boolean(),
    // Few distinct bytes, so that prefixes meet.
    bytes: fc.array(fc.constantFrom(0, 1, 0x80, 0xff), { minLength: 16, maxLength: 16 }),
    length: fc.nat(128),
  })
  .map(({ four, bytes, length }) => {
    if (four) return prefix(`${bytes.slice(0, 4).join(".")}/${length % 33}`);
    const groups = [0, 2, 4, 6, 8, 10, 12, 14].map((i) => ((bytes[i] << 8) | bytes[i + 1]).toString(16));
    groups[0] = "2001";
    return prefix(`${groups.join(":")}/${length}`);
  });

describe("parsePrefix", () => {
  it.each([
    ["10.9.0.0/24", "10.9.0.0/24", false],
    ["10.9.0.1/24", "10.9.0.0/24", true],
    ["192.0.2.1", "192.0.2.1/32", false],
    ["0.0.0.0/0", "0.0.0.0/0", false],
    ["203.0.113.7/0", "0.0.0.0/0", true],
    ["255.255.255.255/1", "128.0.0.0/1", true],
    ["2001:db8::/32", "2001:db8::/32", false],
    ["2001:db8::1/64", "2001:db8::/64", true],
    ["2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/65", "2001:db8:ffff:ffff:8000::/65", true],
    ["2001:db8::1", "2001:db8::1/128", false],
    ["::/0", "::/0", false],
    ["::ffff:10.9.0.0/120", "10.9.0.0/24", false],
  ])("%s is %s", (text, expected, hostBits) => {
    expect(formatPrefix(prefix(text))).toBe(expected);
    expect(prefix(text).hostBits).toBe(hostBits);
  });

  it.each([
    "10.9.0.0/33",
    "10.9.0.0/-1",
    "10.9.0.0/",
    "10.9.0.0/08",
    "10.9.0.0/8/8",
    "10.9.0.0/+8",
    "10.9.0.0/255.0.0.0",
    "10.9.0/24",
    "2001:db8::/129",
    "2001:db8::/1280",
    "::ffff:10.9.0.0/95",
    "/24",
    "",
    "default",
  ])("refuses %j", (text) => {
    expect(parsePrefix(text)).toBeUndefined();
  });

  it("is undone by formatPrefix", () => {
    fc.assert(
      fc.property(anyPrefix, (p) => {
        expect(parsePrefix(formatPrefix(p))).toEqual({ ...p, hostBits: false });
      }),
    );
  });
});

describe("contains", () => {
  it("knows the edges", () => {
    const p = prefix("10.9.0.0/23");
    expect(has(p, "10.9.0.0")).toBe(true);
    expect(has(p, "10.9.1.255")).toBe(true);
    expect(has(p, "10.9.2.0")).toBe(false);
    expect(has(p, "10.8.255.255")).toBe(false);
    expect(has(prefix("2001:db8:0:8000::/49"), "2001:db8:0:ffff::")).toBe(true);
    expect(has(prefix("2001:db8:0:8000::/49"), "2001:db8:0:7fff::")).toBe(false);
  });

  it("keeps families apart", () => {
    expect(has(prefix("::/0"), "192.0.2.1")).toBe(false);
    expect(has(prefix("0.0.0.0/0"), "2001:db8::1")).toBe(false);
    expect(has(prefix("0.0.0.0/0"), "192.0.2.1")).toBe(true);
  });

  it("and overlap agree with bit strings", () => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, (a, b) => {
        const shorter = Math.min(a.length, b.length);
        const meet = a.family === b.family && bits(a).slice(0, shorter) === bits(b).slice(0, shorter);
        expect(overlap(a, b)).toBe(meet);
        expect(overlap(b, a)).toBe(meet);
        const inside = a.family === b.family && bits(b).startsWith(bits(a).slice(0, a.length));
        expect(contains(a, b.w0, b.w1, b.w2, b.w3)).toBe(inside);
      }),
      { numRuns: 2000 },
    );
  });
});

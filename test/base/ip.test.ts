import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import { formatAddress, formatEndpoint, parseAddress } from "../../src/base/ip.ts";

const u32 = fc.integer({ min: 0, max: 0xffffffff });

function canonical(text: string): string | undefined {
  const a = parseAddress(text);
  return a && formatAddress(a.w0, a.w1, a.w2, a.w3);
}

describe("parseAddress", () => {
  it("reads IPv4 as ipaddr.js does", () => {
    const part = fc.oneof(fc.nat(300).map(String), fc.constantFrom("", "00", "01", "256", "0x1", "1e1", " 1", "-1"));
    const text = fc.array(part, { minLength: 3, maxLength: 5 }).map((parts) => parts.join("."));
    fc.assert(
      fc.property(fc.oneof(text, fc.ipV4()), (text) => {
        const isOne = ipaddr.IPv4.isValidFourPartDecimal(text);
        const word = isOne ? Buffer.from(ipaddr.IPv4.parse(text).octets).readInt32BE() : undefined;
        expect(parseAddress(text)?.w3).toBe(word);
      }),
    );
  });

  it("gives int32 words, IPv4 as ::ffff:a.b.c.d", () => {
    expect(parseAddress("192.0.2.1")).toEqual({ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000201 | 0 });
    expect(parseAddress("2001:db8::1")).toEqual({ family: 6, w0: 0x20010db8, w1: 0, w2: 0, w3: 1 });
    expect(parseAddress("ff02::fffe:0")?.w0).toBe(0xff020000 | 0);
  });

  it("takes a mapped address as the IPv4 address that it is", () => {
    expect(parseAddress("::ffff:192.0.2.1")).toEqual(parseAddress("192.0.2.1"));
    expect(parseAddress("::FFFF:c000:201")).toEqual(parseAddress("192.0.2.1"));
  });

  it("puts an IPv4 tail into an IPv6 address", () => {
    expect(canonical("64:ff9b::192.0.2.33")).toBe("64:ff9b::c000:221");
  });

  it.each([
    "",
    " 192.0.2.1",
    "192.0.2.1 ",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.01",
    "0xc0.0.2.1",
    "3221225985",
    "192.0.2.1/32",
    "192.0.2.1:80",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
    "[2001:db8::1]",
    "fe80::1%eth0",
    "::192.0.2.1",
    "::ffff:192.0.2.01",
    "::ffff:192.0.2.256",
    "example.net",
  ])("refuses %j", (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe("formatAddress", () => {
  it.each([
    // RFC 5952 sections 4.1 to 4.3 and RFC 4291 section 2.2.
    ["2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"],
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:DB8::A", "2001:db8::a"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["1:0:0:0:0:0:0:0", "1::"],
    ["0:0:1:0:0:0:0:0", "0:0:1::"],
    ["0:0:0:1:0:0:0:1", "::1:0:0:0:1"],
    ["255.255.255.255", "255.255.255.255"],
  ])("%s is %s", (text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it("is undone by parseAddress, for words of either sign", () => {
    fc.assert(
      fc.property(
        fc.tuple(...Array.from({ length: 4 }, () => fc.oneof(u32, fc.constantFrom(0, 1, 0xffff)))),
        (words) => {
          const [w0, w1, w2, w3] = words;
          const text = formatAddress(w0, w1, w2, w3);
          expect(formatAddress(w0 | 0, w1 | 0, w2 | 0, w3 | 0)).toBe(text);
          expect(parseAddress(text)).toMatchObject({ w0: w0 | 0, w1: w1 | 0, w2: w2 | 0, w3: w3 | 0 });
        },
      ),
    );
  });

  it("agrees with the URL parser, which follows the same rules", () => {
    const group = fc.constantFrom(0, 0, 0, 1, 0xab, 0xffff);
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const [w0, w1, w2, w3] = [0, 2, 4, 6].map((i) => (groups[i] << 16) | groups[i + 1]);
        fc.pre(!(w0 === 0 && w1 === 0 && w2 === 0xffff));
        const url = new URL(`http://[${groups.map((g) => g.toString(16)).join(":")}]/`);
        expect(`[${formatAddress(w0, w1, w2, w3)}]`).toBe(url.hostname);
      }),
    );
  });
});

describe("formatEndpoint", () => {
  it("puts IPv6 into brackets", () => {
    expect(formatEndpoint(0, 0, 0xffff, 0xc0000201, 4444)).toBe("192.0.2.1:4444");
    expect(formatEndpoint(0x20010db8, 0, 0, 1, 4444)).toBe("[2001:db8::1]:4444");
  });
});

/** Prefixes, remotes and the word finder, against naive models. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { closest } from "../../src/control/spec/faults.ts";
import { familyOf, parsePort, readEndpoint, readPrefix } from "../../src/control/text/address_text.ts";

/** Sixteen-bit groups of an IPv6 address, or the octets of an IPv4 address, as one number. */
function toBits(parts: readonly number[], size: number): bigint {
  return parts.reduce((all, part) => (all << BigInt(size)) | BigInt(part), 0n);
}
function fromBits(value: bigint, family: 4 | 6): string {
  const [size, count] = family === 4 ? [8, 4] : [16, 8];
  const parts = Array.from({ length: count }, (_, i) =>
    Number((value >> BigInt(size * (count - 1 - i))) & ((1n << BigInt(size)) - 1n)),
  );
  return family === 4 ? parts.join(".") : parts.map((part) => part.toString(16)).join(":");
}
const masked = (value: bigint, bits: number, width: number) => (value >> BigInt(width - bits)) << BigInt(width - bits);

test("the network of a prefix is its address with the host bits cleared", () => {
  const v4 = fc.record({ parts: fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }), bits: fc.nat(32) });
  // The first group is not 0, so that it is no IPv4 address in IPv6 clothes.
  const groups = fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.array(fc.nat(65535), { minLength: 7, maxLength: 7 }));
  const v6 = fc.record({ parts: groups.map(([first, rest]) => [first, ...rest]), bits: fc.nat(128) });
  fc.assert(
    fc.property(fc.oneof(v4, v6), ({ parts, bits }) => {
      const [family, size, width] = parts.length === 4 ? ([4, 8, 32] as const) : ([6, 16, 128] as const);
      const value = toBits(parts, size);
      const prefix = readPrefix(`${fromBits(value, family)}/${bits}`);
      if (typeof prefix === "string") throw new Error(prefix);
      const network = masked(value, bits, width);
      expect(prefix.hostBits).toBe(network !== value);
      // Canonical text of the network: parsing it again gives the same, and it has no host bits.
      expect(readPrefix(prefix.network)).toEqual({
        ...prefix,
        address: prefix.network.split("/")[0],
        hostBits: false,
      });
      expect(readPrefix(`${fromBits(network, family)}/${bits}`)).toMatchObject({ network: prefix.network });
    }),
  );
});

test.each([
  "",
  "/",
  "10.0.0.0",
  "10.0.0.0/",
  "10.0.0.0/-1",
  "10.0.0.0/8x",
  "10/8",
  "010.0.0.0.0/8",
  "::/129",
  "fe80::1%eth0/64",
  "0x0a000000/8",
])("%j is no prefix", (text) => expect(readPrefix(text)).toBeTypeOf("string"));

test.each([
  ["192.0.2.1", "192.0.2.1", 7],
  ["192.0.2.1:80", "192.0.2.1", 80],
  ["2001:DB8::0:1", "2001:db8::1", 7],
  ["[2001:db8::1]", "2001:db8::1", 7],
  ["[2001:db8::1]:80", "2001:db8::1", 80],
  ["gate.example.net.:80", "gate.example.net.", 80],
  ["gate", "gate", 7],
])("%s", (text, host, port) => expect(readEndpoint(text, 7)).toEqual({ host, port }));

test.each([
  "",
  ":80",
  "a:",
  "a:b:c",
  "a:0",
  "a:65536",
  "[192.0.2.1]:80",
  "[::1",
  "192.0.2.256",
  "1234",
  "-a",
  "a..b",
  "a b",
  "fe80::1%eth0",
])("%j is no remote", (text) => expect(readEndpoint(text, 7)).toBeTypeOf("string"));

test("ports and families", () => {
  expect(["1", "65535", "0", "65536", "", "1.5", "+1", "0x1"].map(parsePort)).toEqual([
    1,
    65535,
    ...Array(6).fill(undefined),
  ]);
  expect(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2", "x"].map(familyOf)).toEqual([4, 4, undefined, undefined]);
});

test("the word that was meant", () => {
  const words = ["name", "mux", "role", "window", "keepalive", "tag_length"];
  expect(["nmae", "muxx", "windows", "keep_alive", "taglength", "WINDOW"].map((word) => closest(word, words))).toEqual([
    "name",
    "mux",
    "window",
    "keepalive",
    "tag_length",
    "window",
  ]);
  expect(["x", "colour", "zz"].map((word) => closest(word, words))).toEqual([undefined, undefined, undefined]);
});

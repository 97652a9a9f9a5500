/** The operator's roster: one way to write it, refused when anything is changed, and the key of the operator alone signs. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { lastEviction, type Roster, readRoster, signRoster } from "../../src/cluster/roster.ts";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";

const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const key = (n: number) => signingKeyFrom(new Uint8Array(32).fill(n)).publicKey;
const roster: Roster = {
  ...{ group: "example", version: 7, operator: operator.publicKey },
  nodes: [
    { node: 1, publicKey: key(11), name: "berlin", evictedIn: undefined },
    { node: 3, publicKey: key(13), name: "a.b-c_d", evictedIn: 7 },
    { node: 63, publicKey: key(14), name: "n63", evictedIn: 2 },
  ],
};
const read = (text: string) => readRoster(text, "example", operator.publicKey);

test("what is signed is read; what is changed, cut or of somebody else is not, and the sentence says why", () => {
  const text = signRoster(roster, operator);
  expect(read(text)).toEqual({ ...roster, text });
  expect(lastEviction(roster)).toBe(7);
  for (let n = 0; n < text.length; n++) {
    expect(typeof read(text.slice(0, n))).toBe("string");
    expect(typeof read(`${text.slice(0, n)}~${text.slice(n + 1)}`), `at ${n}`).toBe("string");
    expect(typeof read(`${text.slice(0, n)}\n${text.slice(n)}`)).toBe("string");
  }
  expect(readRoster(text, "other", operator.publicKey)).toMatch(/is of the group example/);
  expect(readRoster(text, "example", key(2))).toMatch(/another operator/);
  expect(
    read(signRoster({ ...roster, operator: operator.publicKey }, signingKeyFrom(new Uint8Array(32).fill(5)))),
  ).toMatch(/signature is wrong/);
  expect(read(text.replace("version 7", "version 9"))).toMatch(/signature is wrong/);
  fc.assert(fc.property(fc.string({ maxLength: 5000 }), (noise) => void expect(typeof read(noise)).toBe("string")));
});

test("contradictions are no roster, whoever signed them", () => {
  const [one, two] = roster.nodes;
  for (const nodes of [
    [one, one],
    [two, one],
    [one, { ...two, publicKey: one.publicKey }],
    [{ ...one, evictedIn: 8 }],
    [{ ...one, node: 64 }],
    [{ ...one, node: 0 }],
    [{ ...one, name: "a b" }],
    [{ ...one, name: "" }],
  ])
    expect(read(signRoster({ ...roster, nodes }, operator)), JSON.stringify(nodes)).toMatch(/is no roster/);
  const many = Array.from({ length: 63 }, (_, i) => ({ ...one, node: i + 1, name: "x".repeat(32) }));
  expect(() => signRoster({ ...roster, nodes: many }, operator)).toThrow(/most/);
  // 32 nodes with names fit.
  const usual = Array.from({ length: 32 }, (_, i) => ({
    ...one,
    node: i + 1,
    publicKey: key(100 + i),
    name: `frankfurt${i}`,
  }));
  expect(typeof read(signRoster({ ...roster, nodes: usual }, operator))).toBe("object");
});

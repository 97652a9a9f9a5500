/** How many shards an instance has: what may be written, and what "auto" makes of it. */
import { describe, expect, it, test } from "vitest";
import { parseClassic } from "../../src/control/classic/classic.ts";
import { parseConfig } from "../../src/control/config/config.ts";
import { autoShards, shardCount } from "../../src/control/instance/shard_set.ts";

const env = {
  readSecret: () => "correct horse battery staple",
  readText: () => undefined,
  listFiles: () => undefined,
  modeOf: () => 0o600,
  getenv: () => undefined,
};
const file = (limits: string, senderId = 0) => `
[listen]
sender_id = ${senderId}
[limits]
${limits}
[[tunnel]]
name = "peer"
passphrase_file = "phrase"
`;
const parse = (limits: string, senderId?: number) => parseConfig(file(limits, senderId), "/etc/anyhop/node.toml", env);
const classic = (...argv: string[]) => parseClassic(["-E", "correct horse battery staple", ...argv], env);

test.each([
  ["", "auto"],
  ['shards = "auto"', "auto"],
  ["shards = 1", 1],
  ["shards = 16", 16],
])("%j in a file", (limits, shards) => {
  expect(parse(limits).spec?.shards).toBe(shards);
});

test.each(["shards = 0", "shards = 17", "shards = 1.5", 'shards = "many"', "shards = true"])(
  "%s is refused",
  (limits) => {
    const { spec, faults } = parse(limits);
    expect(spec).toBeUndefined();
    expect(faults).toMatchObject([
      { line: 5, message: expect.stringMatching(/"auto" or a whole number from 1 to 16/) },
    ]);
  },
);

test.each([
  [[], "auto"],
  [["--shards", "auto"], "auto"],
  [["--shards", "2", "-s", "4095"], 2],
  [["--shards=1", "-s", "65535"], 1],
])("%j on the command line", (argv, shards) => {
  expect(classic(...argv)).toMatchObject({ kind: "run", spec: { shards } });
});

test.each(["0", "17", "two", "-1"])("--shards %s is refused", (count) => {
  expect(classic("--shards", count)).toMatchObject({
    kind: "error",
    errors: [expect.stringContaining("from 1 to 16")],
  });
});

describe("several shards need room for their sender ids", () => {
  it("says so, at the line", () => {
    expect(parse("shards = 2", 4096).faults).toMatchObject([
      { severity: "error", line: 5, message: expect.stringContaining("below 4096, not 4096") },
    ]);
    expect(parse("shards = 2", 4095).faults).toEqual([]);
    expect(classic("--shards", "2", "-s", "4096")).toMatchObject({ errors: [expect.stringContaining("below 4096")] });
  });

  it("makes auto one where there is none", () => {
    expect(shardCount({ shards: "auto", senderId: 4095 }, 4)).toBe(3);
    expect(shardCount({ shards: "auto", senderId: 4096 }, 4)).toBe(1);
  });
});

test("auto leaves a core for the rest, and stops at four", () => {
  expect([1, 2, 3, 4, 5, 64].map(autoShards)).toEqual([1, 1, 2, 3, 4, 4]);
  expect(shardCount({ shards: 5, senderId: 0 }, 1)).toBe(5);
});

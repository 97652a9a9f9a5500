/**
 * A share of `npm run fuzz` (ANYHOP_FUZZ_INPUTS and ANYHOP_FUZZ_SEED say how much and from where): no parser throws what it
 * does not declare, takes a second, or does not end.
 */
import { expect, test } from "vitest";
import { binaryParsers } from "./binary_parsers.ts";
import { fuzz, isNo, type Parser } from "./run.ts";
import { textParsers } from "./text_parsers.ts";

/** Some seconds. */
const SHARE = 20_000;
const inputs = Number(process.env["ANYHOP_FUZZ_INPUTS"] ?? SHARE);
const seed = Number(process.env["ANYHOP_FUZZ_SEED"] ?? 1);
const whole = process.env["ANYHOP_FUZZ_INPUTS"] !== undefined;
const parsers: readonly Parser[] = [...binaryParsers, ...textParsers];

test.each(parsers.map((parser) => [parser.name, parser] as const))("%s takes what is valid", (_name, parser) => {
  expect(parser.valid.length).toBeGreaterThan(0);
  for (const [i, input] of parser.valid.entries()) expect(isNo(parser.decode(input)), `${i}`).toBe(false);
});

test(
  `${inputs} inputs from seed ${seed}`,
  () => {
    const shared = Object.getOwnPropertyNames(Object.prototype).join();
    const say = (done: number) => void (whole && console.log(`${done} of ${inputs} inputs`));
    const { tallies, failures } = fuzz(parsers, { inputs, seed, onProgress: say });
    if (whole) console.table(tallies);
    expect(failures).toEqual([]);
    expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(shared);
    for (const [i, { name, accepted, refused }] of tallies.entries()) {
      if (parsers[i].sealed !== true) expect(accepted, name).toBeGreaterThan(0);
      // What never says no to anything judges nothing.
      if (parsers[i].takesAll !== true) expect(refused, name).toBeGreaterThan(0);
    }
  },
  whole ? 0 : 120_000,
);

const row = (decode: Parser["decode"]): Parser => ({ name: "row", valid: [new Uint8Array(8)], decode });
const whys = (parser: Parser, count = 100) => fuzz([parser], { inputs: count, seed: 1 }).failures.map(({ why }) => why);

test("what throws is reported with its input, unless it is declared", () => {
  const parser = row((input) => {
    if (input.length > 8) throw new TypeError("hole");
    return 0;
  });
  expect(whys(parser)[0]).toMatch(/^TypeError: hole/);
  expect(whys({ ...parser, declared: (error) => error instanceof TypeError })).toEqual([]);
  expect(whys({ ...parser, declared: (error) => error instanceof RangeError }).length).toBeGreaterThan(0);
});

test("the same seed gives the same inputs", () => {
  const seen = (from: number): string[] => {
    const list: string[] = [];
    fuzz([row((input) => list.push(Buffer.from(input).toString("hex")))], { inputs: 200, seed: from });
    return list;
  };
  expect(seen(5)).toEqual(seen(5));
  expect(seen(5)).not.toEqual(seen(6));
});

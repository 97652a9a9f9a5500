/** Configuration texts that were made to hurt: each is refused in a sentence with its place, and changes nothing else. */
import { describe, expect, test } from "vitest";
import { isName } from "../../src/base/names.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { findExcess } from "../../src/control/text/toml_limits.ts";
import { ANNA_PUBLIC, CLIENT, envWith, NODE } from "./session_files.ts";

const faults = (text: string) => parseFile(text, "/etc/anyhop/node.toml", envWith(0o600)).faults;
const shared = () => JSON.stringify([Object.getOwnPropertyNames(Object.prototype), Object.getOwnPropertyNames(Object)]);
const before = shared();

describe("keys that every object has", () => {
  const words = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "__defineGetter__", "valueOf"];
  const ways: ((word: string) => string)[] = [
    (word) => `[${word}]\nx = 1\n`,
    (word) => `[[${word}]]\nx = 1\n`,
    (word) => `[node2]\n${word}.x = 1\n`,
    (word) => `[node2]\nx = { ${word} = { y = 1 } }\n`,
    (word) => `[node2]\n"${word}" = 1\n`,
    (word) => `[node2.${word}.z]\nx = 1\n`,
    (word) => `[node2]\n"\\u00${word.charCodeAt(0).toString(16)}${word.slice(1)}".x = 1\n`,
    (word) => `[node2]\nx = [[{ y.${word} = 1 }]]\n`,
  ];
  for (const word of words)
    test(word, () => {
      for (const way of ways)
        for (const text of [way(word), NODE + way(word), CLIENT + way(word)]) {
          expect(faults(text)[0], text).toMatchObject({ message: `there is no key ${word}, here or anywhere` });
          expect(shared()).toBe(before);
        }
    });

  test("the place is said", () => {
    expect(faults(`${NODE}\n  [a.constructor.prototype]\nx = 1\n`)[0]).toMatchObject({ line: 6, column: 6 });
  });
});

describe("too much", () => {
  const deep = (n: number) => `a = ${"[".repeat(n)}${"]".repeat(n)}\n`;
  const triple = `"""`;
  test.each<[string, string, number, number, RegExp]>([
    ["nested arrays", `\n${deep(3000)}`, 2, 37, /nested more than 32 deep/],
    ["nested tables", `a = ${"{a=".repeat(3000)}1${"}".repeat(3000)}`, 1, 101, /nested more than 32 deep/],
    ["brackets that never close", "[".repeat(1_000_000), 1, 33, /nested more than 32 deep/],
    ["a key of many parts", `${Array(200_000).fill("a").join(".")} = 1`, 1, 64, /more than 32 parts/],
    ["a table of many parts", `\n[${Array(200_000).fill("a").join(".")}]`, 2, 65, /more than 32 parts/],
    ["a key of many quoted parts", `${Array(20_000).fill('"a"').join(" . ")} = 1`, 1, 191, /more than 32 parts/],
    ["a long text", `a = "${"x".repeat(8_000_000)}"`, 1, 5, /at most 65536 characters/],
    ["a long text of lines", `a = ${triple}${"\n".repeat(2_000_000)}${triple}`, 1, 5, /at most 65536 characters/],
    ["a text that does not end", `a = '''${"x".repeat(100_000)}`, 1, 5, /at most 65536 characters/],
    ["a long number", `a = ${"1".repeat(1_000_000)}`, 1, 1, /too long/],
  ])("%s", (_what, text, line, column, message) => {
    expect(faults(text)).toEqual([
      expect.objectContaining({ severity: "error", line, column, message: expect.stringMatching(message) }),
    ]);
  });

  test("what is just within the limits is left to the parser; brackets and dots in texts and comments do not count", () => {
    expect(findExcess(deep(32))).toBeUndefined();
    const fine = [
      `# ${"[".repeat(100)}\n`,
      `a = "${"[".repeat(100)}\\"${".".repeat(100)}"\n`,
      `a = '${"{".repeat(100)}\\'\n`,
      `a = ${triple}\n${"[".repeat(100)} " "" \\${triple} ${".".repeat(100)}${triple}\n`,
      `a = '''${"{".repeat(100)}' '''''\n`,
      `a = [\n${'"192.0.2.1/32", # x.y.z\n'.repeat(1000)}]\n`,
      `a = [${"1.5, ".repeat(1000)}]\n`,
      `a = "${"x".repeat(65_000)}"\n`,
    ];
    for (const text of fine) expect(findExcess(text.repeat(20)), text.slice(0, 60)).toBeUndefined();
    expect(findExcess(fine.join(""))).toBeUndefined();
  });
});

describe("names", () => {
  const dots = ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\nb", "ä"];
  test.each([...dots, "__proto__", "constructor", "toString", "prototype"])("%j is none", (name) => {
    expect(isName(name)).toBe(false);
    const text = `${NODE}[[client]]\nname = ${JSON.stringify(name)}\npublic_key = "${ANNA_PUBLIC}"\n`;
    expect(faults(text).map(({ key }) => key)).toEqual(["client[0].name"]);
  });
  test.each(["a", "7", "anna", "Anna-2.home_x", "Constructor", "x".repeat(64)])("%j is one", (name) => {
    expect(isName(name)).toBe(true);
    expect(faults(`${NODE}[[client]]\nname = "${name}"\npublic_key = "${ANNA_PUBLIC}"\n`)).toEqual([]);
  });
  test("65 characters are too many", () => expect(isName("x".repeat(65))).toBe(false));
});

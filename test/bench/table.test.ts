/** Tables for terminal and Markdown. */
import { expect, it } from "vitest";
import { count, formatColumns, markdownTable, significant } from "../../src/bench/table.ts";

it("columns are as wide as their widest cell", () => {
  expect(
    formatColumns([
      ["name", "n"],
      ["a", "1000"],
      ["longer", ""],
    ]),
  ).toBe("name       n\na       1000\nlonger");
});

it("Markdown cells cannot break the table", () => {
  expect(markdownTable(["a", "b"], [["x|y", "1\n2"]])).toBe("| a | b |\n|---|---:|\n| x\\|y | 1 2 |");
});

it.each([
  [0, "0"],
  [12345.6, "12346"],
  [123.4, "123"],
  [12.34, "12.3"],
  [1.234, "1.23"],
  [0.01234, "0.0123"],
  [-1.234, "-1.23"],
  [1e-9, "0.000000"],
])("%d has three significant digits: %s", (value, text) => expect(significant(value)).toBe(text));

it("large counts have separators", () => expect(count(100_000)).toBe("100,000"));

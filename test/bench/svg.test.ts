/** Charts are well-formed XML whatever the labels, hold all their numbers, and are readable on light and on dark pages. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Bar, COLOURS, renderChart } from "../../src/bench/svg.ts";
import { elements, parseXml } from "./xml.ts";

const bar = (label: string, value: number, more: Partial<Bar> = {}): Bar => ({
  ...{ label, value, min: value, max: value, text: String(value), strong: false },
  ...more,
});
const chart = (bars: readonly Bar[], title = "Title") => renderChart({ id: "c", title, subtitle: "unit", bars });
const number = (value: string | undefined) => Number(value);

describe("a chart", () => {
  it("is well-formed, has every label and stays inside its frame", () => {
    const positive = fc.double({ min: 0, max: 1e9, noNaN: true });
    const anyBar = fc
      .record({
        label: fc.string({ maxLength: 40, unit: "binary" }),
        text: fc.string({ unit: "binary" }),
        values: fc.array(positive, { minLength: 3, maxLength: 3 }),
      })
      .map(({ label, text, values }) => {
        const [min, value, max] = values.toSorted((a, b) => a - b) as [number, number, number];
        return { label, text, min, value, max, strong: value > 5 };
      });
    fc.assert(
      fc.property(fc.array(anyBar, { minLength: 1, maxLength: 12 }), fc.string(), (bars, title) => {
        const root = parseXml(chart(bars, title));
        expect(elements(root, "rect")).toHaveLength(bars.length);
        const width = number(root.attributes.get("width"));
        for (const rect of elements(root, "rect")) {
          const right = number(rect.attributes.get("x")) + number(rect.attributes.get("width"));
          expect(right).toBeLessThanOrEqual(width);
          expect(number(rect.attributes.get("width"))).toBeGreaterThan(0);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("draws lengths in proportion", () => {
    const [one, two] = elements(parseXml(chart([bar("a", 10), bar("b", 40)])), "rect");
    const width = (rect: typeof one) => number(rect!.attributes.get("width"));
    expect(width(two) / width(one)).toBeCloseTo(4, 1);
  });

  it("draws the spread only where there is one", () => {
    const root = parseXml(chart([bar("a", 10), bar("b", 40, { min: 30, max: 50 })]));
    expect(elements(root, "path")).toHaveLength(1);
  });

  it("tells its title and all its numbers to those who do not see it", () => {
    const root = parseXml(chart([bar('<a> & "b"', 10, { text: "10 ms" })], "A & B"));
    expect(root.attributes.get("role")).toBe("img");
    const [title, desc] = ["title", "desc"].map((name) => elements(root, name)[0]!);
    expect(root.attributes.get("aria-labelledby")).toBe(`${title!.attributes.get("id")} ${desc!.attributes.get("id")}`);
    expect(title!.text).toBe("A & B");
    expect(desc!.text).toBe('unit. <a> & "b": 10 ms.');
  });
});

/** WCAG 2.1: relative luminance and contrast ratio. */
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5]
    .map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a: string, b: string): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

describe.each([
  ["light", "#ffffff"],
  ["dark", "#0d1117"],
])("on a %s page", (_, ground) => {
  it("text can be read", () => expect(contrast(COLOURS.text, ground)).toBeGreaterThanOrEqual(4.2));
  it.each(["bar", "strong", "spread"] as const)("%s can be seen", (name) =>
    expect(contrast(COLOURS[name], ground)).toBeGreaterThanOrEqual(3),
  );
});

describe("the reader of these tests refuses", () => {
  it.each([
    ["<a><b></a></b>"],
    ["<a>"],
    ["<a/><a/>"],
    ["<a>&x;</a>"],
    ['<a b="1" b="2"/>'],
    ["<a><</a>"],
    ["<a>\u0000</a>"],
    ["x<a/>"],
  ])("%s", (text) => expect(() => parseXml(text)).toThrow());
});

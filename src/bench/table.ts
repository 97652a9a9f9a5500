/** Tables as text, for the terminal and for Markdown. Pure. */

/** Columns padded to their widest cell; the first column left, the others right. At least one row. */
export function formatColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join("  ");
  return rows.map((row) => line(row).trimEnd()).join("\n");
}

/** A Markdown table; `left`: how many columns from the first one hold text, the others are numbers. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], left = 1): string {
  const escaped = (cell: string) => cell.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("\n", " ");
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(" | ")} |`;
  const rule = `|${head.map((_, c) => (c < left ? "---" : "---:")).join("|")}|`;
  return [line(head), rule, ...rows.map(line)].join("\n");
}

/** Three digits that mean something, no more: 12345 -> "12345", 1.2345 -> "1.23", 0.01234 -> "0.0123". */
export function significant(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}

/** 100000 -> "100,000". */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

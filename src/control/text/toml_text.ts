/** Values as TOML writes them, for the files that anyhop makes. */

/** A basic string: quotes, backslashes and control characters escaped (TOML 1.0, section String). */
export function quote(text: string): string {
  const escaped = text.replace(/["\\\u0000-\u001f\u007f]/g, (c) =>
    c === '"' || c === "\\" ? `\\${c}` : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `"${escaped}"`;
}

export const quoteList = (list: readonly string[]): string => `[${list.map(quote).join(", ")}]`;

/** `key = "value"`, or the same as a comment when there is no value but an example. */
export function line(key: string, value: string | undefined, example: string): string {
  return value === undefined ? `# ${key} = ${example}` : `${key} = ${value}`;
}

/** Building blocks of the configuration schemas. Each error text is the end of a sentence that begins with the key. */
import { z } from "zod";

export function integer(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export const text = (what: string) => z.string({ error: `must be ${what} in quotes` });
export const textList = (one: string, many: string) =>
  z.array(text(one), { error: `must be a list of ${many}, each in quotes` });
export const oneOf = <const T extends readonly string[]>(names: T) =>
  z.enum(names, { error: `must be one of ${names.map((name) => `"${name}"`).join(", ")}` });
export const yesNo = () => z.boolean({ error: "must be true or false" });
export const TABLE = "must be a table";

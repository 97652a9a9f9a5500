/**
 * Picks few rows out of a large table of settings so that every two values of different columns meet in at least one
 * row. Most faults of a wire format need one or two settings together; the full product would run for an hour.
 */

/** Values by column name; every column has at least one. */
export type Columns = Readonly<Record<string, readonly unknown[]>>;
export type Row<C extends Columns> = { readonly [K in keyof C]: C[K][number] };

/** Rows that together hold every pair of values. Greedy, without chance: the same table gives the same rows. */
export function pairwise<C extends Columns>(columns: C): Row<C>[] {
  const names = Object.keys(columns);
  const open = new Set<string>();
  const pair = (a: number, i: number, b: number, j: number) => (a < b ? `${a},${i},${b},${j}` : `${b},${j},${a},${i}`);
  for (let a = 0; a < names.length; a++) {
    for (let b = a + 1; b < names.length; b++) {
      for (let i = 0; i < columns[names[a]!]!.length; i++) {
        for (let j = 0; j < columns[names[b]!]!.length; j++) open.add(pair(a, i, b, j));
      }
    }
  }
  const rows: Row<C>[] = [];
  while (open.size > 0) {
    const [a, i, b, j] = open.values().next().value!.split(",").map(Number) as [number, number, number, number];
    const chosen = new Map([
      [a, i],
      [b, j],
    ]);
    for (let column = 0; column < names.length; column++) {
      if (!chosen.has(column))
        chosen.set(column, mostOpen(column, columns[names[column]!]!.length, chosen, open, pair, rows.length));
    }
    for (const [c, i] of chosen) for (const [d, j] of chosen) if (c < d) open.delete(pair(c, i, d, j));
    rows.push(Object.fromEntries(names.map((name, c) => [name, columns[name]![chosen.get(c)!]])) as Row<C>);
  }
  return rows;
}

/** The value of a column that closes most open pairs with the values chosen so far; equals take turns. */
function mostOpen(
  column: number,
  values: number,
  chosen: ReadonlyMap<number, number>,
  open: ReadonlySet<string>,
  pair: (a: number, i: number, b: number, j: number) => string,
  rotation: number,
): number {
  let best = 0;
  let bestCount = -1;
  for (let turn = 0; turn < values; turn++) {
    const value = (turn + rotation) % values;
    let count = 0;
    for (const [other, index] of chosen) if (open.has(pair(column, value, other, index))) count++;
    if (count > bestCount) [best, bestCount] = [value, count];
  }
  return best;
}

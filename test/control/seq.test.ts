/** Sequence numbers are on disk before they may be used, in blocks that fit how fast a tunnel is. */
import { expect, test } from "vitest";
import { SeqKeeper } from "../../src/control/instance/seq.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";

const BLOCK = 2 ** 18;
const BLOCK_MAX = 2 ** 23;
const SPACE = 2 ** 32;

/** Two tunnels, the first of which begins at `start`. */
function keeper(start: number) {
  const tunnels = new TunnelTable(createTunnelMemory(16));
  const store = createMemoryStore();
  store.reserve(new Map([["one", start]]));
  const seqs = new SeqKeeper(store, tunnels);
  const starts = seqs.open(
    new Map([
      [0, "one"],
      [1, "two"],
    ]),
  );
  starts.forEach((first, index) => {
    tunnels.seqNext[index] = first;
  });
  return { tunnels, store, seqs, starts };
}

test.each([
  ["more than half is left", 0, BLOCK / 2 - 1, BLOCK],
  ["half is used", 0, BLOCK / 2, 2 * BLOCK],
  ["less than a quarter is left: the next block is twice as long", 0, (3 * BLOCK) / 4 + 1, 3 * BLOCK],
  ["nothing is left", 0, BLOCK, 3 * BLOCK],
  ["it does not begin at 0", 1000, BLOCK, 1000 + 3 * BLOCK],
  ["the space ends", SPACE - BLOCK - 1, BLOCK, SPACE],
  ["the space has ended", SPACE - 5, 5, SPACE],
])("%s", (_when, start, used, limit) => {
  const { tunnels, store, seqs, starts } = keeper(start);
  expect([starts.get(0), starts.get(1)]).toEqual([start, 0]);
  tunnels.seqNext[0] = start + used;
  seqs.extend();
  expect([tunnels.seqLimit[0], store.next("one")]).toEqual([limit, limit]);
  // The other tunnel is idle.
  expect([tunnels.seqLimit[1], store.next("two")]).toEqual([BLOCK, BLOCK]);
  seqs.release();
  expect([store.next("one"), store.next("two")]).toEqual([start + used, 0]);
});

test("blocks grow up to the largest, and no further", () => {
  const { tunnels, seqs } = keeper(0);
  const grown: number[] = [];
  for (let n = 0; n < 8; n++) {
    const before = tunnels.seqLimit[0];
    tunnels.seqNext[0] = before;
    seqs.extend();
    grown.push(tunnels.seqLimit[0] - before);
  }
  expect(grown.slice(0, 2)).toEqual([2 * BLOCK, 4 * BLOCK]);
  expect(grown.slice(-3)).toEqual([BLOCK_MAX, BLOCK_MAX, BLOCK_MAX]);
});

test("what cannot be written may not be used", () => {
  const { tunnels, store, seqs } = keeper(0);
  tunnels.seqNext[0] = BLOCK;
  store.reserve = () => {
    throw new Error("no room");
  };
  expect(() => seqs.extend()).toThrow("no room");
  expect(tunnels.seqLimit[0]).toBe(BLOCK);
});

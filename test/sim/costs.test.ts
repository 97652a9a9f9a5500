/** What `npm run sim -- --costs` says of a small group: what is known of it from the formats alone. */
import { expect, test } from "vitest";
import { costsOf } from "../../src/sim/costs.ts";

/** A datagram of the link without messages, and a heartbeat of one that knows `n` creators. docs/PROTOCOL.md. */
const DATAGRAM = 6 + 6 + 14 + 16;
const heartbeat = (n: number): number => 1 + 18 + 14 * n;
const BEATS_PER_S = 5;
/** A datagram with the sums of the book: of the ticket keys, and of 256 buckets. */
const SUMS = DATAGRAM + 1 + 4 + 256 * 4;
const SUMS_PER_S = 0.5;

test.each([2, 4])(
  "%i nodes: the link has heartbeats and sums of the book, the bus the rest; without an engine the link has all",
  async (n) => {
    const [there, away] = [await costsOf(n, true), await costsOf(n, false)];
    const others = n - 1;
    expect(there.idle.linkDatagrams).toBeCloseTo(others * (BEATS_PER_S + SUMS_PER_S), 0);
    const bytes = others * (BEATS_PER_S * (DATAGRAM + heartbeat(n)) + SUMS_PER_S * SUMS);
    expect(there.idle.linkBytes / bytes).toBeCloseTo(1, 1);
    expect(there.busy).toMatchObject({ linkDatagrams: 0, linkBytes: 0 });
    // Four reports a second of 10 bytes, each 16th of 35.
    expect(there.busy.busBytes).toBeGreaterThan(40);
    expect(there.flip.linkDatagrams).toBeGreaterThanOrEqual(2);
    expect(away.idle.busMessages + away.busy.busMessages + away.flip.busMessages).toBe(0);
    expect(away.busy.linkBytes).toBeGreaterThan(40 * others);
    expect(away.flip.linkBytes - there.flip.linkBytes).toBeGreaterThan(35 * others);
  },
  60_000,
);

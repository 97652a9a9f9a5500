/**
 * The matrix of settings that every foreign program is met with. One row is one tunnel: two processes, six pings each
 * way and family. `anytun.test.ts` and `uanytun.test.ts` run it, each in a process of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPair, findProgram, type Pair } from "../../src/bench/netns.ts";
import { pairwise } from "./pairwise.ts";
import { end, ping, type Settings, type Side, type Speaker, scratch, startTunnel } from "./tunnel.ts";

const AES = ["aes-ctr-128", "aes-ctr-192", "aes-ctr-256"] as const;

/** `ours`: the side where anyhop stands; left has the role left. `learns`: who is not told the other's address. */
const TABLE = {
  cipher: ["null", ...AES],
  kd: ["null", ...AES],
  tag: [null, 0, 1, 4, 10, 16, 19, 20],
  device: ["tun", "tap"],
  outer: ["v4", "v6"],
  ours: ["left", "right"],
  mux: [0, 1, 0x7fff],
  senders: [
    [0, 0],
    [0x8001, 1],
    [0xffff, 0xffff],
  ],
  window: [0, 64],
  learns: ["nobody", "left", "right"],
} as const;

export function describeMatrix(peer: Speaker, us: Speaker = "anyhop"): void {
  describe.skipIf(findProgram(peer) === undefined)(`${us} and ${peer}`, () => {
    let pair: Pair;
    let dir: string;
    beforeAll(async () => {
      pair = await createPair(`io-${peer}`);
      dir = await scratch();
    });
    afterAll(() => pair?.close());

    const rows = pairwise(TABLE);
    test("every value of the table is met", () => {
      for (const [name, values] of Object.entries(TABLE)) {
        for (const value of values) expect(rows.some((row) => row[name as keyof typeof row] === value)).toBe(true);
      }
    });

    for (const row of rows) {
      const sender = row.senders.map((id) => id.toString(16)).join("/");
      const name =
        `${row.device} over ${row.outer}, cipher ${row.cipher}, kd ${row.kd}, tag ${row.tag}, we are ${row.ours}, ` +
        `mux ${row.mux}, senders ${sender}, window ${row.window}, learns: ${row.learns}`;
      test(name, async () => {
        const settings: Settings = { ...row };
        const at = (side: Side, senderId: number) =>
          end(side, side === row.ours ? us : peer, settings, {
            senderId,
            window: row.window,
            ...(row.learns === side ? { remote: undefined } : {}),
          });
        const ends = { left: at("left", row.senders[0]), right: at("right", row.senders[1]) };
        // Who knows the other's address has to speak first.
        const first = row.learns === "left" ? "right" : "left";
        const tunnel = await startTunnel(pair, ends, settings, dir, first);
        try {
          expect(await ping(pair, "left", "v4")).toEqual({ sent: 3, received: 3 });
          expect(await ping(pair, "right", "v6")).toEqual({ sent: 3, received: 3 });
        } finally {
          await tunnel.stop();
        }
      });
    }
  });
}

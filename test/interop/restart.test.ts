/**
 * Restarts. A peer that comes back counts from 0 again and must not be locked out by our replay window; we come back
 * with numbers that were never used, whatever killed us, and the peer's window lets us in at once.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPair, findProgram, OUTER, type Pair, type Program } from "../../src/bench/netns.ts";
import { answers, DEFAULTS, deviceReady, end, PORT, ping, scratch, startEnd, startTunnel } from "./tunnel.ts";
import { headerOf, NetnsSocket } from "./wire.ts";

const TAP_PORT = 5000;

for (const peer of ["anytun", "uanytun"] as const) {
  describe.skipIf(findProgram(peer) === undefined)(`restart, with ${peer}`, () => {
    let pair: Pair;
    beforeAll(async () => {
      pair = await createPair(`rs-${peer}`);
    });
    afterAll(() => pair?.close());

    test("a peer that counts from 0 again is let in within seconds, with our window on", async () => {
      const dir = await scratch();
      const left = end("left", "anyhop", DEFAULTS, { window: 128 });
      const right = end("right", peer, DEFAULTS);
      const tunnel = await startTunnel(pair, { left, right }, DEFAULTS, dir);
      let again: Program | undefined;
      try {
        await pair.left.run(["ping", "-q", "-c", "400", "-i", "0.002", "10.9.0.2"]);
        await tunnel.right.stop("SIGKILL");
        again = startEnd(pair, "right", right, DEFAULTS, dir);
        await deviceReady(pair.right, "right", again);
        expect(await answers(pair, "left")).toBe(true);
        expect(await ping(pair, "left")).toEqual({ sent: 3, received: 3 });
        expect(await ping(pair, "right")).toEqual({ sent: 3, received: 3 });
      } finally {
        await tunnel.stop();
        await again?.stop("SIGKILL");
      }
    });

    test("no sequence number is used twice over kills and restarts, and the peer's window lets us in", async () => {
      const dir = await scratch();
      // Everything from the left passes through the hands of this socket, which stands before the peer.
      const middle = await NetnsSocket.open(pair.right, OUTER.right.v4, TAP_PORT);
      const used = new Map<number, Set<number>>();
      let repeated = 0;
      let back = PORT;
      middle.onDatagram = ({ address, port, bytes }) => {
        if (address !== OUTER.left.v4) return middle.send(bytes, OUTER.left.v4, back);
        back = port;
        const { seq, senderId } = headerOf(bytes);
        const seen = used.get(senderId) ?? new Set();
        used.set(senderId, seen);
        if (seen.has(seq)) repeated++;
        seen.add(seq);
        middle.send(bytes, OUTER.right.v4, PORT);
      };
      const left = end("left", "anyhop", DEFAULTS, {
        remote: { address: OUTER.right.v4, port: TAP_PORT },
        senderId: 7,
        extra: ["--shards", "1"],
      });
      const right = end("right", peer, DEFAULTS, {
        remote: { address: OUTER.right.v4, port: TAP_PORT },
        window: 64,
      });
      const tunnel = await startTunnel(pair, { left, right }, DEFAULTS, dir);
      let ours = tunnel.left;
      try {
        for (const signal of ["SIGKILL", "SIGTERM", "SIGKILL"] as const) {
          await pair.left.run(["ping", "-q", "-c", "100", "-i", "0.002", "10.9.0.2"]);
          await ours.stop(signal);
          ours = startEnd(pair, "left", left, DEFAULTS, dir);
          await deviceReady(pair.left, "left", ours);
          expect(await answers(pair, "left")).toBe(true);
        }
        expect(await ping(pair, "right")).toEqual({ sent: 3, received: 3 });
        expect([...used.keys()]).toEqual([7]);
        expect(used.get(7)!.size).toBeGreaterThan(300);
        expect(repeated).toBe(0);
      } finally {
        await ours.stop();
        await tunnel.stop();
        await middle.close();
      }
    });
  });
}

/**
 * Roaming: whoever changes its address is followed from its first authentic packet on, and only from an authentic and
 * fresh one. Both directions: the peer follows us, we follow the peer.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createPair, findProgram, OUTER, type Pair, sleep } from "../../src/bench/netns.ts";
import { answers, DEFAULTS, end, PORT, ping, scratch, startTunnel } from "./tunnel.ts";
import { NetnsSocket } from "./wire.ts";

const NEW_ADDRESS = "192.0.2.77";
const TAP_PORT = 5000;
const THIEF_PORT = 5001;

for (const peer of ["anytun", "uanytun"] as const) {
  describe.skipIf(findProgram(peer) === undefined)(`roaming, with ${peer}`, () => {
    let pair: Pair;
    beforeAll(async () => {
      pair = await createPair(`ro-${peer}`);
    });
    afterAll(() => pair?.close());
    afterEach(async () => {
      await pair.left.ip("addr", "flush", "dev", "eth0", "scope", "global");
      await pair.left.ip("addr", "add", `${OUTER.left.v4}/24`, "dev", "eth0");
      await pair.left.ip("addr", "add", `${OUTER.left.v6}/64`, "dev", "eth0", "nodad");
    });

    for (const [mover, server] of [
      ["anyhop", peer],
      [peer, "anyhop"],
    ] as const) {
      test(`${mover} moves, ${server} follows`, async () => {
        const ends = {
          left: end("left", mover, DEFAULTS, { bind: undefined, window: 64 }),
          right: end("right", server, DEFAULTS, { remote: undefined, window: 64 }),
        };
        const tunnel = await startTunnel(pair, ends, DEFAULTS, await scratch());
        try {
          await pair.left.ip("addr", "add", `${NEW_ADDRESS}/24`, "dev", "eth0");
          await pair.left.ip("addr", "del", `${OUTER.left.v4}/24`, "dev", "eth0");
          // The second address may have gone with the first one, as a secondary of the same prefix.
          await pair.left.run(["ip", "addr", "add", `${NEW_ADDRESS}/24`, "dev", "eth0"]);
          expect(await answers(pair, "left")).toBe(true);
          expect(await ping(pair, "right")).toEqual({ sent: 3, received: 3 });
        } finally {
          await tunnel.stop();
        }
      });
    }

    test("a replayed or forged datagram from elsewhere does not move the endpoint", async () => {
      const middle = await NetnsSocket.open(pair.right, OUTER.right.v4, TAP_PORT);
      const thief = await NetnsSocket.open(pair.right, OUTER.right.v4, THIEF_PORT);
      const captured: Uint8Array[] = [];
      middle.onDatagram = ({ address, bytes }) => {
        if (address === OUTER.left.v4) return middle.send(bytes, OUTER.right.v4, PORT);
        captured.push(bytes);
        middle.send(bytes, OUTER.left.v4, PORT);
      };
      const ends = {
        left: end("left", "anyhop", DEFAULTS, { remote: undefined, window: 64 }),
        right: end("right", peer, DEFAULTS, { remote: { address: OUTER.right.v4, port: TAP_PORT } }),
      };
      const tunnel = await startTunnel(pair, ends, DEFAULTS, await scratch(), "right");
      try {
        expect(captured.length).toBeGreaterThan(0);
        for (const bytes of captured.slice(-5)) {
          thief.send(bytes, OUTER.left.v4, PORT);
          const forged = bytes.slice();
          forged[3]! ^= 0x80;
          thief.send(forged, OUTER.left.v4, PORT);
        }
        await sleep(100);
        expect(await ping(pair, "left")).toEqual({ sent: 3, received: 3 });
        expect(thief.received).toEqual([]);
      } finally {
        await tunnel.stop();
        await Promise.all([middle.close(), thief.close()]);
      }
    });
  });
}

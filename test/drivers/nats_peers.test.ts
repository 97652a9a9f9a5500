/** What a node concludes from heartbeats: snapshots, lag, sources that stall. On a virtual clock. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Heartbeat, PEER_SILENT_MS, PeerViews, parseHeartbeat, STALLED_MS } from "../../src/drivers/nats_peers.ts";

const beat = (n: number, puts = 0, boot = "one"): Heartbeat => ({
  ...{ boot, n, puts, domain: "d-n2" },
  streams: { l: "live", b: "book" },
});

test("the snapshot is whole when both copies have what was there before the connection", () => {
  const peers = new PeerViews();
  expect(peers.complete(0)).toBe(true);
  peers.heardDirect(2, beat(7), 0);
  expect(peers.complete(0)).toBe(false);
  peers.heardCopy(2, "l", beat(7));
  expect(peers.complete(0)).toBe(false);
  peers.heardCopy(2, "b", beat(6));
  expect(peers.complete(0)).toBe(false);
  peers.heardCopy(2, "b", beat(8));
  expect(peers.complete(0)).toBe(true);
  // What the peer puts later is not part of it, unless its process is another one.
  peers.heardDirect(2, beat(20), 10);
  expect(peers.complete(10)).toBe(true);
  peers.heardDirect(2, beat(1, 0, "two"), 20);
  expect(peers.complete(20)).toBe(false);
  expect(peers.complete(20 + PEER_SILENT_MS)).toBe(true);
});

test("after a new connection a peer counts when it is heard directly again, whatever of it comes first", () => {
  const peers = new PeerViews();
  peers.heardDirect(2, beat(7), 0);
  peers.restart();
  // A record of it.
  peers.get(2).heardMs = 10;
  expect(peers.alive(10)).toEqual([]);
  expect(peers.complete(10)).toBe(true);
  peers.heardDirect(2, beat(8), 20);
  expect(peers.alive(20)).toHaveLength(1);
  expect(peers.complete(20)).toBe(false);
});

test("lag is what the peer has put and the copy has not; unknown for another life of the peer", () => {
  const peers = new PeerViews();
  peers.heardCopy(2, "l", beat(1, 10));
  expect(peers.status()).toEqual([{ node: 2, lag: undefined, heardMs: undefined }]);
  peers.heardDirect(2, beat(2, 25), 5);
  expect(peers.status()).toEqual([{ node: 2, lag: 15, heardMs: 5 }]);
  peers.heardCopy(2, "l", beat(3, 30));
  expect(peers.status()[0].lag).toBe(0);
  peers.heardDirect(2, beat(1, 0, "two"), 6);
  expect(peers.status()[0].lag).toBeUndefined();
});

test("a source stalls when a living peer's copy does not follow, and not when both are silent", () => {
  const peers = new PeerViews();
  const second = (n: number, copied: number) => {
    peers.heardDirect(2, beat(n), n * 1000);
    if (copied > 0) peers.heardCopy(2, "l", beat(copied));
  };
  for (let n = 1; n <= 5; n++) second(n, n);
  expect(peers.stalled(5000)).toEqual([]);
  let n = 5;
  while (peers.stalled(n * 1000).length === 0 && n < 100) second(++n, 0);
  // Three heartbeats behind, and then the time.
  expect(n * 1000).toBe(8000 + STALLED_MS + 1000);
  expect(peers.stalled(n * 1000 + PEER_SILENT_MS)).toEqual([]);
  second(++n, n);
  second(++n, n);
  expect(peers.stalled(n * 1000)).toEqual([]);
});

test("heartbeats: what was written is read, anything else is nothing", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  expect(parseHeartbeat(bytes(JSON.stringify(beat(3, 4))))).toEqual(beat(3, 4));
  const odd = [
    ...["", "null", "7", "[]", "{}", JSON.stringify({ ...beat(1), n: "1" }), JSON.stringify({ ...beat(1), n: 1.5 })],
    ...[JSON.stringify({ ...beat(1), domain: "a.b" }), JSON.stringify({ ...beat(1), streams: { l: ">", b: "x" } })],
    `${JSON.stringify(beat(1))}${" ".repeat(1024)}`,
  ];
  for (const text of odd) expect([text, parseHeartbeat(bytes(text))]).toEqual([text, undefined]);
  fc.assert(fc.property(fc.uint8Array(), (noise) => parseHeartbeat(noise) === undefined));
});

/**
 * Two daemons and TCP through them: what arrives is what was sent, byte for byte, with every offload, with none, and with
 * each one missing; over both IP versions inside and outside.
 */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createPair, type Pair } from "../../src/bench/netns.ts";
import { readStatus } from "../daemon/status.ts";
import { DEFAULTS, end, INNER, type Settings, scratch, socketOf, startTunnel } from "../interop/tunnel.ts";
import { whyNoNetns } from "../support/netns.ts";

const reason = whyNoNetns({ tun: true, programs: ["setpriv"] });

const BYTES = 24 << 20;
/** Not compressible and not periodic: each packet differs from its neighbours (xorshift32, Marsaglia 2003). */
function noise(): Buffer {
  const words = new Uint32Array(BYTES / 4);
  let x = 0x9e3779b9;
  for (let k = 0; k < words.length; k++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[k] = x;
  }
  return Buffer.from(words.buffer);
}
const LISTEN = `const { createServer } = require("node:net");
  const hash = require("node:crypto").createHash("sha256");
  const server = createServer((s) => s.on("data", (d) => hash.update(d)).on("end", () => {
    console.log(hash.digest("hex")); s.end(); server.close();
  })).listen(5001, process.argv[1], () => console.log("ready"));`;
const SEND = `const s = require("node:net").connect(5001, process.argv[1], () =>
  require("node:fs").createReadStream(process.argv[2], { highWaterMark: 1 << 20 }).pipe(s)); s.on("close", () => {}).resume();`;

describe.skipIf(reason !== undefined)(`a TCP transfer${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let pair: Pair;
  let file = "";
  let digest = "";

  beforeAll(async () => {
    pair = await createPair("off");
    const bytes = noise();
    digest = createHash("sha256").update(bytes).digest("hex");
    file = `${await scratch()}/bytes`;
    writeFileSync(file, bytes);
  });
  afterAll(() => pair?.close());

  async function transfer(without: string, settings: Settings, inner: "v4" | "v6") {
    const dir = await scratch();
    process.env["ANYHOP_WITHOUT"] = without;
    const tunnel = await startTunnel(
      pair,
      { left: end("left", "anyhop", settings), right: end("right", "anyhop", settings) },
      settings,
      dir,
    ).finally(() => {
      delete process.env["ANYHOP_WITHOUT"];
    });
    try {
      const listener = pair.right.start([process.execPath, "-e", LISTEN, INNER.right[inner]]);
      while (listener.alive && !listener.output.includes("ready")) await new Promise((done) => setImmediate(done));
      const sent = await pair.left.run([process.execPath, "-e", SEND, INNER.right[inner], file], 25_000);
      expect(sent.stderr).toBe("");
      await listener.ended;
      expect(listener.output.trim().split("\n").at(-1)).toBe(digest);
      const [left, right] = await Promise.all([readStatus(socketOf(dir, "left")), readStatus(socketOf(dir, "right"))]);
      return { left, right };
    } finally {
      await tunnel.stop();
    }
  }
  const on = (status: { offloads: { name: string; on: boolean }[] }) =>
    status.offloads.filter((offload) => offload.on).map(({ name }) => name);

  test.each([
    ["v4", "v4"],
    ["v6", "v4"],
    ["v4", "v6"],
    ["v6", "v6"],
  ] as const)("arrives, inner %s over outer %s", async (inner, outer) => {
    const { left, right } = await transfer("", { ...DEFAULTS, outer }, inner);
    expect(on(left)).toEqual(["device-tcp", "device-udp", "socket-send", "socket-receive"]);
    expect(left.tunnels[0].tx.bytes).toBeGreaterThan(BYTES);
    // Nothing is delivered twice: the window saw every number once.
    expect(right.verdicts["replay_duplicate"]).toBe(0);
    expect([left.verdicts["inner_malformed"], right.verdicts["inner_malformed"]]).toEqual([0, 0]);
    expect([right.verdicts["device_refused"], left.verdicts["device_refused"]]).toEqual([0, 0]);
  });

  test.each([
    ["all", []],
    ["device-tcp", ["socket-send", "socket-receive"]],
    ["device-udp", ["device-tcp", "socket-send", "socket-receive"]],
    ["socket-send", ["device-tcp", "device-udp", "socket-receive"]],
    ["socket-receive", ["device-tcp", "device-udp", "socket-send"]],
  ])("arrives without %s", async (without, left) => {
    const status = await transfer(without, DEFAULTS, "v4");
    expect(on(status.left)).toEqual(left);
    expect(status.left.offloads.filter((o) => !o.on).every((o) => /^Switched off/.test(o.why))).toBe(true);
    await transfer(without, DEFAULTS, "v6");
  });

  test("arrives over a device for Ethernet frames, which says why it has no super-packets", async () => {
    const { left } = await transfer("", { ...DEFAULTS, device: "tap" }, "v4");
    expect(on(left)).toEqual(["socket-send", "socket-receive"]);
    expect(left.offloads[0].why).toBe("A TAP device moves one frame at a time.");
  });
});

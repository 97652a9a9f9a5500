/**
 * Packets of a client are captured before its node and sent again by a stranger with the client's address, at another
 * node: while the owner of the session lives none is delivered; when it has just died, no more than the documented bound.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { PROGRESS_MS } from "../../cluster/forecast.ts";
import { Capture } from "../capture.ts";
import { type GroupLab, type Scenario, streamFrom, WAYS, wallMs } from "../group_lab.ts";
import { atMost, type LabNumber } from "../group_result.ts";
import { cableOf, type NodeName, ROUTER, SERVICE4, STRANGER } from "../group_topology.ts";
import { ownProgram, run, spawnIn } from "../host.ts";
import { PcapReader } from "../pcap.ts";
import type { Replayed, ReplayOrder } from "../replayer.ts";
import { PORT } from "../topology.ts";

const SECONDS = 34;
const PACKETS = 100_000;
const BYTES = 64;
const REPORT_MS = 700;
const RECORD_PPS = 7000;
const REPLAY_PPS = 15_000;
/** The client is so fast so shortly before its owner dies that no report of it may have been made. */
const LATE_PPS = 1000;
const LATE_MS = 200;
/** The same long before, which all were told of; and how long until nobody expects it of the client any more. */
const EARLY_PACKETS = 1000;
const FORGOTTEN_MS = 4000;
/** From when an owner counts until its report is with the others: NATS takes a few ms, a busy machine its time. */
const REPORT_WAY_MS = 100;
/**
 * What the owner accepted and had not told anybody can come in once more: docs/PROTOCOL.md, "Who owns a session of a
 * group", Exposure.
 */
const EXPOSURE_MS = PROGRESS_MS + REPORT_WAY_MS;
/** Beside sending everything twice. */
const OTHER_S = 12;
const STREAM = streamFrom("c1");

export const replay: Scenario = {
  seconds: SECONDS,
  secondsMin: 15,
  help: "100,000 captured packets sent again at another node",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const perPacketS = 1 / RECORD_PPS + 1 / REPLAY_PPS;
    const count = Math.min(PACKETS, Math.floor((seconds - OTHER_S) / perPacketS));
    const stranger = lab.state.namespaces.get(STRANGER)!;
    run(["ip", "-n", stranger, "address", "add", `${cableOf("c1").place4}/32`, "dev", "lo"]);
    // The client's kernel would hand several datagrams over as one, and a capture would show them as one.
    const single = ["gso_max_segs", "1"];
    run(["ip", "-n", lab.state.namespaces.get("c1")!, "link", "set", "dev", "c1", ...single]);
    const file = join(lab.directory, "captured.pcap");
    await record(lab, file, count, RECORD_PPS, signal);
    await lab.flip(["c1"], "n2");
    lab.streams.send(STREAM, 50, BYTES);
    await pause(1000, undefined, { signal });
    await lab.flip(["x"], "n3");
    const living = await replayFile(lab, file);
    await pause(1000, undefined, { signal });
    // Now the owner dies, and what it saw last is sent again elsewhere at once.
    const late = join(lab.directory, "late.pcap");
    const untold = await recordUntilDeath(lab, late, "n2", signal);
    const dead = await replayFile(lab, late);
    await pause(1500, undefined, { signal });
    return [
      atMost("packets that were not captured and sent again", Math.max(0, count - living.sent), 0, "", count),
      atMost("replayed packets delivered, owner alive", living.delivered, 0, "", living.sent),
      atMost("replayed packets delivered, owner dead", dead.delivered, untold, "", dead.sent),
    ];
  },
};

const fromClient = `inbound and udp and src host ${cableOf("c1").place4} and dst port ${PORT}`;

/** Sends `count` packets in the stream, and keeps everything that the client sends meanwhile. */
async function record(
  lab: GroupLab,
  file: string,
  count: number,
  packetsPerSecond: number,
  signal: AbortSignal,
): Promise<void> {
  lab.note({ what: "capture", client: "c1" });
  const capture = await Capture.toFile(lab.state, ROUTER, fromClient, file);
  lab.streams.send(STREAM, packetsPerSecond, BYTES, count);
  await pause(REPORT_MS, undefined, { signal });
  const done = () => (lab.count(STREAM).done ? true : undefined);
  await lab.until("the packets are not sent", done, signal, 60_000);
  await pause(REPORT_MS, undefined, { signal });
  await capture.end();
}

/**
 * The client is fast for a while, then again, and its owner dies. Keeps what the client sent until then, and returns how
 * many of these the owner may have taken without a word to the others.
 */
async function recordUntilDeath(lab: GroupLab, file: string, owner: NodeName, signal: AbortSignal): Promise<number> {
  const capture = await Capture.toFile(lab.state, ROUTER, fromClient, file);
  lab.streams.send(STREAM, LATE_PPS, BYTES, EARLY_PACKETS);
  await pause(FORGOTTEN_MS, undefined, { signal });
  lab.streams.send(STREAM, LATE_PPS, BYTES);
  await pause(LATE_MS, undefined, { signal });
  const killedMs = wallMs();
  await lab.kill(owner);
  const goneMs = wallMs();
  await capture.end();
  lab.streams.stop(STREAM);
  let untold = 0;
  const reader = new PcapReader(({ atMs }) => {
    if (atMs >= killedMs - EXPOSURE_MS && atMs <= goneMs) untold++;
  });
  reader.push(readFileSync(file));
  return untold;
}

/** Packets that came in twice, of every stream from the client. */
const twice = (lab: GroupLab): number =>
  WAYS.filter(({ from }) => from === "c1").reduce((sum, { id }) => sum + lab.count(id).duplicates, 0);

/** Everything in the file once more, from the stranger. */
async function replayFile(lab: GroupLab, file: string): Promise<{ readonly sent: number; readonly delivered: number }> {
  const node = lab.router.preferences.x;
  lab.note({ what: "replay", node });
  const before = twice(lab);
  // The router cannot tell the stranger from the client.
  lab.wire.paused = true;
  const order: ReplayOrder = {
    ...{ file, packetsPerSecond: REPLAY_PPS, source: cableOf("c1").place4, sourcePort: PORT },
    ...{ target: SERVICE4, port: PORT },
  };
  const stranger = lab.state.namespaces.get(STRANGER)!;
  const child = spawnIn(stranger, [...ownProgram("replayer.js"), JSON.stringify(order)], "pipe");
  let out = "";
  child.stdout!.on("data", (chunk) => {
    out += chunk;
  });
  await new Promise((resolve) => child.once("close", resolve));
  const { sent } = JSON.parse(out) as Replayed;
  await pause(REPORT_MS);
  lab.wire.paused = false;
  lab.note({ what: "replayed", node });
  return { sent, delivered: twice(lab) - before };
}

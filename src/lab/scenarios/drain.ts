/** A node is drained while packets run, and serves again: nobody loses anything. */
import { setTimeout as pause } from "node:timers/promises";
import { type Scenario, WAYS } from "../group_lab.ts";
import { all, atMost, type LabNumber } from "../group_result.ts";
import { NODES } from "../group_topology.ts";

const SECONDS = 20;
const PACKETS_PER_SECOND = 1000;
const PACKETS = 10_000;
const BYTES = 200;
const BEFORE_MS = 1500;
const DRAIN_MAX_S = 20;
/** Time that is not for sending: building up, the drain's silence, the last packets. */
const OTHER_S = 4;
/** c1 comes over IPv4 and sends IPv4; c2 comes over IPv6 and sends IPv6. */
const STREAMS = [1, 5];

export const drain: Scenario = {
  seconds: SECONDS,
  secondsMin: 8,
  help: "10,000 packets at 1,000/s over IPv4 and IPv6 while their node is drained",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const count = Math.min(PACKETS, Math.round((seconds - OTHER_S) * PACKETS_PER_SECOND));
    for (const id of STREAMS) lab.streams.send(id, PACKETS_PER_SECOND, BYTES, count);
    await pause(BEFORE_MS, undefined, { signal });
    await lab.drainAndReturn(NODES[0], DRAIN_MAX_S, signal);
    const done = () => (STREAMS.every((id) => lab.count(id).done) ? true : undefined);
    await lab.until("the packets are not sent", done, signal);
    await pause(1500, undefined, { signal });
    const moved = lab.wire.arrivals.filter(({ from, client }) => from === NODES[0] && client !== "c3");
    return [
      ...STREAMS.map((id) => {
        const { sent, received } = lab.count(id);
        const { from, address } = WAYS.find((way) => way.id === id)!;
        return atMost(`packets of ${from} lost, IPv${address.includes(":") ? 6 : 4}`, sent - received, 0, "", sent);
      }),
      all("clients that moved to another node", new Set(moved.map(({ client }) => client)).size, STREAMS.length),
    ];
  },
};

/**
 * The state engine is stopped at every node and the nodes can't reach each other, so each flip meets a node that has
 * never heard of the session: the client resumes by ticket. Afterwards everything comes back.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type GroupLab, type Scenario, streamFrom, wallMs } from "../group_lab.ts";
import { all, atMost, type LabNumber, percentile, shown, toMicros } from "../group_result.ts";
import { CLIENTS, NODES } from "../group_topology.ts";

const SECONDS = 55;
const PACKETS_PER_SECOND = 500;
const BYTES = 200;
const RESUMPTIONS = 100;
/** A client lets a second pass between two resumptions that strangers could provoke. */
const PERIOD_MS = 1150;
const PATIENCE_MS = 1000;
const LIMIT_MS = 20;
const FOR_ENDS_MS = 9500;
/** Three daemons that have just started take the processors from those that are measured. */
const SETTLE_MS = 1500;

export const engineDown: Scenario = {
  seconds: SECONDS,
  secondsMin: 14,
  looks: true,
  help: "NATS stopped and nodes cut off from each other: flips resume by ticket",
  async run(lab, seconds = SECONDS, signal): Promise<LabNumber[]> {
    const rounds = Math.min(
      Math.ceil(RESUMPTIONS / CLIENTS.length),
      Math.floor((seconds * 1000 - FOR_ENDS_MS) / PERIOD_MS),
    );
    const rttMs = await roundTrip(lab);
    for (const client of CLIENTS) lab.streams.send(streamFrom(client), PACKETS_PER_SECOND, BYTES);
    lab.note({ what: "engine off" });
    await lab.services.kill(undefined, ["hub", "leaf"]);
    lab.cut(NODES);
    // Sessions that all nodes know are replaced by such that one node knows alone, at the first flip.
    await restartClients(lab, signal);
    await pause(SETTLE_MS, undefined, { signal });
    const waits: (number | undefined)[] = [];
    for (let i = 0; i < rounds; i++) {
      const since = wallMs();
      const next = NODES[(i + 1) % NODES.length]!;
      await lab.flip([...CLIENTS, "s"], next);
      const found = () => CLIENTS.map((client) => lab.arrivals(client, since).find(({ to }) => to === next));
      while (found().some((one) => one?.throughMs === undefined) && wallMs() < since + PATIENCE_MS)
        await pause(10, undefined, { signal });
      waits.push(...found().map((one) => one?.throughMs && toMicros(one.throughMs - one.atMs)));
      await lab.look();
      await pause(Math.max(0, since + PERIOD_MS - wallMs()), undefined, { signal });
    }
    lab.heal(NODES);
    lab.services.start(undefined, ["hub", "leaf"]);
    lab.note({ what: "engine on" });
    const through = waits.filter((wait) => wait !== undefined);
    const limit = toMicros(rttMs + LIMIT_MS);
    const name = `resumed by ticket within 1 RTT + ${LIMIT_MS} ms`;
    return [
      shown("round trip through the tunnel, ms", rttMs, 1),
      all(name, through.filter((wait) => wait <= limit).length, waits.length),
      atMost("resumed by ticket, max", percentile(through, 1), limit, "ms", waits.length),
    ];
  },
};

async function roundTrip(lab: GroupLab): Promise<number> {
  return toMicros((await lab.daemons.question(NODES[0], "ping", { client: "c1" })).rttMs);
}

/** Every client's daemon is new: so are its session and its instance. */
async function restartClients(lab: GroupLab, signal: AbortSignal): Promise<void> {
  for (const client of CLIENTS) {
    lab.note({ what: "restart", client });
    await lab.daemons.kill(client);
    lab.daemons.start(client);
  }
  const since = wallMs();
  const silent = () => CLIENTS.filter((client) => lab.wire.trace(streamFrom(client)).firstFrom(since) === undefined);
  await lab.until("clients do not come back", () => (silent().length === 0 ? true : undefined), signal, 10_000);
}

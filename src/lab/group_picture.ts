/** The live picture of the anycast lab: who carries whom, the time-line, losses. From the lab to lines of text; pure. */
import type { GroupLab } from "./group_lab.ts";
import { WAYS } from "./group_lab.ts";
import type { LabEvent } from "./group_result.ts";
import { CLIENTS, NODES } from "./group_topology.ts";
import { cut } from "./picture.ts";
import type { LabState } from "./state.ts";

const BOLD = "\x1b[1m";
const DIM = "\x1b[2m";
const RED = "\x1b[31m";
const GREEN = "\x1b[32m";
const PLAIN = "\x1b[0m";

/** "c1 at n2, c2 at n1, c3 at n1, lost 0". */
export function carriersText(lab: GroupLab): string {
  const carried = CLIENTS.map((client) => `${client} at ${lab.wire.carrier(client) ?? "-"}`);
  return `${carried.join(", ")}, lost ${lostOf(lab)}`;
}

/** Sent more than a report ago and not there; what is on its way counts, so it is a little high. */
const lostOf = (lab: GroupLab): number =>
  WAYS.reduce((sum, { id }) => {
    const { sent, received } = lab.count(id);
    return sum + Math.max(0, sent - received);
  }, 0);

/** "  12.3 s  through  c1 at n2  gap 1.2 ms" */
export function eventLine({ atMs, what, client, node, gapMs, lost }: LabEvent): string {
  const who = [client, node].filter((name) => name !== undefined).join(what === "flip" ? " to " : " at ");
  const gap = gapMs === undefined ? "" : `  gap ${gapMs.toFixed(1)} ms`;
  const loss = lost === undefined ? "" : `  lost ${lost}`;
  return `${(atMs / 1000).toFixed(2).padStart(8)} s  ${what.padEnd(12)} ${who}${gap}${loss}`;
}

export function groupPicture(
  state: LabState,
  lab: GroupLab | undefined,
  columns: number,
  rows: number,
  colour: boolean,
): string[] {
  const paint = (code: string, text: string) => (colour ? `${code}${text}${PLAIN}` : text);
  const left = state.seconds === undefined ? "" : ` of ${state.seconds}`;
  const head = [
    paint(BOLD, `anyhop ${state.version} lab: ${state.topology.title}`),
    `${state.phase}, ${Math.floor(state.elapsedMs / 1000)}${left} s`,
    "",
  ];
  const last = paint(
    BOLD,
    "1 2 3 flip a client   k kill a node   d drain one   e engine off and on   q ends and removes all",
  );
  if (lab === undefined) return [...head, last].map((line) => cut(line, columns));
  for (const node of NODES) {
    const carried = CLIENTS.filter((client) => lab.wire.carrier(client) === node);
    const report = state.daemons.get(node);
    const up = report === undefined ? paint(RED, "down") : paint(GREEN, "up  ");
    head.push(
      `${node}  ${up}  ${String(report?.sessions.length ?? 0).padStart(3)} sessions   carries ${carried.join(" ") || "-"}`,
    );
  }
  head.push("", paint(DIM, "stream             sent  received   on the way or lost   twice"));
  for (const { id, from, to, address } of WAYS) {
    const { sent, received, duplicates } = lab.count(id);
    if (sent === 0) continue;
    const way = `${from} -> ${to} IPv${address.includes(":") ? 6 : 4}`.padEnd(14);
    head.push(
      `${way}${[sent, received, sent - received, duplicates].map((n, i) => String(n).padStart([9, 10, 21, 8][i]!)).join("")}`,
    );
  }
  head.push("", paint(DIM, "time-line"));
  const problems = state.problems.flatMap((problem) => problem.split("\n")).map((line) => paint(RED, line));
  const room = Math.max(0, rows - head.length - problems.length - 2);
  const events = room === 0 ? [] : lab.events.slice(-room).map(eventLine);
  return [...head, ...events, ...problems, "", last].slice(0, rows).map((line) => cut(line, columns));
}

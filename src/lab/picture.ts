/**
 * The live picture: from the lab's state to lines of text, for a terminal of any size. Pure; it neither knows the
 * terminal nor the time.
 */
import type { RttMs } from "./histogram.ts";
import { percent } from "./result.ts";
import { type LabState, type PathState, reportsOf, type SessionState, type TunnelState } from "./state.ts";
import { innerAddresses, outerAddresses } from "./topology.ts";

const BARS = "▁▂▃▄▅▆▇█";
const BOLD = "\x1b[1m";
const DIM = "\x1b[2m";
const RED = "\x1b[31m";
const GREEN = "\x1b[32m";
const PLAIN = "\x1b[0m";

/** A small curve: each value as a bar, scaled between the least and the greatest; a gap for NaN. */
export function curve(values: readonly number[]): string {
  const known = values.filter((value) => !Number.isNaN(value));
  const low = Math.min(...known);
  const span = Math.max(...known) - low;
  const bar = (value: number) => {
    if (Number.isNaN(value)) return " ";
    return BARS[span === 0 ? 0 : Math.round(((value - low) / span) * (BARS.length - 1))];
  };
  return values.map(bar).join("");
}

/** 1234567 -> "1.2 MB". */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/**
 * All lines of the picture, each at most `columns` wide, at most `rows` of them; the last says what to press.
 * `colour`: with escape sequences, which take no width.
 */
export function picture(state: LabState, columns: number, rows: number, colour: boolean): string[] {
  const paint = (code: string, text: string) => (colour ? `${code}${text}${PLAIN}` : text);
  const left = state.seconds === undefined ? "" : ` of ${state.seconds}`;
  const lines = [
    paint(BOLD, `anyhop ${state.version} lab: ${state.topology.title}`),
    `${state.phase}, ${Math.floor(state.elapsedMs / 1000)}${left} s`,
    "",
    paint(DIM, `${cell("who", 9)}${cell("inner addresses", 28)}outer addresses`),
    ...placeLines(state, paint),
    "",
    paint(DIM, `${cell("path", 26)}   sent received  per s  loss %   min    avg    max ms`),
    ...state.paths.map((path) => pathLine(path, paint)),
    "",
    paint(DIM, `${cell("session", 20)}${cell("peer seen at", 28)}${cell("received", 20)}${cell("sent", 20)}cipher`),
    ...reportsOf(state)
      .flatMap((daemon) => daemon.sessions)
      .map(sessionLine),
    ...tunnelTable(state, paint),
    ...restartLines(state),
  ];
  const drops = reportsOf(state)
    .flatMap((daemon) => daemon.drops)
    .sort((a, b) => b.count - a.count);
  lines.push("", paint(DIM, drops.length === 0 ? "nothing dropped" : "dropped"));
  for (const drop of drops) lines.push(`${cell(drop.place, 9)}${right(drop.count, 8)} ${drop.name}: ${drop.help}`);
  for (const line of state.problems.flatMap((problem) => problem.split("\n"))) lines.push(paint(RED, line));
  const [tried] = state.topology.paths;
  const hint = tried ? `   look around: ip netns exec ${state.namespaces.get(tried.from)} ping ${tried.address}` : "";
  const last = paint(BOLD, `Ctrl-C ends the lab and removes it.${hint}`);
  const shown = lines.length + 2 > rows ? lines.slice(0, Math.max(0, rows - 1)) : [...lines, ""];
  return [...shown, last].map((line) => cut(line, columns));
}

const cell = (text: string, width: number) => (text.length < width ? text.padEnd(width) : `${text} `);
const right = (value: string | number, width: number) => String(value).padStart(width);

function placeLines(state: LabState, paint: (code: string, text: string) => string): string[] {
  return state.topology.places.flatMap((place) => {
    const inner = innerAddresses(state.topology, place.name);
    const outer = outerAddresses(state.topology, place.name).join(" ");
    const tunnels = place.daemon !== undefined && !state.daemons.has(place.name) ? paint(RED, "  not up") : "";
    const line = `${cell(place.name, 9)}${cell(inner.join(" ") || "-", 28)}${outer}${tunnels}`;
    return [line, paint(DIM, `${cell("", 9)}${place.what}`)];
  });
}

function pathLine(state: PathState, paint: (code: string, text: string) => string): string {
  const { path, sent, received, lost } = state;
  const rtt: RttMs | undefined = state.rtt.summary();
  const ms = (value: number | undefined) => right(value === undefined ? "-" : value.toFixed(2), 7);
  const loss = right(percent(lost, sent).toFixed(2), 8);
  const name = cell(`${path.from} -> ${path.to} IPv${path.family}`, 26);
  const counts = `${right(sent, 7)}${right(received, 9)}${right(state.rate.toFixed(0), 7)}`;
  const health = sent === 0 ? loss : paint(lost > 0 ? RED : GREEN, loss);
  return `${name}${counts}${health}${ms(rtt?.min)}${ms(rtt?.avg)}${ms(rtt?.max)}  ${curve(state.recentMs)}`;
}

const traffic = ({ packets, bytes: octets }: SessionState["rx"]) => `${packets} pkt ${bytes(octets)}`;

function sessionLine({ place, client, endpoint, cipher, rx, tx }: SessionState): string {
  const ends = `${cell(`${place} -> ${client}`, 20)}${cell(endpoint, 28)}`;
  return `${ends}${cell(traffic(rx), 20)}${cell(traffic(tx), 20)}${cipher}`;
}

/** Nothing when there is no classic tunnel. */
function tunnelTable(state: LabState, paint: (code: string, text: string) => string): string[] {
  const tunnels = reportsOf(state).flatMap((daemon) => daemon.tunnels);
  if (tunnels.length === 0) return [];
  const head = `${cell("classic tunnel", 20)}${cell("peer seen at", 28)}${cell("received", 20)}sent`;
  return ["", paint(DIM, head), ...tunnels.flatMap((tunnel) => tunnelLines(tunnel, paint))];
}

function tunnelLines(tunnel: TunnelState, paint: (code: string, text: string) => string): string[] {
  const { place, name, endpoint, rx, tx, problem } = tunnel;
  const ends = `${cell(`${place} -> ${name}`, 20)}${cell(endpoint ?? "not yet", 28)}`;
  const line = `${ends}${cell(traffic(rx), 20)}${traffic(tx)}`;
  if (problem === null) return [line];
  return [line, paint(RED, `  ${problem.reason} from ${problem.peer}, ${problem.count} times: ${problem.hint}`)];
}

function restartLines({ restart }: LabState): string[] {
  if (restart === undefined) return [];
  const { place, atMs, upMs, before, resumed } = restart;
  const up = upMs === undefined ? "not up again yet" : `up again after ${Math.round(upMs)} ms`;
  const clients = new Set(before.values()).size;
  return [
    "",
    `${place} killed at ${(atMs / 1000).toFixed(1)} s, ${up}, ${resumed.size} of ${clients} sessions resumed`,
  ];
}

/** The first `width` columns of a line; escape sequences count nothing and are kept, so a cut line ends its colours. */
export function cut(line: string, width: number): string {
  let seen = 0;
  return line.replace(/(\x1b\[[0-9;]*m)|([^\x1b])/gu, (_, code: string | undefined, character: string | undefined) => {
    if (code !== undefined) return code;
    return seen++ < width ? (character ?? "") : "";
  });
}

/** Which of a client's sessions end when one of them is confirmed: by its client here, or as another node saw it. */
import { expect, test } from "vitest";
import { CHACHA20_POLY1305 } from "../../src/handshake/keys.ts";
import { type NodeOutput, type NodeSession, NodeSessions } from "../../src/handshake/node_sessions.ts";
import { NO_SETTINGS } from "../../src/handshake/settings.ts";
import { endpoint } from "./party.ts";

const NOW = { ms: 1000, wallMs: 1e12 };
const LIMITS = { sessionsMax: 16, pendingMs: 15_000, overlapMs: 30_000, expireAfterMs: 600_000 };
const SAME = "01".repeat(8);
const OTHER = "02".repeat(8);

/** The session that the client asked for as its `n`th; index and timestamp are `n`. */
const session = (n: number, instance = SAME, client = "aa"): NodeSession => ({
  ...{ index: n, timestamp: n, receiver: n, clientKey: client.repeat(32), clientName: client, instance },
  ...{ aead: CHACHA20_POLY1305, modes: 1, secret: new Uint8Array(32).fill(n), resumed: false, from: endpoint(9) },
  settings: NO_SETTINGS,
});

type Confirm = (sessions: NodeSessions, of: NodeSession, out: NodeOutput[]) => void;
const here: Confirm = (sessions, { index }, out) => sessions.authentic(NOW, index, out);
const elsewhere: Confirm = (sessions, of, out) => sessions.takeIn(NOW, of, true, out);

const retired = (out: readonly NodeOutput[]) =>
  out.flatMap((output) => (output.kind === "retire" ? [`${output.index} ${output.reason}`] : []));

test.each([
  ["here", here],
  ["at another node", elsewhere],
])("confirmed %s: pending sessions that are older end, newer ones and other clients' stay", (_where, confirm) => {
  const sessions = new NodeSessions(LIMITS);
  const out: NodeOutput[] = [];
  const confirmed = session(2);
  for (const one of [session(1), session(3), session(1 + 4, SAME, "bb")]) sessions.add(NOW, one, out);
  if (confirm === here) sessions.add(NOW, confirmed, out);
  confirm(sessions, confirmed, out);
  expect(retired(out)).toEqual(["1 superseded"]);
  expect([2, 3, 5].map((index) => sessions.phase(index))).toEqual(["up", "pending", "pending"]);
  // The newer one is confirmed in its turn.
  sessions.authentic(NOW, 3, out);
  expect([2, 3].map((index) => sessions.phase(index))).toEqual(["retiring", "up"]);
  expect(retired(out)).toEqual(["1 superseded"]);
});

test.each([
  ["here", here],
  ["at another node", elsewhere],
])("confirmed %s by another start of the client: what is up ends, newer pending ones stay", (_where, confirm) => {
  const sessions = new NodeSessions(LIMITS);
  const out: NodeOutput[] = [];
  const confirmed = session(2, OTHER);
  for (const one of [session(1), session(3, OTHER), session(4)]) sessions.add(NOW, one, out);
  sessions.authentic(NOW, 1, out);
  if (confirm === here) sessions.add(NOW, confirmed, out);
  confirm(sessions, confirmed, out);
  expect(retired(out)).toEqual(["1 replaced"]);
  expect([2, 3, 4].map((index) => sessions.phase(index))).toEqual(["up", "pending", "pending"]);
});

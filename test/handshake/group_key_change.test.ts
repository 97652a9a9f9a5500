/** The group gets another static key: who knows it uses it, who was away comes in under the old one and is named. */
import { expect, test } from "vitest";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import type { ClientOutput } from "../../src/handshake/client_session.ts";
import * as control from "../../src/handshake/control.ts";
import type { Initiator } from "../../src/handshake/initiator.ts";
import type { NodeOutput } from "../../src/handshake/node_sessions.ts";
import type { Responder } from "../../src/handshake/responder.ts";
import { at, endpoint, Group } from "./party.ts";

const FROM = endpoint(7);
const NEW = keyPairFromPrivate(new Uint8Array(32).fill(2));

/** One handshake; what the node said, and whether the client has a session of it. */
function ask(client: Initiator, node: Responder, ms: number) {
  const out: ClientOutput[] = [];
  client.start(at(ms), out);
  return answer(client, node, ms, out);
}

function answer(client: Initiator, node: Responder, ms: number, out: ClientOutput[]) {
  const said: NodeOutput[] = [];
  const outcomes = out.flatMap((o) => (o.kind === "send" ? [node.receive(at(ms), o.datagram, FROM, said)] : []));
  const more: ClientOutput[] = [];
  for (const o of said) if (o.kind === "send") client.receive(at(ms), o.datagram, more);
  const pending = said.flatMap((o) => (o.kind === "pending" ? [o.session.index] : []));
  for (const index of pending) node.authentic(at(ms), index, []);
  return { outcomes, said, pending, up: more.some(({ kind }) => kind === "up") };
}

const outdated = (said: readonly NodeOutput[]) => said.flatMap((o) => (o.kind === "outdated_key" ? [o.index] : []));

test("a client that knows only the earlier key comes in, and is named once it asks", () => {
  const group = new Group(1);
  const node = group.node();
  const client = group.client("laptop");
  node.useGroupKeys(NEW, [group.key]);
  const first = ask(client, node, 0);
  expect(first).toMatchObject({ outcomes: ["answered"], up: true });
  expect(outdated(first.said)).toEqual(first.pending);
  // Told of it, it asks under the new key, and is not named again.
  client.useGroupKey(NEW.publicKey);
  const rekey: ClientOutput[] = [];
  client.tick(at(130_000), rekey);
  const second = answer(client, node, 130_000, rekey);
  expect(second).toMatchObject({ outcomes: ["answered"], up: true });
  expect(outdated(second.said)).toEqual([]);
});

test("a secret of a client and the earlier key is not taken for one of the new key", () => {
  const group = new Group(2);
  const node = group.node();
  const client = group.client("laptop");
  expect(ask(client, node, 0).up).toBe(true);
  node.useGroupKeys(NEW, [group.key]);
  client.useGroupKey(NEW.publicKey);
  for (const ms of [130_000, 260_000]) {
    const out: ClientOutput[] = [];
    client.tick(at(ms), out);
    expect(answer(client, node, ms, out)).toMatchObject({ outcomes: ["answered"], up: true });
  }
});

test("a key that the group never had is a stranger's, and one that was taken away is, too", () => {
  const group = new Group(3);
  const node = group.node();
  const stranger = group.client("stranger", { groupKey: NEW.publicKey });
  expect(ask(stranger, node, 0).outcomes).toEqual(["mac1_wrong"]);
  node.useGroupKeys(NEW, []);
  expect(ask(group.client("late"), node, 0).outcomes).toEqual(["mac1_wrong"]);
  expect(ask(stranger, node, 60_000).outcomes).toEqual(["answered"]);
});

test("what the node answers is never longer than the request, whatever key it was for", () => {
  const group = new Group(4);
  const node = group.node();
  node.useGroupKeys(NEW, [group.key]);
  const { said } = ask(group.client("a"), node, 0);
  for (const o of said) if (o.kind === "send") expect(o.datagram.length).toBeLessThanOrEqual(control.REQUEST_LEN);
});

/** Clients hear of another key of the group inside their sessions, keep it, and need no new invitation. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { signingKeyFrom } from "../../src/crypto/ed25519.ts";
import { readNotice, type SignedNotice, signNotice } from "../../src/crypto/group_key_notice.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { GROUP, PSK, recordOf, World } from "./ends.ts";

const operator = signingKeyFrom(new Uint8Array(32).fill(1));
const NEW = keyPairFromPrivate(new Uint8Array(32).fill(200));
const REKEY_MS = 130_000;

const noticeBy = (signer = operator): SignedNotice => {
  const text = signNotice({ version: 2, operator: signer.publicKey, keys: [GROUP.publicKey, NEW.publicKey] }, signer);
  return readNotice(text, signer.publicKey) as SignedNotice;
};

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());

type Node = ReturnType<World["node"]>;
const outcome = (node: Node, name: string) => node.end.handshakes().find((one) => one.name.endsWith(name))?.count ?? 0;
const admit = (node: Node, n: number) => node.end.admit(recordOf(n), PSK);

test("a connected client hears of it at once, and asks under it from then on, also after a restart", async () => {
  const node = world.node();
  admit(node, 1);
  const store = createMemoryStore();
  const client = world.client(1, { operator: operator.publicKey, store });
  await world.run(2000);
  expect(client.end.status().state).toBe("up");
  node.end.useGroupKeys(noticeBy(), [NEW]);
  await world.run(2000);
  expect(client.said("group_key")).toHaveLength(1);
  // The node answers under the new key alone: the next handshake works only with it.
  node.end.responder.useGroupKeys(NEW, []);
  await world.run(REKEY_MS);
  expect(outcome(node, "mac1_wrong")).toBe(0);
  expect(client.end.status().state).toBe("up");
  const answered = outcome(node, "answered");
  world.kill(client);
  // Another boot: no ticket, so a full handshake.
  const again = world.client(1, { operator: operator.publicKey, store, boot: "next", address: "192.0.2.50" });
  await world.run(3000);
  expect(again.end.status().state).toBe("up");
  expect(outcome(node, "answered")).toBe(answered + 1);
  expect(outcome(node, "mac1_wrong")).toBe(0);
});

test("a client that was away comes in under the key of its file, and is told then", async () => {
  const node = world.node();
  admit(node, 1);
  await world.run(100);
  node.end.useGroupKeys(noticeBy(), [NEW]);
  await world.run(5000);
  const client = world.client(1, { operator: operator.publicKey });
  await world.run(3000);
  expect(client.end.status().state).toBe("up");
  expect(client.said("group_key")).toHaveLength(1);
  node.end.responder.useGroupKeys(NEW, []);
  await world.run(REKEY_MS);
  expect(outcome(node, "mac1_wrong")).toBe(0);
  expect(client.end.status().state).toBe("up");
});

test.each([
  [
    "signed by somebody else",
    noticeBy(signingKeyFrom(new Uint8Array(32).fill(9))),
    operator.publicKey,
    /another operator/,
  ],
  ["where the file names no operator", noticeBy(), undefined, /names no operator/],
])("a notice %s is not taken, and the client goes on as before", async (_what, notice, pinned, sentence) => {
  const node = world.node();
  admit(node, 1);
  const store = createMemoryStore();
  const client = world.client(1, { ...(pinned && { operator: pinned }), store });
  await world.run(2000);
  node.end.useGroupKeys(notice, [NEW]);
  await world.run(2000);
  expect(client.said("group_key")).toEqual([]);
  expect(client.said("group_key_refused").join()).toMatch(sentence);
  await world.run(REKEY_MS);
  expect(client.end.status().state).toBe("up");
});

test("a thief who has the earlier key of the group gets no client that knows the new one", async () => {
  const node = world.node();
  admit(node, 1);
  const client = world.client(1, { operator: operator.publicKey });
  await world.run(2000);
  node.end.useGroupKeys(noticeBy(), [NEW]);
  await world.run(2000);
  // From here on somebody with the earlier key alone answers.
  node.end.responder.useGroupKeys(keyPairFromPrivate(GROUP.privateKey), []);
  const answered = outcome(node, "answered");
  await world.run(REKEY_MS);
  expect(client.said("group_key")).toHaveLength(1);
  expect(outcome(node, "answered")).toBe(answered);
  expect(outcome(node, "mac1_wrong")).toBeGreaterThan(0);
});

/** A node's sessions and its part in the group, when the engine tells of a session before it tells of the client. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SENDER } from "../../src/handshake/control.ts";
import { openSender } from "../../src/handshake/senders.ts";
import { CLIENT, oneOfGroup, recordOf } from "./one_of_group.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.setSystemTime(1_800_000_000_000);
});
afterEach(() => vi.useRealTimers());

test("its client is told of this start of the node as soon as it may come", async () => {
  const { node, posted, put, admit } = oneOfGroup();
  const { index, secret } = put(recordOf());
  await vi.advanceTimersByTimeAsync(1000);
  const introductions = () =>
    posted.flatMap((message) => (message.kind === "send" && message.datagram[8] === SENDER ? [message.datagram] : []));
  expect(introductions()).toEqual([]);
  admit("anna", CLIENT, "10.9.0.2");
  const [datagram] = introductions();
  expect(openSender({ index, receiver: 1, secret }, datagram)).toEqual(node.sender);
  node.stop();
});

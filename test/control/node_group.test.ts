/** A node's sessions and its part in the group, when the engine tells of a session before it tells of the client. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createLogger } from "../../src/base/log.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeRecord, type LiveRecord, recordKey } from "../../src/cluster/record.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { NodeGroup } from "../../src/control/group/node_group.ts";
import { NodeEnd } from "../../src/control/node/node_end.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { MemoryHub } from "../../src/drivers/memory_bus.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { SENDER } from "../../src/handshake/control.ts";
import { openSender } from "../../src/handshake/senders.ts";
import type { ToShard } from "../../src/shard/messages.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { seededEntropy } from "../handshake/party.ts";
import { newIndex } from "../support/new_index.ts";
import { noLifeline } from "../support/no_lifeline.ts";

const FLEET = new Uint8Array(32).fill(9);
const GROUP = new Uint8Array(32).fill(1);
const CLIENT = keyPairFromPrivate(new Uint8Array(32).fill(2)).publicKey;
const entropy = seededEntropy(3);
const clock = { monotonicMs: () => Date.now(), wallMs: () => Date.now() };
const nothing = () => {};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.setSystemTime(1_800_000_000_000);
});
afterEach(() => vi.useRealTimers());

function specOf(): NodeSpec {
  const cluster = {
    ...{ node: 1, fleetKey: FLEET, holdMs: 10, link: { host: "", port: 0 }, engine: { kind: "embedded" as const } },
    peers: [{ node: 2, link: { host: "", port: 0 } }],
  };
  return {
    instance: {
      ...{ name: "node", listen: [{ address: "192.0.2.1", port: 4444 }], senderId: 1, tunnels: [], shards: 1 },
      ...{ fanoutMax: 256, floodPps: 1000, dscp: "copy", stateDir: "/nowhere", socketPath: "/nowhere" },
      device: { type: "tun", name: undefined, mtuBytes: 1400, hostRoutes: [], postUp: undefined, addresses: [] },
    },
    ...{ group: "example", privateKey: GROUP, publicKey: keyPairFromPrivate(GROUP).publicKey, addresses: [] },
    ...{ pool: ["10.9.0.0/24"], networks: [], dns: [], clients: [], keepaliveMs: 25_000, rekeyMs: 120_000 },
    ...{ announce: NO_ANNOUNCE, cluster, sessionsMax: 256 },
  };
}

test("its client is told of this start of the node as soon as it may come", async () => {
  const hub = new MemoryHub({
    nowMs: () => Date.now(),
    later: (ms, work) => void setTimeout(work, ms),
    random: () => 0.5,
  });
  const spec = specOf();
  const events = new EventHub(clock);
  const log = createLogger(clock, []);
  const store = createMemoryStore();
  const posted: ToShard[] = [];
  const node = new NodeEnd(
    spec,
    {
      ...{ clock, log, entropy, store, pairOf: keyPairFromPrivate, events },
      join: (self) =>
        new NodeGroup(self, spec, spec.cluster!, {
          ...{ clock, log, entropy, events, peers: [], ticketKeys: () => [], agreed: () => undefined, agree: nothing },
          link: { onDatagram: nothing, send: nothing, close: nothing },
          lifeline: noLifeline,
          engine: "memory",
          openBus: (listener) => hub.open(1, listener),
        }),
    },
    { rekeyAfterMs: 120_000, overlapMs: 30_000, expireAfterMs: 600_000 },
  );
  const tunnels = new TunnelTable(createTunnelMemory(256));
  node.start({ post: (message) => void posted.push(message), tunnels, deviceName: "tun0", socketFor: () => 0 }, 0);
  const secret = entropy.bytes(32);
  const record: LiveRecord = {
    ...{ index: newIndex(2, entropy.bytes(4)), created: 5, creator: 2, phase: "up", clientKey: CLIENT },
    ...{ instance: entropy.bytes(8), receiver: 1, aead: 1, modes: 1, secret, addresses: [] },
    expiryMs: Date.now() + 900_000,
    endpoint: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xcb007102, port: 4444 },
  };
  const other = hub.open(2, { record: nothing, shout: nothing, state: nothing, caughtUp: nothing });
  const sealed = new Envelope(new FleetKeys(FLEET), 2, entropy.bytes(8)).seal(
    0,
    recordKey(record.index),
    encodeRecord(record)!,
  );
  other.put([{ key: recordKey(record.index), value: sealed }]);
  await vi.advanceTimersByTimeAsync(1000);
  const introductions = () =>
    posted.flatMap((message) => (message.kind === "send" && message.datagram[8] === SENDER ? [message.datagram] : []));
  expect(introductions()).toEqual([]);
  node.admit(
    {
      ...{ name: "anna", publicKey: formatKey(CLIENT), psk: undefined, addresses: ["10.9.0.2"], prefixes: [] },
      ...{ modes: ["tunnel"], origin: "api", createdMs: 0 },
    },
    undefined,
  );
  const [datagram] = introductions();
  expect(openSender({ index: record.index, receiver: 1, secret }, datagram)).toEqual(node.sender);
  node.stop();
});

/** Node 1 of a group of two, without a data plane: what it says to its shard is kept. The other one is whoever the test plays. */
import { createLogger } from "../../src/base/log.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeRecord, type LiveRecord, recordKey, type SessionRecord } from "../../src/cluster/record.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { NodeGroup } from "../../src/control/group/node_group.ts";
import { NodeEnd } from "../../src/control/node/node_end.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import { formatKey } from "../../src/control/text/keys/key_text.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { MemoryHub } from "../../src/drivers/memory_bus.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import type { ToShard } from "../../src/shard/messages.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { seededEntropy } from "../handshake/party.ts";
import { newIndex } from "../support/new_index.ts";
import { noLifeline } from "../support/no_lifeline.ts";

const FLEET = new Uint8Array(32).fill(9);
const GROUP = new Uint8Array(32).fill(1);
/** Public key of the client of `recordOf`. */
export const CLIENT = keyPairFromPrivate(new Uint8Array(32).fill(2)).publicKey;
const entropy = seededEntropy(3);
/** The test has the clock of the machine, by vi.useFakeTimers. */
const clock = { monotonicMs: () => Date.now(), wallMs: () => Date.now() };
const nothing = () => {};

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

/** A session that node 2 answered for. */
export const recordOf = (change: Partial<LiveRecord> = {}): LiveRecord => ({
  ...{ index: newIndex(2, entropy.bytes(4)), created: 5, creator: 2, phase: "up", clientKey: CLIENT },
  ...{ instance: entropy.bytes(8), receiver: 1, aead: 1, modes: 1, secret: entropy.bytes(32), addresses: [] },
  expiryMs: Date.now() + 900_000,
  endpoint: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xcb007102, port: 4444 },
  ...change,
});

export function oneOfGroup() {
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
  const other = hub.open(2, { record: nothing, shout: nothing, state: nothing, caughtUp: nothing });
  const envelope = new Envelope(new FleetKeys(FLEET), 2, entropy.bytes(8));
  /** Node 2 puts it, and the engine tells it within a second. */
  const put = <T extends SessionRecord>(record: T): T => {
    const key = recordKey(record.index);
    other.put([{ key, value: envelope.seal(0, key, encodeRecord(record)!) }]);
    return record;
  };
  const admit = (name: string, clientKey: Uint8Array, address: string) =>
    node.admit(
      {
        ...{ name, publicKey: formatKey(clientKey), psk: undefined, addresses: [address], prefixes: [] },
        ...{ modes: ["tunnel"], origin: "api", createdMs: 0 },
      },
      undefined,
    );
  return { node, posted, tunnels, put, admit };
}

/** The end of an instance: of which shards the unused sequence numbers may be given out again. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createLogger, DEBUG } from "../../src/base/log.ts";
import { parseClassic } from "../../src/control/classic/classic.ts";
import { Supervisor } from "../../src/control/instance/supervisor.ts";
import { TunnelTable } from "../../src/dataplane/tunnels.ts";
import { createMemoryHost } from "../../src/drivers/memory_host.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import type { FromShard, ShardSetup } from "../../src/shard/messages.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Numbers that each shard has used. */
const USED = 10;
/** Longer than a shard is waited for. */
const PATIENCE_MS = 10_000;

function specOf(shards: number) {
  const env = { readSecret: () => "documentation", readText: () => undefined, listFiles: () => undefined };
  const argv = ["-E", "documentation", "--shards", `${shards}`];
  const parsed = parseClassic(argv, { ...env, modeOf: () => 0o600, getenv: () => undefined });
  if (parsed.kind !== "run") throw new Error("the command line is refused");
  return parsed.spec;
}

type Ending = "stops" | "hangs" | "fails";

/** A shard without packets: seals `USED` of them, and ends in its way when it is told to. */
function shardOf(ending: Ending, setup: ShardSetup) {
  let tell: (message: FromShard) => void = () => {};
  return {
    onMessage(listener: (message: FromShard) => void) {
      tell = listener;
      const socket = { sockets: [0, 1], ports: [4444, 4444], receiveBuffers: [0, 0] };
      tell({ kind: "ready", deviceName: "tun0", wakeFd: -1, offloads: [], ...socket });
    },
    post({ kind }: { readonly kind: string }) {
      if (kind === "add") new TunnelTable(setup.tunnels).seqNext[0] = USED;
      if (kind !== "stop" || ending === "hangs") return;
      tell(ending === "stops" ? { kind: "stopped" } : { kind: "failed", code: "shard", message: "It broke." });
    },
  };
}

test.each<[Ending[]]>([
  [["stops"]],
  [["hangs"]],
  [["stops", "hangs"]],
  [["hangs", "stops"]],
  [["fails", "hangs"]],
  [["stops", "stops"]],
])("of shards that end like %j, those that may still be sealing give no number back", async (endings) => {
  const clock = { monotonicMs: () => Date.now(), wallMs: () => Date.now() };
  const store = createMemoryStore();
  const errors: string[] = [];
  const sink = { level: DEBUG, write: ({ event }: { event: string }) => void errors.push(event), close: () => {} };
  let started = 0;
  const supervisor = new Supervisor(specOf(endings.length), {
    ...{ clock, log: createLogger(clock, [sink]), host: createMemoryHost(), cores: 1, entropy: () => 1 },
    openSeqStore: () => store,
    resolve: async () => [],
    local: { numberOf: () => 0, addressOf: () => undefined, ofHost: () => [] },
    identityOf: (_tunnel, senderId) => `${senderId}`,
    startShard: (setup) => shardOf(endings[started++], setup),
  });
  await supervisor.start();
  const identities = supervisor.shards.map(({ senderId }) => `${senderId}`);
  const reserved = store.next(identities[0]);
  expect(reserved).toBeGreaterThan(USED);
  const stopped = supervisor.stop();
  await vi.advanceTimersByTimeAsync(PATIENCE_MS);
  await stopped;
  expect(identities.map((identity) => store.next(identity))).toEqual(
    endings.map((ending) => (ending === "hangs" ? reserved : USED)),
  );
  expect(errors.includes("stop_timeout")).toBe(endings.includes("hangs"));
});

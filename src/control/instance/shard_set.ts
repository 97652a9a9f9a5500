/**
 * The shards of one instance: how many, their memory, start and stop of all of them. The first one opens sockets and
 * device by itself, which finds out whether somebody else has them; the others join it with the ports and the name that
 * it got. Whatever one shard learns and the others need goes through here. Never sees a packet.
 */
import { AnyhopError } from "../../base/errors.ts";
import { SHARE_ALONE, SHARE_FIRST, SHARE_JOIN } from "../../dataplane/layout.ts";
import { createSharedMemory, SENDER_ID_END, type SharedMemory, senderIdOf } from "../../dataplane/shared.ts";
import { createTunnelMemory, type TunnelMemory, TunnelTable } from "../../dataplane/tunnels.ts";
import type { FromShard, KeyRefused, ShardSetup, ToShard, Yielded } from "../../shard/messages.ts";
import type { InstanceSpec } from "../spec/instance.ts";
import type { ShardHandle, ShardStarter } from "../spec/ports.ts";

export type Ready = Extract<FromShard, { kind: "ready" }>;

/** Shards that "auto" makes on a machine with so many cores; measured in docs/decisions/0003-shards.md. */
export function autoShards(cores: number): number {
  return Math.max(1, Math.min(4, cores - 1));
}

/** How many shards an instance has. "auto" is one where a sender id leaves no room for more. */
export function shardCount({ shards, senderId }: Pick<InstanceSpec, "shards" | "senderId">, cores: number): number {
  if (shards !== "auto") return shards;
  return senderId < SENDER_ID_END ? autoShards(cores) : 1;
}

/** One shard as the control plane sees it. */
export interface Shard {
  readonly senderId: number;
  readonly memory: TunnelMemory;
  readonly tunnels: TunnelTable;
}

export class ShardSet {
  readonly shards: readonly Shard[];
  private readonly shared: readonly SharedMemory[];
  private readonly handles: ShardHandle[] = [];
  private readonly running = new Set<number>();
  private stopped!: () => void;
  private readonly whenStopped = new Promise<void>((resolve) => {
    this.stopped = resolve;
  });

  constructor(count: number, capacity: number, senderId: number) {
    this.shards = Array.from({ length: count }, (_, index) => {
      const memory = createTunnelMemory(capacity);
      return { senderId: senderIdOf(senderId, index), memory, tunnels: new TunnelTable(memory) };
    });
    this.shared = count === 1 ? [] : createSharedMemory(this.shards.map((shard) => shard.memory));
  }

  /**
   * Starts all shards. Resolves with what the first one said; rejects with the first failure. Afterwards `onEvents` hears
   * the events of all, `onFailed` the failure of any, and so on.
   */
  async start(
    starter: ShardStarter,
    setup: Omit<ShardSetup, "tunnels" | "shared" | "share">,
    hear: {
      onEvents(message: Extract<FromShard, { kind: "events" }>): void;
      onControl(message: Extract<FromShard, { kind: "control" }>): void;
      onYielded(message: Yielded): void;
      onKeyRefused(refused: KeyRefused): void;
      onFailed(error: AnyhopError): void;
    },
  ): Promise<Ready> {
    const run = (index: number, own: Pick<ShardSetup, "listen" | "device" | "share">) =>
      new Promise<Ready>((resolve, reject) => {
        this.running.add(index);
        const { memory } = this.shards[index];
        const handle = starter({ ...setup, ...own, tunnels: memory, shared: this.shared[index] });
        this.handles[index] = handle;
        let ready = false;
        handle.onMessage((message) => {
          if (message.kind === "ready") {
            ready = true;
            resolve(message);
          } else if (message.kind === "events") hear.onEvents(message);
          else if (message.kind === "control") hear.onControl(message);
          else if (message.kind === "yielded") for (const answer of message.answers) hear.onYielded(answer);
          else if (message.kind === "key_refused") hear.onKeyRefused(message.refused);
          else if (message.kind === "macs") this.postOthers(index, message);
          else {
            this.running.delete(index);
            if (this.running.size === 0) this.stopped();
            if (message.kind === "stopped") return;
            const error = new AnyhopError(message.code, message.message);
            if (ready) hear.onFailed(error);
            else reject(error);
          }
        });
      });
    const alone = this.shards.length === 1;
    const { listen, device } = setup;
    const first = await run(0, { listen, device, share: alone ? SHARE_ALONE : SHARE_FIRST });
    const joined = {
      listen: listen.map((l, i) => ({ ...l, port: first.ports[i] })),
      device: { ...device, name: first.deviceName },
      share: SHARE_JOIN,
    };
    await Promise.all(this.shards.slice(1).map((_, k) => run(k + 1, joined)));
    return first;
  }

  post(index: number, message: ToShard): void {
    this.handles[index].post(message);
  }

  postAll(message: ToShard): void {
    for (const handle of this.handles) handle.post(message);
  }

  private postOthers(index: number, message: ToShard): void {
    this.handles.forEach((handle, k) => {
      if (k !== index) handle.post(message);
    });
  }

  /**
   * Stops all shards that run; returns the numbers of those that had not stopped after `timeoutMs`, which may still be
   * sealing. Others hold no sequence number any more.
   */
  async stop(timeoutMs: number): Promise<ReadonlySet<number>> {
    if (this.running.size === 0) return this.running;
    this.postAll({ kind: "stop" });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.whenStopped, late]);
    clearTimeout(timer);
    return this.running;
  }
}

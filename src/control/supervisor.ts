/**
 * Brings one instance up, keeps it going and takes it down: shard, device, tunnels, sequence numbers, remotes. The only
 * thing in the daemon that knows the order in which all of this must happen. Never sees a packet.
 */
import type { Clock } from "../base/clock.ts";
import { AnyhopError } from "../base/errors.ts";
import { parseAddress } from "../base/ip.ts";
import { type Logger, LogLimiter } from "../base/log.ts";
import { parsePrefix } from "../base/prefix.ts";
import { CONFIRMED, EVENT_WORDS } from "../dataplane/events.ts";
import { AUTH_NULL, ROLE_LEFT, ROLE_RIGHT } from "../dataplane/layout.ts";
import type { Offload } from "../dataplane/ports.ts";
import { createTunnelMemory, type TunnelMemory, TunnelTable } from "../dataplane/tunnels.ts";
import type { Endpoint, FromShard, PrefixWords } from "../shard/messages.ts";
import type { InstanceSpec, TunnelSpec } from "./instance.ts";
import { noteEvents, type Problem } from "./notices.ts";
import type { HostNetwork, Resolver, SeqStore, ShardHandle, ShardStarter } from "./ports.ts";
import { SeqKeeper } from "./seq.ts";
import { decodeHanded, type SessionEnd, type ShardPort } from "./session_end.ts";

export interface SupervisorPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly startShard: ShardStarter;
  readonly openSeqStore: (stateDir: string) => SeqStore;
  readonly host: HostNetwork;
  readonly resolve: Resolver;
  /** 32 random bits. */
  readonly entropy: () => number;
  /** Name of everything that a sequence number must not repeat under, as a short digest. */
  readonly identityOf: (tunnel: TunnelSpec, senderId: number) => string;
}

const SEQ_INTERVAL_MS = 50;
const RESOLVE_RETRY_MS = 10_000;
const STOP_TIMEOUT_MS = 3000;
/** Replay window of sessions, in packets. */
const SESSION_WINDOW = 2048;

/** A running instance. */
export class Supervisor {
  readonly spec: InstanceSpec;
  readonly startedAtMs: number;
  readonly memory: TunnelMemory;
  readonly tunnels: TunnelTable;
  /** Set once the shard is up. */
  deviceName = "";
  /** What the kernel takes off the packet path. */
  offloads: readonly Offload[] = [];
  ports: readonly number[] = [];
  private sockets: readonly number[] = [];
  /** The last packet of each tunnel that failed in a way that a person can mend. */
  readonly problems = new Map<number, Problem>();
  /** What was changed on this host, one sentence each. */
  readonly hostChanges: string[] = [];
  /** Settles when the instance has ended on its own, with the reason. */
  readonly failed: Promise<AnyhopError>;

  private readonly sessions: SessionEnd | undefined;
  private readonly use: SupervisorPorts;
  private readonly limiter: LogLimiter;
  private fail!: (error: AnyhopError) => void;
  private shard: ShardHandle | undefined;
  private store: SeqStore | undefined;
  private keeper: SeqKeeper | undefined;
  private readonly timers = new Set<NodeJS.Timeout>();
  private stopped!: () => void;
  private readonly whenStopped = new Promise<void>((resolve) => {
    this.stopped = resolve;
  });
  private ending = false;
  private sessionsRun = false;

  /** `sessions`: what makes sessions on this instance's shard, if there are any. */
  constructor(spec: InstanceSpec, ports: SupervisorPorts, sessions?: SessionEnd) {
    this.spec = spec;
    this.sessions = sessions;
    this.use = ports;
    this.limiter = new LogLimiter(ports.clock);
    this.startedAtMs = ports.clock.wallMs();
    this.memory = createTunnelMemory(
      2 ** Math.ceil(Math.log2(Math.max(16, spec.tunnels.length + (sessions?.rows ?? 0)))),
    );
    this.tunnels = new TunnelTable(this.memory);
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
  }

  /** Resolves when packets flow. Rejects with what is wrong, after undoing what was done. */
  async start(): Promise<void> {
    try {
      this.store = this.use.openSeqStore(this.spec.stateDir);
      this.keeper = new SeqKeeper(this.store, this.tunnels);
      await this.startShard();
      const { device } = this.spec;
      this.hostChanges.push(
        ...(await this.use.host.configure({
          name: this.deviceName,
          mtuBytes: device.mtuBytes,
          addresses: device.addresses,
          routes: device.hostRoutes,
        })),
      );
      this.addTunnels();
      this.sessions?.start(this.shardPort(), this.spec.tunnels.length);
      this.sessionsRun = true;
      this.every(SEQ_INTERVAL_MS, () => this.keeper!.extend());
      this.every(1000, () => this.limiter.flush());
      if (device.postUp !== undefined) await this.use.host.run(device.postUp, [this.deviceName, "/dev/net/tun"]);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends the instance; sequence numbers that were not used are given back. Safe to call twice. */
  async stop(): Promise<void> {
    if (this.ending) return this.whenStopped;
    this.ending = true;
    for (const timer of this.timers) clearInterval(timer);
    if (this.shard) {
      if (this.sessionsRun) this.sessions?.stop();
      this.shard.post({ kind: "stop" });
      const clean = await Promise.race([this.whenStopped.then(() => true), delay(STOP_TIMEOUT_MS).then(() => false)]);
      // A shard that does not answer may still be sealing: its reserved numbers stay used.
      if (clean) this.keeper?.release();
      else
        this.use.log.error(
          "stop_timeout",
          "The packet loop did not stop in time; its reserved sequence numbers stay used.",
        );
    }
    this.stopped();
    await this.store?.close();
  }

  private startShard(): Promise<void> {
    const { spec } = this;
    return new Promise((resolve, reject) => {
      const shard = this.use.startShard({
        tunnels: this.memory,
        listen: spec.listen,
        device: { name: spec.device.name, ethernet: spec.device.type === "tap" },
        fanoutMax: spec.fanoutMax,
        floodPps: spec.floodPps,
        dscp: spec.dscp === "copy" ? -1 : spec.dscp,
        hashSeed: this.use.entropy(),
        sessions: this.sessions?.side ?? "none",
        windowMax: Math.max(this.sessions ? SESSION_WINDOW : 0, ...spec.tunnels.map((t) => t.window)),
      });
      this.shard = shard;
      let ready = false;
      shard.onMessage((message) => {
        if (message.kind === "ready") {
          ready = true;
          this.deviceName = message.deviceName;
          this.offloads = message.offloads;
          this.ports = message.ports;
          this.sockets = message.sockets;
          resolve();
        } else if (message.kind === "failed") {
          const error = new AnyhopError(message.code, message.message);
          this.stopped();
          if (ready) this.fail(error);
          else reject(error);
        } else this.onMessage(message);
      });
    });
  }

  private onMessage(message: FromShard): void {
    if (message.kind === "stopped") this.stopped();
    else if (message.kind === "control") {
      // Before `start` nobody is there yet; whoever asks will ask again.
      if (this.sessionsRun)
        for (const entry of decodeHanded(message.words, message.bytes)) this.sessions?.handed(entry);
    } else if (message.kind === "events") {
      this.tellConfirmed(message.words);
      noteEvents(message, {
        ...this.use,
        spec: this.spec,
        limiter: this.limiter,
        problems: this.problems,
        nameOf: (row) => this.sessions?.nameOf(row),
      });
    }
  }

  private shardPort(): ShardPort {
    return {
      post: (message) => this.shard!.post(message),
      tunnels: this.tunnels,
      deviceName: this.deviceName,
      socketFor: (family) => {
        const { listen } = this.spec;
        const at = listen.findIndex((l, i) => this.sockets[i] >= 0 && l.address.includes(":") === (family === 6));
        return at < 0 ? -1 : this.sockets[at];
      },
    };
  }

  private tellConfirmed(words: Int32Array): void {
    for (let at = 0; at < words.length; at += EVENT_WORDS) {
      if (words[at] === CONFIRMED) this.sessions?.confirmed(words[at + 1]);
    }
  }

  private addTunnels(): void {
    const { spec } = this;
    const shard = this.shard!;
    const identities = new Map(spec.tunnels.map((t, index) => [index, this.use.identityOf(t, spec.senderId)]));
    const starts = this.keeper!.open(identities);
    shard.post({
      kind: "local",
      addresses: spec.device.addresses.map((a) => hostPrefix(a)),
      broadcasts: spec.device.addresses.flatMap((a) => broadcastOf(a)),
    });
    spec.tunnels.forEach((tunnel, index) => {
      shard.post({
        kind: "add",
        tunnel: {
          index,
          mux: tunnel.mux,
          senderId: spec.senderId,
          key: {
            cipherLen: tunnel.cipherLen,
            tagLen: tunnel.tagLen < 0 ? AUTH_NULL : tunnel.tagLen,
            kdLen: tunnel.kdLen,
            role: tunnel.role === "left" ? ROLE_LEFT : ROLE_RIGHT,
            masterKey: tunnel.masterKey,
            masterSalt: tunnel.masterSalt,
          },
          window: tunnel.window,
          keepaliveMs: tunnel.keepaliveMs,
          innerMtu: spec.device.mtuBytes,
          routes: tunnel.routes?.map(prefixWords),
          endpoint: undefined,
          seqNext: starts.get(index)!,
        },
      });
      if (tunnel.remote) void this.resolveRemote(tunnel, index);
    });
  }

  /** Finds the address of a configured remote; again and again until the name resolves, as anytun does. */
  private async resolveRemote(tunnel: TunnelSpec, index: number): Promise<void> {
    const { host, port } = tunnel.remote!;
    try {
      for (const text of await this.use.resolve(host)) {
        const endpoint = this.endpointOf(text, port);
        if (!endpoint) continue;
        if (!this.ending) this.shard!.post({ kind: "endpoint", index, endpoint });
        return;
      }
      throw new Error("it has no address of a family that this instance listens on");
    } catch (error) {
      const why = (error as Error).message;
      this.use.log.error(
        "resolve",
        `The remote ${host} of tunnel ${tunnel.name} was not found (${why}); trying again in 10 s.`,
      );
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        void this.resolveRemote(tunnel, index);
      }, RESOLVE_RETRY_MS);
      this.timers.add(timer);
    }
  }

  /** The endpoint with the first socket of its family. */
  private endpointOf(text: string, port: number): Endpoint | undefined {
    const address = parseAddress(text);
    if (!address) return undefined;
    const { listen } = this.spec;
    const at = listen.findIndex((l, i) => this.sockets[i] >= 0 && l.address.includes(":") === (address.family === 6));
    if (at < 0) return undefined;
    return { words: [address.w0, address.w1, address.w2, address.w3], port, sock: this.sockets[at] };
  }

  private every(ms: number, action: () => void): void {
    this.timers.add(
      setInterval(() => {
        try {
          action();
        } catch (error) {
          this.fail(
            new AnyhopError("state_dir", `Sequence numbers can no longer be written: ${(error as Error).message}`),
          );
        }
      }, ms),
    );
  }
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref());

function prefixWords(text: string): PrefixWords {
  const prefix = parsePrefix(text);
  if (!prefix) throw new AnyhopError("prefix", `"${text}" is not a prefix such as 10.9.0.2/32 or 2001:db8::/64.`);
  return prefix;
}

/** The address of "10.9.0.1/24" as a host prefix. */
function hostPrefix(text: string): PrefixWords {
  return prefixWords(text.split("/")[0]);
}

/** Directed broadcast address of an IPv4 network, none for /31, /32 and IPv6. */
function broadcastOf(text: string): number[] {
  const network = prefixWords(text);
  if (network.family !== 4 || network.length > 30) return [];
  return [network.w3 | (0xffffffff >>> network.length) | 0];
}

/**
 * Brings one instance up, keeps it going and takes it down: shards, device, tunnels, sequence numbers, remotes. The only
 * thing in the daemon that knows the order in which all of this must happen. Never sees a packet.
 */

import type { Clock } from "../../base/clock.ts";
import { AnyhopError } from "../../base/errors.ts";
import { parseAddress, type Remote } from "../../base/ip.ts";
import { type Logger, LogLimiter } from "../../base/log.ts";
import { parsePrefix } from "../../base/prefix.ts";
import { CONFIRMED, ENDPOINT_MOVED, EVENT_WORDS } from "../../dataplane/events.ts";
import { AUTH_NULL, ROLE_LEFT, ROLE_RIGHT } from "../../dataplane/layout.ts";
import type { Offload } from "../../dataplane/ports.ts";
import type { FromShard, KeyRefused, PrefixWords } from "../../shard/messages.ts";
import { changeOf, type HostChange, HostKeeper, keepDevice } from "../host/host_keeper.ts";
import { OwnAddresses } from "../host/own_addresses.ts";
import type { InstanceSpec, TunnelSpec } from "../spec/instance.ts";
import type { HostNetwork, LocalAddresses, Resolver, SeqStore, ShardStarter } from "../spec/ports.ts";
import { noteEvents, type Problem } from "./notices.ts";
import { SeqKeeper } from "./seq.ts";
import { decodeHanded, type SessionEnd, type ShardPort } from "./session_end.ts";
import { type Shard, ShardSet, shardCount } from "./shard_set.ts";

export interface SupervisorPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly startShard: ShardStarter;
  readonly openSeqStore: (stateDir: string) => SeqStore;
  readonly host: HostNetwork;
  readonly resolve: Resolver;
  readonly local: LocalAddresses;
  /** Processor cores that this process may use. */
  readonly cores: number;
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
  readonly shards: readonly Shard[];
  /** Set once the shard is up. */
  deviceName = "";
  /** What the kernel takes off the packet path. */
  offloads: readonly Offload[] = [];
  ports: readonly number[] = [];
  /** Bytes, in the order of `listen`. */
  receiveBuffers: readonly number[] = [];
  private sockets: readonly number[] = [];
  /** The last packet of each tunnel that failed in a way that a person can mend. */
  readonly problems = new Map<number, Problem>();
  /** Keeps what was set on this host; a service of a client has its own. */
  private readonly hostKeepers: HostKeeper[] = [];
  /** Settles when the instance has ended on its own, with the reason. */
  readonly failed: Promise<AnyhopError>;

  private readonly sessions: SessionEnd | undefined;
  private readonly use: SupervisorPorts;
  private readonly limiter: LogLimiter;
  private fail!: (error: AnyhopError) => void;
  private readonly set: ShardSet;
  private store: SeqStore | undefined;
  /** One for each shard. */
  private keepers: readonly SeqKeeper[] = [];
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
    const capacity = Math.max(16, spec.tunnels.length + (sessions?.rows ?? 0));
    // A session's sequence numbers and keys belong to one sender: one shard serves them all.
    const count = sessions === undefined ? shardCount(spec, ports.cores) : 1;
    this.set = new ShardSet(count, capacity, spec.senderId);
    this.shards = this.set.shards;
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
    void sessions?.failed?.then((error) => this.fail(error));
  }

  /** Resolves when packets flow. Rejects with what is wrong, after undoing what was done. */
  async start(): Promise<void> {
    try {
      const store = this.use.openSeqStore(this.spec.stateDir);
      this.store = store;
      this.keepers = this.shards.map(({ tunnels }) => new SeqKeeper(store, tunnels));
      await this.startShards();
      const { mtuBytes, addresses, hostRoutes } = this.spec.device;
      const networks = this.sessions?.side === "node";
      if (this.sessions?.side !== "client") await this.keep(this.deviceName, mtuBytes, addresses, hostRoutes, networks);
      this.addTunnels();
      this.sessions?.start(this.shardPort(), this.spec.tunnels.length);
      this.sessionsRun = true;
      this.every(SEQ_INTERVAL_MS, () => {
        for (const keeper of this.keepers) keeper.extend();
      });
      this.every(1000, () => this.limiter.flush());
      const { postUp } = this.spec.device;
      if (postUp !== undefined) await this.use.host.run(postUp, [this.deviceName, "/dev/net/tun"]);
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
    if (this.sessionsRun) this.sessions?.stop();
    for (const keeper of this.hostKeepers) await keeper.stop();
    const late = await this.set.stop(STOP_TIMEOUT_MS);
    // A shard that does not answer may still be sealing: its reserved numbers stay used.
    this.keepers.forEach((keeper, index) => {
      if (!late.has(index)) keeper.release();
    });
    if (late.size > 0)
      this.use.log.error(
        "stop_timeout",
        "The packet loop did not stop in time; its reserved sequence numbers stay used.",
      );
    this.stopped();
    await this.store?.close();
  }

  /** What was changed on this host, and how each of it is now. */
  get hostChanges(): readonly HostChange[] {
    return this.hostKeepers.flatMap((keeper) => keeper.kept.map(changeOf));
  }

  /**
   * Keeps a device up, with addresses and routes. Throws AnyhopError when nothing of it can be had; what is missing beside other
   * things is said, and tried again. `networks`: packets to the networks of the addresses must leave by the device.
   */
  async keep(
    device: string,
    mtuBytes: number,
    addresses: readonly string[],
    routes: readonly string[] = [],
    networks = false,
  ) {
    const keeper = new HostKeeper(device, { ...this.use, journal: undefined, label: this.spec.name });
    this.hostKeepers.push(keeper);
    await keepDevice(keeper, device, mtuBytes, addresses, routes, networks);
  }

  private async startShards(): Promise<void> {
    const { spec } = this;
    const ready = await this.set.start(
      this.use.startShard,
      {
        listen: spec.listen,
        device: { name: spec.device.name, ethernet: spec.device.type === "tap" },
        fanoutMax: spec.fanoutMax,
        floodPps: spec.floodPps,
        dscp: spec.dscp === "copy" ? -1 : spec.dscp,
        hashSeed: this.use.entropy(),
        sessions: this.sessions?.side ?? "none",
        group: this.sessions?.group ?? false,
        indexKeys: this.sessions?.indexKeys ?? [],
        cookieTagKey: this.sessions?.cookieTagKey,
        lease: this.sessions?.lease,
        windowMax: Math.max(this.sessions ? SESSION_WINDOW : 0, ...spec.tunnels.map((t) => t.window)),
      },
      {
        onEvents: (message) => this.onEvents(message),
        onControl: (message) => {
          // Before `start` nobody is there yet; whoever asks will ask again.
          if (!this.sessionsRun) return;
          for (const entry of decodeHanded(message.words, message.bytes)) this.sessions?.handed(entry);
        },
        onYielded: (message) => this.sessions?.yielded?.(message),
        onKeyRefused: (refused) => this.tellRefused(refused),
        onFailed: (error) => this.fail(error),
      },
    );
    this.deviceName = ready.deviceName;
    this.offloads = ready.offloads;
    this.ports = ready.ports;
    this.receiveBuffers = ready.receiveBuffers;
    this.sockets = ready.sockets;
  }

  private tellRefused({ index, errno }: KeyRefused): void {
    const name = index < this.spec.tunnels.length ? this.spec.tunnels[index].name : this.sessions?.nameOf(index);
    this.limiter.log(`key_refused ${index}`, (suffix) =>
      this.use.log.error(
        "key_refused",
        `The packet loop refused a key of ${name ?? `row ${index}`} (errno ${errno}), so its packets are dropped${suffix}. Is the machine out of memory? Otherwise this is a bug; please report it.`,
      ),
    );
  }

  private onEvents(message: Extract<FromShard, { kind: "events" }>): void {
    this.tellSessions(message.words);
    noteEvents(message, {
      ...this.use,
      spec: this.spec,
      limiter: this.limiter,
      problems: this.problems,
      nameOf: (row) => this.sessions?.nameOf(row),
    });
  }

  private shardPort(): ShardPort {
    const { local, clock } = this.use;
    const service = this.sessions?.serviceAddresses ?? [];
    const own = new OwnAddresses(this.spec.listen, this.sockets, service, local, () => clock.monotonicMs());
    return {
      post: (message) => this.set.post(0, message),
      tunnels: this.shards[0].tunnels,
      deviceName: this.deviceName,
      socketFor: (family, asked) => own.socketFor(family, asked),
      askedBy: (sock) => own.askedBy(sock),
    };
  }

  private tellSessions(words: Int32Array): void {
    for (let at = 0; at < words.length; at += EVENT_WORDS) {
      if (words[at] === CONFIRMED) this.sessions?.confirmed(words[at + 1]);
      else if (words[at] === ENDPOINT_MOVED) this.sessions?.moved?.(words[at + 1]);
    }
  }

  private addTunnels(): void {
    const { spec } = this;
    this.set.postAll({
      kind: "local",
      addresses: spec.device.addresses.map((a) => hostPrefix(a)),
      broadcasts: spec.device.addresses.flatMap((a) => broadcastOf(a)),
    });
    this.shards.forEach((shard, k) => {
      const identities = new Map(spec.tunnels.map((t, index) => [index, this.use.identityOf(t, shard.senderId)]));
      this.addTunnelsTo(k, shard.senderId, this.keepers[k].open(identities));
    });
    spec.tunnels.forEach((tunnel, index) => {
      if (tunnel.remote) void this.resolveRemote(tunnel, index);
    });
  }

  /** `starts`: first sequence number of each tunnel. */
  private addTunnelsTo(k: number, senderId: number, starts: ReadonlyMap<number, number>): void {
    const { spec } = this;
    spec.tunnels.forEach((tunnel, index) => {
      this.set.post(k, {
        kind: "add",
        tunnel: {
          index,
          mux: tunnel.mux,
          senderId,
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
    });
  }

  /** Finds the address of a configured remote; again and again until the name resolves, as anytun does. */
  private async resolveRemote(tunnel: TunnelSpec, index: number): Promise<void> {
    const { host, port } = tunnel.remote!;
    try {
      for (const text of await this.use.resolve(host)) {
        const endpoint = this.endpointOf(text, port);
        if (!endpoint) continue;
        // The other shards take it over from the first.
        if (!this.ending) this.set.post(0, { kind: "endpoint", index, endpoint });
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
  private endpointOf(text: string, port: number): Remote | undefined {
    const address = parseAddress(text);
    if (!address) return undefined;
    const { listen } = this.spec;
    const at = listen.findIndex((l, i) => this.sockets[i] >= 0 && l.address.includes(":") === (address.family === 6));
    if (at < 0) return undefined;
    return { ...address, port, sock: this.sockets[at] };
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

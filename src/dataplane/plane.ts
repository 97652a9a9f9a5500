/**
 * Everything one shard's pipeline works on: memory, tables, ports and the scratch columns that only stages use.
 * Built once by the shard; stages receive it as their first argument and keep nothing of their own.
 */
import { CookieTags } from "../crypto/cookie_tags.ts";
import { FloorTable } from "../crypto/floor.ts";
import { ReplayTable } from "../crypto/replay.ts";
import { RestartTable } from "../crypto/restart.ts";
import { IndexKeys } from "../crypto/session_index.ts";
import { SharedReplayTable } from "../crypto/shared_replay.ts";
import { AskedRing } from "../table/asked_ring.ts";
import { IndexMap } from "../table/index_map.ts";
import { Lpm } from "../table/lpm.ts";
import { MacTable } from "../table/mac.ts";
import { PrefixLists } from "../table/prefix_lists.ts";
import { SentRing } from "../table/sent_ring.ts";
import type { Batch, Memory } from "./batch.ts";
import { ControlRing } from "./control_ring.ts";
import { EndpointTable } from "./endpoints.ts";
import { EventRing } from "./events.ts";
import { IN_ROWS, OUT_BASE, OUT_ROWS, PUNT_ROWS } from "./layout.ts";
import { isFenced, type Lease } from "./lease.ts";
import { MacNews } from "./mac_news.ts";
import type { PacketCrypto, PacketIo } from "./ports.ts";
import { type SharedMemory, windowSlots } from "./shared.ts";
import { NO_SESSION, type TunnelMemory, TunnelTable } from "./tunnels.ts";

export interface PlaneOptions {
  readonly memory: Memory;
  readonly tunnels: TunnelMemory;
  readonly io: PacketIo;
  readonly crypto: PacketCrypto;
  /** Ethernet device (TAP) instead of an IP device (TUN). */
  readonly ethernet: boolean;
  /** Receivers of one flooded packet. */
  readonly fanoutMax: number;
  /** Copies per second that the floods of one tunnel may cause. */
  readonly floodPps: number;
  /** -1: copy DSCP from the inner packet; else 0-63. */
  readonly dscp: number;
  /** Any 32 bits that strangers do not know: keeps them from choosing MAC addresses that collide. */
  readonly hashSeed: number;
  /** Largest replay window of any tunnel, in packets. */
  readonly windowMax: number;
  /** What this plane has in common with those of other shards; without it, it is the only one. */
  readonly shared?: SharedMemory | undefined;
  /** This plane's node is one of several with the same sessions. */
  readonly group?: boolean;
  /** Of a node: keys of the check in session indices, the present one first. */
  readonly indexKeys?: readonly Uint8Array[];
  /** Of a node: key of the tags of cookies. Without it no request counts as one with a cookie. */
  readonly cookieTagKey?: Uint8Array | undefined;
  /** Of such a node. */
  readonly lease?: Lease | undefined;
}

/** An inner prefix as numbers; IPv4 in `w3` alone with `length` 0-32. */
export interface Prefix {
  readonly family: 4 | 6;
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;
  readonly length: number;
}

/** Different causes of problems are diagnosed and reported at most this often, all tunnels together. */
const DIAGNOSES_PER_SECOND = 20;
/** Slow-path answers (ICMP errors) at most this often; RFC 4443 section 2.4 (f) wants a limit. */
const PUNTS_PER_SECOND = 1000;
/** One sender id per shard of each node: a large group has about a hundred. */
const SENDERS_PER_TUNNEL = 128;
/** Memory for replay windows; with very many tunnels a very large window shrinks to fit. */
const WINDOW_BYTES = 64 * 1024 * 1024;

export class Plane {
  readonly memory: Memory;
  readonly slab: Uint8Array;
  readonly view: DataView;
  readonly input: Batch;
  readonly output: Batch;
  readonly io: PacketIo;
  readonly crypto: PacketCrypto;
  readonly tunnels: TunnelTable;
  /** Counters by verdict; see `verdict.ts`. */
  readonly verdicts: Float64Array;
  readonly replay: ReplayTable | SharedReplayTable;
  readonly restart: RestartTable;
  // With several shards only.
  /** The same table as `replay`, with what only a shared one can do. */
  readonly sharedReplay: SharedReplayTable | undefined;
  readonly endpoints: EndpointTable | undefined;
  readonly macNews: MacNews | undefined;
  /** Tunnel tables of the other shards, which this one only reads. */
  readonly siblings: readonly TunnelTable[];
  /** This shard does for all what must be done once. */
  readonly first: boolean;
  /** Inner prefixes. Value: tunnel index, or `capacity` for addresses of this node. */
  readonly routes = new Lpm();
  /** Tunnel of packets that match no route, -1 = none. */
  defaultTunnel = -1;
  readonly macs: MacTable;
  /** Tunnel by mux, -1 = none. */
  readonly byMux = new Int32Array(65536).fill(-1);
  /** Sessions in a node: row by session index. */
  readonly byIndex: IndexMap;
  /** Sessions in a node: which unknown indices are no strangers'. */
  readonly indexKeys: IndexKeys;
  /** In a node: which cookies were given to which address. */
  cookieTags: CookieTags | undefined;
  /** Sessions in a client: row by receiver index, -1 = none. */
  readonly byReceiver = new Int32Array(32768).fill(-1);
  /** Sessions in a client: key slot by row << 16 | sender id. */
  readonly senderKeys = new IndexMap(1024);
  /** Whether muxes from 0x8000 on are sessions: NO_SESSION, IN_NODE or IN_CLIENT. */
  sessions = NO_SESSION;
  /** Other nodes have this node's sessions too: what is unknown here is held until they were asked. */
  readonly group: boolean;
  /** Of a node of a group: whether it may act as the owner of sessions. */
  readonly lease: Lease | undefined;
  /** It may not, this turn: packets of own sessions are held like those of foreign ones. */
  fenced = false;
  /** Prefixes of session rows: in `routes` only while the row is the one to send with. */
  readonly prefixes: PrefixLists;
  /** Sessions in a client: (sender id, key slot) pairs of each row, for the day it goes. */
  readonly sendersOf = new Map<number, (readonly [number, number])[]>();
  readonly control: ControlRing;
  readonly sent = new SentRing();
  /** Sessions in a client: requests that it waits for an answer to. */
  readonly asked = new AskedRing();
  /** Tunnels in use, [0, memberCount). Of several rows of one owner, the one to send with. */
  readonly members: Int32Array;
  memberCount = 0;
  /** By row: its place in `members` + 1, 0 = it is none. */
  readonly memberAt: Int32Array;
  /** Place in `members` where the next flood begins: behind the last one whom a flood that was cut short has reached. */
  floodNext = 0;
  /** The row of each owner that is a member. */
  readonly byOwner: IndexMap;
  /** Directed broadcast addresses of the device's IPv4 networks, [0, broadcastCount). */
  readonly broadcasts = new Int32Array(16);
  broadcastCount = 0;
  readonly ethernet: boolean;
  readonly fanoutMax: number;
  readonly floodPps: number;
  readonly dscp: number;
  readonly events = new EventRing(256);

  // Scratch columns of the input batch, valid from classify to admit.
  /** Replay window slot, -1 = new sender. */
  readonly windowSlot = new Int32Array(IN_ROWS);
  /** 1: refused by the window, but perhaps a restarted peer. */
  readonly restarting = new Int32Array(IN_ROWS);
  /** Fingerprint of the sealed datagram, only for rows that may matter to `restart`. */
  readonly printHi = new Int32Array(IN_ROWS);
  readonly printLo = new Int32Array(IN_ROWS);
  // Scratch columns of the output batch.
  /** Tunnel that the packet came from, -1 = the device. */
  readonly origin = new Int32Array(OUT_ROWS);
  /** Packets (and datagrams, and sequence numbers) of the row. */
  readonly packets = new Int32Array(OUT_ROWS);

  // Punt ring: packets for the slow path at the end of the turn, see punt.ts.
  readonly puntKind = new Int32Array(PUNT_ROWS);
  readonly puntFrom = new Int32Array(PUNT_ROWS);
  readonly puntLen = new Int32Array(PUNT_ROWS);
  readonly puntDetail = new Int32Array(PUNT_ROWS);
  punts = 0;

  /** Monotonic ms of this turn. */
  now = 0;
  /** First free byte of the output area. */
  outAt = OUT_BASE;
  diagnosesLeft = DIAGNOSES_PER_SECOND;
  puntsLeft = PUNTS_PER_SECOND;
  private nextSecond = 0;

  constructor(options: PlaneOptions) {
    this.memory = options.memory;
    this.slab = options.memory.slab;
    this.view = options.memory.view;
    this.input = options.memory.input;
    this.output = options.memory.output;
    this.io = options.io;
    this.crypto = options.crypto;
    this.control = new ControlRing(options.memory.slab, options.tunnels.capacity, options.hashSeed);
    this.tunnels = new TunnelTable(options.tunnels);
    this.verdicts = new Float64Array(options.tunnels.verdicts);
    const capacity = options.tunnels.capacity;
    this.members = new Int32Array(capacity);
    this.memberAt = new Int32Array(capacity);
    this.byOwner = new IndexMap(2 ** Math.ceil(Math.log2(capacity)));
    this.byIndex = new IndexMap(2 ** Math.ceil(Math.log2(capacity)));
    this.prefixes = new PrefixLists(capacity);
    const slots = windowSlots(capacity);
    const bits = Math.min(Math.max(64, options.windowMax), Math.floor((WINDOW_BYTES * 8) / slots));
    const windows = { slots, sendersPerTunnel: SENDERS_PER_TUNNEL, bits };
    const { shared } = options;
    this.sharedReplay = shared && new SharedReplayTable(windows, new FloorTable(shared.floor));
    this.replay = this.sharedReplay ?? new ReplayTable(windows);
    this.restart = new RestartTable(shared ? { slots: shared.floor.capacity, memory: shared.restart } : { slots });
    this.endpoints = shared && new EndpointTable(shared.endpoints);
    this.group = options.group ?? false;
    this.indexKeys = new IndexKeys(options.indexKeys);
    this.cookieTags = options.cookieTagKey && new CookieTags(options.cookieTagKey);
    this.lease = options.lease;
    this.macNews = shared && options.ethernet ? new MacNews() : undefined;
    this.siblings = (shared?.siblings ?? []).map((memory) => new TunnelTable(memory));
    this.first = (shared?.index ?? 0) === 0;
    this.macs = new MacTable(options.ethernet ? 16384 : 2, 4096, capacity, options.hashSeed);
    this.ethernet = options.ethernet;
    this.fanoutMax = options.fanoutMax;
    this.floodPps = options.floodPps;
    this.dscp = options.dscp;
  }

  /** Starts a turn: fresh time, what other shards learnt of endpoints, budgets refilled once a second. */
  begin(now: number): void {
    this.now = now;
    this.fenced = this.lease !== undefined && isFenced(this.lease, now);
    if (this.endpoints?.hasNews()) this.takeOverEndpoints(this.endpoints);
    this.output.n = 0;
    this.outAt = OUT_BASE;
    if (now >= this.nextSecond) {
      this.nextSecond = now + 1000;
      this.diagnosesLeft = DIAGNOSES_PER_SECOND;
      this.puntsLeft = PUNTS_PER_SECOND;
    }
  }
  private takeOverEndpoints(endpoints: EndpointTable): void {
    const { tunnels } = this;
    for (let m = 0; m < this.memberCount; m++) {
      const t = this.members[m];
      if (endpoints.takeOver(t, tunnels)) tunnels.innerMtu[t] = tunnels.configuredMtu[t];
    }
  }
}

/**
 * BGP in the lab: the configuration files of the nodes' BIRD and of the router's, which node each source prefers, and the
 * router's control socket. A flip is a new file of preferences and `configure`. Texts are pure.
 */
import { writeFileSync } from "node:fs";
import { BirdLink } from "../announce/bird.ts";
import { refusalOf } from "../announce/bird_reply.ts";
import {
  cableOf,
  NODE_AS,
  NODES,
  type NodeName,
  POOL4,
  POOL6,
  ROUTER_AS,
  SERVICE4,
  SERVICE6,
  SOURCES,
  type SourceName,
  tableOf,
} from "./group_topology.ts";
import { DEVICE, SERVICE_DEVICE } from "./topology.ts";

export type Preferences = Readonly<Record<SourceName, NodeName>>;

const ASK_MS = 2000;
const FAMILIES = [4, 6] as const;
const prefixes = (family: 4 | 6) => (family === 4 ? `${SERVICE4}/32, ${POOL4}` : `${SERVICE6}/128, ${POOL6}`);

/** In every file: a silent death is noticed after 0.9 s, and nobody goes on sending to the dead. */
const session = `  bfd;
  graceful restart off;
  hold time 9;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;`;
const bfd = 'protocol bfd { interface "*" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; }; }';

/** A node's BIRD: service addresses while the daemon's device has them, the clients' pool while its tunnel is there. */
export function nodeBirdText(node: NodeName): string {
  const { router4, place4, router6, place6 } = cableOf(node);
  const parts = FAMILIES.map((family) => {
    const service = family === 4 ? `${SERVICE4}/32` : `${SERVICE6}/128`;
    const pool = family === 4 ? POOL4 : POOL6;
    const [own, router] = family === 4 ? [place4, router4] : [place6, router6];
    return `
protocol direct any${family} { disabled; interface "${SERVICE_DEVICE}"; ipv${family} { import where net = ${service}; }; }
protocol direct drain${family} {
  disabled;
  interface "${SERVICE_DEVICE}";
  ipv${family} {
    preference 50;
    import filter { if net != ${service} then reject; bgp_community.add((65535, 0)); accept; };
  };
}
protocol direct pool${family} { disabled; interface "${DEVICE}"; ipv${family} { import where net = ${pool}; }; }
protocol bgp router${family} {
  local ${own} as ${NODE_AS};
  neighbor ${router} as ${ROUTER_AS};
${session}
  ipv${family} { import none; export where net ~ [ ${prefixes(family)} ]; next hop self; };
}`;
  });
  return `log stderr all;
router id ${place4};
protocol device { scan time 5; }
${bfd}
${parts.join("\n")}
`;
}

const preferenceName = (source: SourceName, family: 4 | 6) => `PREFER_${source.toUpperCase()}_V${family}`;

/** The file that a flip writes anew. */
export function preferenceText(preferences: Preferences): string {
  const lines = SOURCES.flatMap((source) =>
    FAMILIES.map((family) => `define ${preferenceName(source, family)} = "${preferences[source]}v${family}";`),
  );
  return `${lines.join("\n")}\n`;
}

/** The router's BIRD. Every source has its own table, filled from the common one with its preference on top. */
export function routerBirdText(preferenceFile: string): string {
  const tables = SOURCES.flatMap((source) =>
    FAMILIES.map((family) => {
      const table = `t_${source}_v${family}`;
      return `
ipv${family} table ${table};
protocol pipe p_${source}_v${family} {
  table master${family};
  peer table ${table};
  import none;
  export filter { if proto = ${preferenceName(source, family)} && bgp_local_pref > 0 then bgp_local_pref = 300; accept; };
}
protocol kernel k_${source}_v${family} {
  kernel table ${tableOf(source)};
  ipv${family} { table ${table}; import none; export all; };
}`;
    }),
  );
  const neighbors = NODES.flatMap((node) =>
    FAMILIES.map((family) => {
      const { router4, place4, router6, place6 } = cableOf(node);
      const [own, other] = family === 4 ? [router4, place4] : [router6, place6];
      return `
protocol bgp ${node}v${family} from node {
  local ${own} as ${ROUTER_AS};
  neighbor ${other} as ${NODE_AS};
  ipv${family} { import filter node_v${family}; export none; };
}`;
    }),
  );
  const filters = FAMILIES.map(
    (family) => `
filter node_v${family} {
  if net !~ [ ${prefixes(family)} ] then reject;
  # RFC 8326: a node that drains is used only when there is no other.
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}`,
  );
  return `log stderr all;
router id ${cableOf(NODES[0]).router4};
protocol device { scan time 5; }
${bfd}
include "${preferenceFile}";
${filters.join("")}
template bgp node {
${session}
}
${neighbors.join("")}
${tables.join("")}
`;
}

/** Steers the sources at the router. */
export class Router {
  readonly #socket: string;
  readonly #file: string;
  #link: BirdLink | undefined;
  #preferences: Preferences;
  /** Commands wait for each other: one connection has one question at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(socket: string, preferenceFile: string, preferences: Preferences) {
    this.#socket = socket;
    this.#file = preferenceFile;
    this.#preferences = preferences;
  }

  get preferences(): Preferences {
    return this.#preferences;
  }

  /** Gives the sources in `changes` other preferences; resolves when the router's BIRD has taken them. */
  prefer(changes: Partial<Preferences>): Promise<void> {
    return this.#queued(async () => {
      this.#preferences = { ...this.#preferences, ...changes };
      writeFileSync(this.#file, preferenceText(this.#preferences));
      await this.#ask("configure");
    });
  }

  /** Nodes whose service address of both families the router knows now. */
  announcing(): Promise<Set<string>> {
    return this.#queued(async () => {
      const text: string[] = [];
      for (const address of [SERVICE4, SERVICE6])
        text.push(...(await this.#ask(`show route for ${address} table master${address.includes(":") ? 6 : 4}`)));
      const all = text.join("\n");
      return new Set(NODES.filter((node) => all.includes(`[${node}v4 `) && all.includes(`[${node}v6 `)));
    });
  }

  close(): void {
    this.#link?.end();
  }

  #queued<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next;
    return next;
  }

  async #ask(command: string): Promise<string[]> {
    this.#link ??= await BirdLink.open(this.#socket, ASK_MS, () => {
      this.#link = undefined;
    });
    const reply = await this.#link.ask(command, ASK_MS);
    const refusal = refusalOf(reply);
    // 8001: no such route at the moment.
    if (refusal !== undefined && refusal.code !== 8001)
      throw new Error(`The router's BIRD refuses "${command}": ${refusal.text} (${refusal.code}).`);
    return reply.map(({ text }) => text);
  }
}

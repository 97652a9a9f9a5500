/** Wires a node's part in a group to this operating system: node link, state engine, names of the other nodes. */
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { AnyhopError } from "../base/errors.ts";
import { parseAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import type { Bus, BusListener } from "../cluster/bus.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import type { EventHub } from "../control/asked/event_hub.ts";
import { NodeGroup } from "../control/group/node_group.ts";
import type { NodeEnd } from "../control/node/node_end.ts";
import type { ClusterSpec, LinkPlace, NodeSpec } from "../control/spec/instance.ts";
import type { Store } from "../control/spec/ports.ts";
import type { Entropy } from "../crypto/entropy.ts";
import { openEmbeddedBus } from "../drivers/embedded_bus.ts";
import { bindLink } from "../drivers/link_socket.ts";
import { type NatsBusOptions, openNatsBus } from "../drivers/nats_bus.ts";
import { systemClock } from "./clock.ts";
import { startLifelineThread } from "./lifeline_thread.ts";

/** Binds the node link and finds the peers. The result makes the node's part in the group. Rejects with AnyhopError. */
export async function prepareGroup(
  spec: NodeSpec,
  cluster: ClusterSpec,
  ports: { readonly log: Logger; readonly entropy: Entropy; readonly store: Store; readonly events: EventHub },
): Promise<(node: NodeEnd) => NodeGroup> {
  const { log, store, entropy, events } = ports;
  const peers = await Promise.all(
    cluster.peers.map(async ({ node, link }) => ({ node, endpoint: await endpointOf(link) })),
  );
  const link = await bindLink(
    cluster.link,
    peers.map(({ endpoint }) => endpoint),
  );
  const openBus = prepareBus(spec, cluster, log);
  const own = { address: link.address, port: link.port };
  return (node) => {
    const lifeline = startLifelineThread({ node: cluster.node, bootId: node.sender.bootId, peers, own }, (message) =>
      node.fail(new AnyhopError("lifeline", message)),
    );
    return new NodeGroup(node, spec, cluster, {
      ...{ clock: systemClock, log, entropy, events, peers, link, lifeline },
      engine: cluster.engine.kind,
      openBus,
      ticketKeys: () => store.ticketKeys(),
      agreed: (what) => store.agreed(what),
      agree: (what, bytes) => store.agree(what, bytes),
    });
  };
}

async function endpointOf({ host, port }: LinkPlace): Promise<Endpoint> {
  const known = parseAddress(host);
  if (known !== undefined) return { ...known, port };
  try {
    const { address } = await lookup(host);
    return { ...parseAddress(address)!, port };
  } catch (error) {
    throw new AnyhopError(
      "peer_link",
      `The node link ${host} of a peer was not found (${(error as Error).message}); write its address in [[group.peer]].`,
    );
  }
}

/** What can fail fails here, before the node serves; the result only opens. Throws AnyhopError. */
function prepareBus(
  spec: NodeSpec,
  { engine, node, peers }: ClusterSpec,
  logger: Logger,
): (listener: BusListener) => Bus {
  const { instance, group } = spec;
  if (engine.kind === "embedded") return openEmbeddedBus({ stateDir: instance.stateDir, scope: instance.name, node });
  const { url, nkeySeed, ca, cert, key } = engine;
  const hasTls = ca !== undefined || cert !== undefined;
  const options: NatsBusOptions = {
    ...{ url, group, node, others: peers.map((peer) => peer.node), clock: systemClock, logger },
    nkeySeed: nkeySeed === undefined ? undefined : new TextEncoder().encode(nkeySeed),
    tls: hasTls
      ? {
          ...(ca === undefined ? {} : { ca }),
          ...(cert === undefined ? {} : { cert }),
          ...(key === undefined ? {} : { key }),
        }
      : undefined,
    randomName: () => randomBytes(8).toString("hex"),
  };
  return (listener) => openNatsBus(options, listener);
}

/**
 * The two streams of one node on its own island, and the peers' subtrees that they copy. A stream carries a random life in
 * its name: a peer that copied the stream of an earlier life goes on after its last number, and would miss the beginning
 * of a new stream that counts from one again. Peers learn the name from heartbeats.
 */
import {
  DiscardPolicy,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamInfo,
  type StreamSource,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { LIVE_MS } from "../cluster/bus.ts";
import { groupToken, type StreamKind, streamName, subtree } from "../cluster/bus_subjects.ts";

export interface StreamPlace {
  readonly group: string;
  readonly node: number;
  readonly kind: StreamKind;
}

/** The stream that has this node's subtree; made when there is none. `made`: it is new, and empty. */
export async function openStream(
  jsm: JetStreamManager,
  place: StreamPlace,
  life: string,
): Promise<{ info: StreamInfo; made: boolean }> {
  const { group, node, kind } = place;
  const subject = `${subtree(group, node, kind)}>`;
  for await (const name of jsm.streams.names(subject)) {
    if (!name.startsWith(streamName(group, node, kind))) continue;
    return { info: await jsm.streams.info(name), made: false };
  }
  const info = await jsm.streams.add({
    name: `${streamName(group, node, kind)}${life}`,
    subjects: [subject],
    // The latest value of each key is the whole of the state.
    max_msgs_per_subject: 1,
    max_age: kind === "l" ? nanos(LIVE_MS) : 0,
    storage: StorageType.File,
    num_replicas: 1,
    allow_direct: true,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    // A repeated put is the same value once more; remembering ids of messages would cost memory for nothing.
    duplicate_window: nanos(100),
  });
  return { info, made: true };
}

/** A peer's stream, as it says in its heartbeats. */
export interface PeerStream {
  readonly node: number;
  /** JetStream domain of its server; "" when it has none. */
  readonly domain: string;
  readonly name: string;
}

/** How a stream copies the subtree of a peer. */
function sourceOf(place: StreamPlace, ownDomain: string, peer: PeerStream): StreamSource {
  const { group, node, kind } = place;
  const source = { name: peer.name, filter_subject: `${subtree(group, peer.node, kind)}>` };
  if (peer.domain === ownDomain) return source;
  const deliver = `dlv.${groupToken(group)}.${node}.${peer.node}`;
  return { ...source, external: { api: `$JS.${peer.domain}.API`, deliver } };
}

/** True when the stream already copies this life of the peer's. */
export function hasSource(info: StreamInfo, peer: PeerStream): boolean {
  return info.config.sources?.some(({ name }) => name === peer.name) ?? false;
}

/** Makes the stream copy this peer, instead of an earlier life of it. */
export async function addSource(
  jsm: JetStreamManager,
  place: StreamPlace,
  stream: string,
  domain: string,
  peer: PeerStream,
) {
  const { config } = await jsm.streams.info(stream);
  const filter = `${subtree(place.group, peer.node, place.kind)}>`;
  const others = (config.sources ?? []).filter(({ filter_subject }) => filter_subject !== filter);
  return jsm.streams.update(stream, { ...config, sources: [...others, sourceOf(place, domain, peer)] });
}

/**
 * Takes a source away and adds it again, which makes the server ask anew. `purge`: forget the copies before; the server
 * goes on after the number of the last copy that it finds, and this can be more than the peer's stream has when the peer
 * lost the end of its stream with its power.
 */
export async function renewSource(
  jsm: JetStreamManager,
  place: StreamPlace,
  stream: string,
  domain: string,
  peer: PeerStream,
  purge: boolean,
): Promise<StreamInfo> {
  const filter = `${subtree(place.group, peer.node, place.kind)}>`;
  const { config } = await jsm.streams.info(stream);
  const sources = (config.sources ?? []).filter(({ filter_subject }) => filter_subject !== filter);
  await jsm.streams.update(stream, { ...config, sources });
  if (purge) await jsm.streams.purge(stream, { filter });
  return addSource(jsm, place, stream, domain, peer);
}

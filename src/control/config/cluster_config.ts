/** What [group] and [engine] of a node file mean: rules that need more than one key, secrets, and the `ClusterSpec`. */
import { signingKeyFrom } from "../../crypto/ed25519.ts";
import type { ClusterSpec, EngineSpec, IdentitySpec, LinkPlace } from "../spec/instance.ts";
import { canonical, familyOf, readEndpoint } from "../text/address_text.ts";
import { explainKey, formatKey, parseKey } from "../text/keys/key_text.ts";
import type { ClusterTables } from "./cluster_schema.ts";
import type { Path } from "./config_places.ts";
import type { Report } from "./config_report.ts";
import type { Config } from "./config_schema.ts";
import type { KeyReader } from "./key_sources.ts";

const LINK_PORT_DEFAULT = 4445;
/** An nkey of a user: "SU", then 35 bytes in base 32. */
const NKEY_SEED = /^SU[A-Z2-7]{56}$/;
const NATS_ONLY = ["url", "nkey_file", "ca_file", "cert_file", "key_file"] as const;

/** undefined: a node on its own, or what was reported. */
export function readCluster(
  config: ClusterTables & Pick<Config, "listen">,
  keys: KeyReader,
  report: Report,
): ClusterSpec | undefined {
  const engine = readEngine(config, keys, report);
  const { group } = config;
  if (group === undefined) return undefined;
  const fleetKey = keys.fleetKey(group, ["group"]);
  const identity = readIdentity(group, keys, report);
  const node = required(group.node, ["group"], "node", "add node = 1, and another number on each node", report);
  checkSenderId(config, report);
  const link = readLink(group.link, ["group"], report);
  if (link !== undefined) checkOwnLink(link, config, report);
  const peers = group.peer.flatMap((peer, i) => {
    const at = ["group", "peer", i];
    const number = required(peer.node, at, "node", "add node = 2, the number in that node's own [group]", report);
    const place = readLink(peer.link, at, report);
    return number === undefined || place === undefined ? [] : [{ node: number, link: place, at }];
  });
  const nodes = new Map(node === undefined ? [] : [[node, "this node itself"]]);
  const links = new Map(link === undefined ? [] : [[`${link.host} ${link.port}`, "this node itself"]]);
  for (const peer of peers) {
    const { line } = report.places.at(peer.at);
    const who = `a peer above (line ${line})`;
    const text = `${peer.link.host} ${peer.link.port}`;
    if (nodes.has(peer.node)) report.error([...peer.at, "node"], `node ${peer.node} is ${nodes.get(peer.node)}`);
    if (links.has(text))
      report.error([...peer.at, "link"], `the link ${peer.link.host}:${peer.link.port} is that of ${links.get(text)}`);
    nodes.set(peer.node, who);
    links.set(text, who);
  }
  if (node === undefined || link === undefined || fleetKey === undefined || engine === undefined) return undefined;
  const others = peers.map(({ at: _, ...peer }) => peer);
  return { node, fleetKey, identity, link, holdMs: group.hold, peers: others, engine };
}

/** undefined: the group has no roster, or what was reported. */
function readIdentity(
  group: NonNullable<ClusterTables["group"]>,
  keys: KeyReader,
  report: Report,
): IdentitySpec | undefined {
  const at = ["group"];
  const isNamed = ["", "_file", "_env", "_credential"].some((way) => report.places.has([...at, `signing_key${way}`]));
  const signingKey = keys.signingKey(group, at);
  if (group.operator === undefined) {
    if (isNamed && !report.isTainted([...at, "operator"]))
      report.error(
        at,
        "group has a signing key, and no operator who says that the node belongs to the group",
        "add operator, the public key that `anyhop init operator` printed",
      );
    return undefined;
  }
  const operator = parseKey(group.operator);
  if (operator === undefined) {
    report.error([...at, "operator"], `group.operator is no key: ${explainKey(group.operator)}`);
    return undefined;
  }
  if (!isNamed) {
    report.error(
      at,
      "group has an operator, and this node no signing key of its own",
      'add signing_key_file = "signing.key"; `anyhop init node --operator KEY` makes one',
    );
    return undefined;
  }
  if (signingKey === undefined) return undefined;
  if (formatKey(signingKeyFrom(signingKey).publicKey) !== group.operator.trim()) return { operator, signingKey };
  report.error(
    at,
    "the signing key of this node is the operator's: who steals the node has the group",
    "take it off this machine; `anyhop init node --operator KEY` makes a key for the node",
  );
  return undefined;
}

function required<T>(value: T | undefined, at: Path, key: string, advice: string, report: Report): T | undefined {
  if (value === undefined && !report.isTainted([...at, key]))
    report.error(at, `${report.show(at)} has no ${key}`, advice);
  return value;
}

/** One number names a node everywhere. */
function checkSenderId({ group, listen }: ClusterTables & Pick<Config, "listen">, report: Report): void {
  const at = ["listen", "sender_id"];
  if (report.places.has(at) && group?.node !== undefined && listen.sender_id !== group.node)
    report.error(
      at,
      `listen.sender_id is ${listen.sender_id}, but group.node is ${group.node}`,
      "remove listen.sender_id",
    );
}

function readLink(text: string | undefined, at: Path, report: Report): LinkPlace | undefined {
  const advice = 'add link = "198.51.100.1:4445", the unicast address of that node';
  if (required(text, at, "link", advice, report) === undefined) return undefined;
  const link = readEndpoint(text!, LINK_PORT_DEFAULT);
  if (typeof link !== "string") return link;
  report.error([...at, "link"], link);
  return undefined;
}

function checkOwnLink({ host, port }: LinkPlace, { listen }: Pick<Config, "listen">, report: Report): void {
  const at = ["group", "link"];
  const family = familyOf(host);
  if (family === undefined) {
    report.error(
      at,
      `group.link is "${host}", and this node's own link is bound to an address`,
      "write its IP address",
    );
    return;
  }
  if (report.isTainted(["listen"]) || port !== listen.port) return;
  const any = family === 4 ? ["0.0.0.0", "::"] : ["::"];
  if (listen.addresses.some((address) => canonical(address) === host || any.includes(address)))
    report.error(
      at,
      `the link has port ${port}, where clients come in on the same address`,
      `use ${LINK_PORT_DEFAULT}`,
    );
}

function readEngine({ group, engine }: ClusterTables, keys: KeyReader, report: Report): EngineSpec | undefined {
  const at = ["engine"];
  if (report.isTainted([...at, "kind"])) return undefined;
  if (engine.kind === "embedded") {
    for (const key of NATS_ONLY)
      if (report.places.has([...at, key]))
        report.error(
          [...at, key],
          `engine.${key} has no meaning with kind = "embedded"`,
          'set kind = "nats", or remove it',
        );
    return { kind: "embedded" };
  }
  if (group === undefined) {
    report.error(
      at,
      "there is an engine for several nodes, but no [group]",
      "add [group], with the number of this node",
    );
    return undefined;
  }
  if (engine.url.length === 0 && !report.isTainted([...at, "url"]))
    report.error(at, "engine has no url", 'add url = ["nats://127.0.0.1:4222"]; anyhop init engine makes the server');
  for (const [i, text] of engine.url.entries()) {
    const fault = urlFault(text);
    if (fault !== undefined) report.error([...at, "url", i], fault, "write nats://127.0.0.1:4222 or tls://host:4222");
  }
  for (const [one, other] of [
    ["cert_file", "key_file"],
    ["key_file", "cert_file"],
  ] as const)
    if (engine[one] !== undefined && engine[other] === undefined && !report.isTainted([...at, other]))
      report.error([...at, one], `engine.${one} needs ${other} beside it`);
  const read = (key: "nkey_file" | "ca_file" | "cert_file" | "key_file", secret: boolean): string | undefined =>
    engine[key] === undefined ? undefined : keys.text(engine[key], [...at, key], secret);
  const seed = read("nkey_file", true)?.trim();
  if (seed !== undefined && !NKEY_SEED.test(seed))
    report.error([...at, "nkey_file"], "there is no nkey of a user in it", "anyhop init engine makes one, engine.nk");
  const [ca, cert, key] = [read("ca_file", false), read("cert_file", false), read("key_file", true)];
  for (const [name, pem] of [
    ["ca_file", ca],
    ["cert_file", cert],
    ["key_file", key],
  ] as const)
    if (pem !== undefined && !pem.includes("-----BEGIN ")) report.error([...at, name], `engine.${name} is no PEM file`);
  return { kind: "nats", url: engine.url, nkeySeed: seed, ca, cert, key };
}

function urlFault(text: string): string | undefined {
  const match = /^(nats|tls):\/\/(.*)$/.exec(text);
  if (match === null) return `"${text}" is no URL of a NATS server`;
  if (match[2].includes("@")) return "a user or password in the URL would be seen by everybody who reads this file";
  const place = readEndpoint(match[2].replace(/\/$/, ""), 4222);
  return typeof place === "string" ? place : undefined;
}

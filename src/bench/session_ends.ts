/** The ends of one session of the real daemon: a node at the left side, a client at the right one. */
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { formatKey } from "../control/text/keys/key_text.ts";
import { privateKeyFrom, publicKeyOf } from "../control/text/keys/x25519.ts";
import { OUTER, type Pair, type Program } from "./netns.ts";
import { ANYHOP, DEVICE, INNER, SIDES, type Side, startBoth } from "./tunnel_ends.ts";

const PORT = 4444;

/** `listen`: addresses of the node. Returns the public key of its group. */
export async function startSession(
  pair: Pair,
  dir: string,
  started: Program[],
  listen: readonly string[] = [OUTER.left.v4],
): Promise<string> {
  const keys = { left: privateKeyFrom(randomBytes(32)), right: privateKeyFrom(randomBytes(32)) };
  const publicKey = (side: Side) => formatKey(publicKeyOf(keys[side]));
  const own = (side: Side, table: string) => [
    `name = "${side}"`,
    "[paths]",
    `state = "${dir}/${side}"`,
    `socket = "${dir}/${side}.sock"`,
    `[${table}]`,
    `private_key = "${formatKey(keys[side])}"`,
  ];
  const texts = {
    left: [
      ...own("left", "node"),
      'group = "benchmark"',
      "[listen]",
      `addresses = ${JSON.stringify(listen)}`,
      `port = ${PORT}`,
      "[device]",
      `name = "${DEVICE}"`,
      `addresses = ["${INNER.left}/24"]`,
      "[[client]]",
      'name = "right"',
      `public_key = "${publicKey("right")}"`,
      `addresses = ["${INNER.right}"]`,
    ],
    right: [
      ...own("right", "client"),
      "[[service]]",
      'name = "benchmark"',
      `address = ["${OUTER.left.v4}:${PORT}"]`,
      `public_key = "${publicKey("left")}"`,
      `device = "${DEVICE}"`,
      `routes = ["${INNER.left}/32"]`,
    ],
  };
  for (const side of SIDES) {
    await mkdir(`${dir}/${side}`, { recursive: true, mode: 0o700 });
    await writeFile(`${dir}/${side}.toml`, `${texts[side].join("\n")}\n`, { mode: 0o600 });
  }
  startBoth(pair, started, (side) => [ANYHOP, "run", `${dir}/${side}.toml`]);
  return publicKey("left");
}

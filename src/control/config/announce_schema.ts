/** The keys of [announce] in a node file. What needs two keys to judge is in `announce_config.ts`. */
import { z } from "zod";
import { announceKinds } from "../../announce/spec.ts";
import { integer, oneOf, TABLE, text, textList } from "../text/schema_words.ts";

export const announce = z.strictObject(
  {
    kind: oneOf(announceKinds).default("none").describe("Who tells routers: bird, exabgp, command or none."),
    device: text("a name")
      .optional()
      .describe(
        "TUN that the daemon makes for the service addresses; it is gone when the daemon is, however it ended.",
      ),
    addresses: textList("an address", "addresses")
      .default([])
      .describe("Service addresses, with prefix length if the prefix is wider; what the self-test asks."),
    socket: text("a path").optional().describe("bird: control socket. Default: /run/bird/bird.ctl."),
    protocols: textList("a name", "names")
      .optional()
      .describe("bird: protocols that announce the addresses. Default: any4 and any6, by the families of addresses."),
    drain_protocols: textList("a name", "names")
      .optional()
      .describe("bird: protocols that announce them while draining. Default: drain4 and drain6; [] is none."),
    pipe: text("a path").optional().describe("exabgp: its named pipe. Default: /run/exabgp/exabgp.in."),
    next_hop: textList("an address", "addresses")
      .optional()
      .describe("exabgp: next hop, one of each family. Default: self."),
    command: text("a path").optional().describe("command: program, run with announce, drain or withdraw."),
    timeout: integer(1, 60).default(5).describe("Seconds for an answer of BIRD, or for the program."),
    good: integer(1, 100).default(3).describe("Good self-tests in a row before the addresses are announced."),
    bad: integer(1, 100).default(2).describe("Bad self-tests in a row before they are withdrawn."),
  },
  { error: TABLE },
);

export type AnnounceConfig = z.output<typeof announce>;

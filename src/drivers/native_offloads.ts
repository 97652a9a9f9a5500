/**
 * The kernel's offloads by name: what each does, and why one is off. The addon asks the kernel for each when a socket or
 * the device opens (`feature` gives the answer); what is off falls back to one packet per call, never to an error.
 */
import { AnyhopError } from "../base/errors.ts";
import { FEATURE_GRO, FEATURE_GSO, FEATURE_TSO, FEATURE_USO } from "../dataplane/layout.ts";
import type { Offload } from "../dataplane/ports.ts";
import { errorName } from "./native_errors.ts";

interface Feature {
  readonly name: OffloadName;
  readonly bit: number;
  readonly does: string;
  /** First Linux that has it. */
  readonly since: string;
  readonly needs: string;
}

export type OffloadName = "device-tcp" | "device-udp" | "socket-send" | "socket-receive";

const FEATURES: readonly Feature[] = [
  {
    name: "device-tcp",
    bit: FEATURE_TSO,
    does: "The device moves many TCP segments in one read or write (TSO).",
    since: "2.6.27",
    needs: "device",
  },
  {
    name: "device-udp",
    bit: FEATURE_USO,
    does: "The device moves many UDP packets in one read or write (USO).",
    since: "6.2",
    needs: "device",
  },
  {
    name: "socket-send",
    bit: FEATURE_GSO,
    does: "One send carries many datagrams (UDP_SEGMENT).",
    since: "4.18",
    needs: "socket",
  },
  {
    name: "socket-receive",
    bit: FEATURE_GRO,
    does: "One receive takes many datagrams (UDP_GRO).",
    since: "5.0",
    needs: "socket",
  },
];

/**
 * Offloads that the environment switches off, to find out whether one is to blame: ANYHOP_WITHOUT="device-udp,socket-send",
 * or "all". Throws AnyhopError "OFFLOAD" for a name that is none.
 */
export function offloadsSwitchedOff(env: Readonly<Record<string, string | undefined>>): OffloadName[] {
  const words = (env["ANYHOP_WITHOUT"] ?? "").split(",").filter((word) => word !== "");
  const names = FEATURES.map((f) => f.name);
  if (words.includes("all")) return names;
  for (const word of words) {
    if (names.some((name) => name === word)) continue;
    throw new AnyhopError(
      "OFFLOAD",
      `ANYHOP_WITHOUT names "${word}", which is no offload: use ${names.join(", ")} or all.`,
    );
  }
  return names.filter((name) => words.includes(name));
}

/** The FEATURE_* bits of offloads that are to stay off. */
export function featureBits(names: readonly OffloadName[]): number {
  return FEATURES.reduce((bits, f) => (names.includes(f.name) ? bits | f.bit : bits), 0);
}

/** `answer`: the addon's `feature`: 0 on, 1 not asked for yet, or -errno. */
export function describeOffloads(answer: (bit: number) => number): Offload[] {
  return FEATURES.map((f) => {
    const result = answer(f.bit);
    return { name: f.name, on: result === 0, why: result === 0 ? f.does : whyOff(f, result) };
  });
}

function whyOff(f: Feature, result: number): string {
  if (result > 0) return `No ${f.needs} is open.`;
  const error = errorName(result);
  if (error === "ECANCELED")
    return f.needs === "device" ? "Switched off, or TUN has no frame headers here." : "Switched off.";
  if (error === "ENOTSUP" && f.needs === "device") return "A TAP device moves one frame at a time.";
  if (error === "EIO") return "The network device below cannot compute checksums.";
  return `The kernel says ${error}: Linux ${f.since} has it.`;
}

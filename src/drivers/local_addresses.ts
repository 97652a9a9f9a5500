/** The addresses of this host, and the numbers that the addon gives them. */
import { networkInterfaces } from "node:os";
import type { LocalAddresses } from "../control/spec/ports.ts";
import { localAddress, localNumber } from "./native.ts";

export const localAddresses: LocalAddresses = {
  numberOf: localNumber,
  addressOf: localAddress,
  ofHost: () => Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
};

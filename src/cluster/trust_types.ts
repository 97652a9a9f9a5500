/** What the rest of the group's state machine knows of `trust.ts`. */
import type { SigningKey } from "../crypto/ed25519.ts";
import type { FleetKeys } from "./fleet_keys.ts";
import type { LinkIdentity } from "./link.ts";
import type { Signatures } from "./signatures.ts";

export interface IdentityOptions {
  readonly group: string;
  /** 32 bytes, Ed25519. */
  readonly operator: Uint8Array;
  readonly signing: SigningKey;
  /** What `agree` was given before this start. */
  readonly roster: string | undefined;
}

export interface Trusted {
  readonly fleetKeys: FleetKeys;
  readonly signatures: Signatures;
  /** For the link; undefined: nodes are known by the fleet key alone. */
  readonly identity: LinkIdentity | undefined;
  /** Of the roster that is in force, 0 = none. A key that is made now is marked with it. */
  readonly version: number;
  /** Whether a node of this number may have made sessions: it belongs to the group, or did. */
  isListed(node: number): boolean;
}

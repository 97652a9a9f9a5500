/** Clients of the book as bytes. docs/PROTOCOL.md, "The book". */
import { NODE_MAX } from "../crypto/session_index.ts";
import { Reader, Writer } from "./bytes.ts";

const FORMAT = 1;
const REMOVED = 0;
const PRESENT = 1;
const FIXED = 1 + 1 + 9;
/** Later stamps (year 2527) are nonsense; below them there is always room for a newer version. */
const STAMP_MAX = 2 ** 52;

/** Greater is newer: by stamp, then by node. */
export interface Version {
  /** Milliseconds since 1970 * 256, and more when one client changes several times in a millisecond. */
  readonly stamp: number;
  /** Who wrote. */
  readonly node: number;
}

export const compareVersions = (a: Version, b: Version): number => a.stamp - b.stamp || a.node - b.node;

export interface StoredClient {
  readonly version: Version;
  /** The version in which it got the addresses that it has; its own when removed. */
  readonly claimed: Version;
  /** undefined = removed. A view of what was decoded. */
  readonly content: Uint8Array | undefined;
}

export function encodeClient({ version, claimed, content }: StoredClient): Uint8Array {
  const writer = new Writer(FIXED + 9 + (content?.length ?? 0))
    .u8(FORMAT)
    .u8(content === undefined ? REMOVED : PRESENT);
  writer.u56(version.stamp).u16(version.node);
  if (content !== undefined) writer.u56(claimed.stamp).u16(claimed.node).raw(content);
  return writer.done();
}

/** Undefined for bytes that no node of this version writes. */
export function decodeClient(bytes: Uint8Array): StoredClient | undefined {
  const reader = new Reader(bytes);
  reader.must(reader.u8() === FORMAT);
  const kind = reader.u8();
  reader.must(kind === REMOVED || kind === PRESENT);
  const version = readVersion(reader);
  if (kind === REMOVED) return reader.finish({ version, claimed: version, content: undefined });
  const claimed = readVersion(reader);
  const difference = compareVersions(claimed, version);
  reader.must(difference <= 0);
  // Mostly the same, and kept for each of 100,000 clients.
  return reader.finish({ version, claimed: difference === 0 ? version : claimed, content: reader.rest() });
}

function readVersion(reader: Reader): Version {
  const version = { stamp: reader.u56(), node: reader.u16() };
  reader.must(version.stamp <= STAMP_MAX && version.node >= 1 && version.node <= NODE_MAX);
  return version;
}

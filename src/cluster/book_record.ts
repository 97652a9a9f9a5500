/** Clients of the book as bytes. docs/PROTOCOL.md, "The book". */
import { SIGNATURE_LEN } from "../crypto/ed25519.ts";
import { NODE_MAX } from "../crypto/session_index.ts";
import { Reader, Writer } from "./bytes.ts";

const FORMAT = 2;
const REMOVED = 0;
const PRESENT = 1;
/** Added to these: 64 bytes of signature are the last of the entry. */
const SIGNED = 2;
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
  /** Of `version.node`; left out: it has not signed, as there was no roster. A view of what was decoded. */
  readonly signature?: Uint8Array | undefined;
}

export function encodeClient(client: StoredClient): Uint8Array {
  const { signature } = client;
  if (signature === undefined) return encode(client, 0);
  const bytes = encode(client, SIGNED);
  const signed = new Uint8Array(bytes.length + SIGNATURE_LEN);
  signed.set(bytes);
  signed.set(signature, bytes.length);
  return signed;
}

/** What is signed of an entry, behind the client's key: all of it but the signature. */
export const clientToSign = (client: StoredClient): Uint8Array => encode(client, SIGNED);

function encode({ version, claimed, content }: StoredClient, signed: 0 | typeof SIGNED): Uint8Array {
  const writer = new Writer(FIXED + 9 + (content?.length ?? 0))
    .u8(FORMAT)
    .u8((content === undefined ? REMOVED : PRESENT) + signed);
  writer.u56(version.stamp).u16(version.node);
  if (content !== undefined) writer.u56(claimed.stamp).u16(claimed.node).raw(content);
  return writer.done();
}

/** Undefined for bytes that no node of this version writes. */
export function decodeClient(bytes: Uint8Array): StoredClient | undefined {
  const isSigned = ((bytes[1] ?? 0) & SIGNED) !== 0;
  const end = bytes.length - (isSigned ? SIGNATURE_LEN : 0);
  if (end < 0) return undefined;
  const signature = isSigned ? bytes.subarray(end) : undefined;
  const reader = new Reader(bytes.subarray(0, end));
  reader.must(reader.u8() === FORMAT);
  const kind = reader.u8();
  reader.must(kind <= PRESENT + SIGNED);
  const version = readVersion(reader);
  if ((kind & PRESENT) === 0) return reader.finish({ version, claimed: version, content: undefined, signature });
  const claimed = readVersion(reader);
  const difference = compareVersions(claimed, version);
  reader.must(difference <= 0);
  // Mostly the same, and kept for each of 100,000 clients.
  const since = difference === 0 ? version : claimed;
  return reader.finish({ version, claimed: since, content: reader.rest(), signature });
}

function readVersion(reader: Reader): Version {
  const version = { stamp: reader.u56(), node: reader.u16() };
  reader.must(version.stamp <= STAMP_MAX && version.node >= 1 && version.node <= NODE_MAX);
  return version;
}

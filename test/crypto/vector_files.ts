/**
 * Reads every packet vector in `vectors/`: any JSON file of the shape `{ vectors: [...] }` counts, so more files can be
 * dropped in. Three shapes of entries: captured (sender's `role`), accepted (`receiver_role`) and intermediate values.
 */
import { readdirSync, readFileSync } from "node:fs";
import {
  type KeyLen,
  readHeader,
  type SatpContext,
  type SatpHeader,
  satpKeyFromPassphrase,
} from "../../src/crypto/satp.ts";

interface VectorConfig {
  readonly cipher: string;
  readonly auth: string;
  readonly auth_tag_length: number;
  readonly kd_prf: string;
  readonly role?: "left" | "right";
  readonly receiver_role?: "left" | "right";
  readonly passphrase?: string;
  readonly master_key_hex?: string;
  readonly master_salt_hex?: string;
}

/** One datagram with what it must open to. `context` is that of the end that sealed it. */
export interface PacketVector {
  readonly name: string;
  readonly context: SatpContext;
  readonly header: SatpHeader;
  readonly payloadType: number;
  readonly inner: Uint8Array;
  readonly datagram: Uint8Array;
}

export interface IntermediateVector extends PacketVector {
  readonly values: Readonly<Record<string, string>> & { readonly kd_counter_block: Readonly<Record<string, string>> };
}

const VECTORS = new URL("../../vectors/", import.meta.url);

export const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
export const hex = (of: Uint8Array): string => Buffer.from(of).toString("hex");

function keyLen(name: string): KeyLen {
  if (name === "null") return 0;
  return name === "aes-ctr" ? 16 : ((Number(name.slice("aes-ctr-".length)) / 8) as KeyLen);
}

function contextOf(config: VectorConfig): SatpContext {
  const sealer = config.role ?? (config.receiver_role === "left" ? "right" : "left");
  const context = satpKeyFromPassphrase(config.passphrase ?? "", {
    cipherLen: keyLen(config.cipher),
    tagLen: config.auth === "null" ? -1 : config.auth_tag_length,
    kdLen: keyLen(config.kd_prf),
    role: sealer === "left" ? 0 : 1,
  });
  if (context.kdLen === 0) return context;
  return {
    ...context,
    masterKey: config.master_key_hex === undefined ? context.masterKey : bytes(config.master_key_hex),
    masterSalt: config.master_salt_hex === undefined ? context.masterSalt : bytes(config.master_salt_hex),
  };
}

/** What the original program wrote as type: by device, then by the version nibble. */
function typeOf(inner: Uint8Array, isTap: boolean): number {
  if (isTap) return 0x6558;
  return inner[0] >> 4 === 4 ? 0x0800 : 0x86dd;
}

function packetOf(
  name: string,
  config: VectorConfig & { dev?: string },
  packet: Record<string, unknown>,
): PacketVector {
  const datagram = bytes(packet["udp_hex"] as string);
  const inner = bytes(packet["inner_hex"] as string);
  const declared = packet["payload_type"] as number | undefined;
  return {
    name,
    context: contextOf(config),
    header: readHeader(datagram),
    payloadType: declared ?? typeOf(inner, config.dev === "tap"),
    inner,
    datagram,
  };
}

function files(): { name: string; vectors: Record<string, unknown>[] }[] {
  return readdirSync(VECTORS)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({ name, parsed: JSON.parse(readFileSync(new URL(name, VECTORS), "utf8")) }))
    .filter(({ parsed }) => Array.isArray(parsed.vectors))
    .map(({ name, parsed }) => ({ name, vectors: parsed.vectors }));
}

/** Every datagram of every file. Packets that the real program refused (`accepted: false`) are left out. */
export function packetVectors(): PacketVector[] {
  return files().flatMap(({ name, vectors }) =>
    vectors.flatMap((vector, i) => {
      const config = vector["config"] as VectorConfig;
      const packets = (vector["packets"] ?? [vector]) as Record<string, unknown>[];
      return packets
        .filter((packet) => packet["udp_hex"] !== undefined && packet["accepted"] !== false)
        .map((packet, k) => packetOf(`${name} ${i}.${k}`, config, packet));
    }),
  );
}

export function intermediateVectors(): IntermediateVector[] {
  return files().flatMap(({ name, vectors }) =>
    vectors
      .filter((vector) => vector["kd_counter_block"] !== undefined)
      .map((vector, i) => ({
        ...packetOf(`${name} ${i}`, vector["config"] as VectorConfig, vector),
        values: vector as unknown as IntermediateVector["values"],
      })),
  );
}

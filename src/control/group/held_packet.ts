/** Opens a packet that the data plane did not take, with the keys of its session, to see whose it is. */
import { PONG } from "../../channel/kinds.ts";
import { decodeUnnumbered } from "../../channel/unnumbered.ts";
import type { OpenedPacket } from "../../cluster/group_types.ts";
import type { LiveRecord } from "../../cluster/record.ts";
import { openAead } from "../../crypto/aead.ts";
import { type Aead, clientKey } from "../../handshake/keys.ts";
import { TYPE_CONTROL } from "../../wire/satp.ts";
import { aeadAlgorithms } from "../instance/session_cipher.ts";

const HEADER_LEN = 8;

/** Undefined: forged. */
export function openHeld({ secret, aead }: LiveRecord, datagram: Uint8Array): OpenedPacket | undefined {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  if (datagram.length < HEADER_LEN) return undefined;
  const header = { seq: view.getUint32(0), senderId: view.getUint16(4), mux: view.getUint16(6) };
  const openKey = clientKey(secret, aead);
  // Nothing is sealed with it; a key of this node's own would take as long as the rest of this function.
  const opened = openAead({ algorithm: aeadAlgorithms[aead as Aead], openKey, sealKey: openKey }, datagram, header);
  if (opened.result !== "opened") return undefined;
  const message = opened.payloadType === TYPE_CONTROL ? decodeUnnumbered(opened.inner) : undefined;
  return { pong: message?.kind === PONG ? message.token : undefined };
}

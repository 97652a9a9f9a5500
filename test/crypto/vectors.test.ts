/**
 * The TypeScript transforms against traffic of the real programs: every captured datagram is made again byte for byte,
 * every accepted one opens, and every intermediate value is the published one.
 */
import { expect, test } from "vitest";
import {
  authenticate,
  cipherBlock,
  derivationBlock,
  deriveKeys,
  masterKeyFromPassphrase,
  masterSaltFromPassphrase,
  openSatp,
  sealSatp,
} from "../../src/crypto/satp.ts";
import { bytes, hex, intermediateVectors, packetVectors } from "./vector_files.ts";

const packets = packetVectors();
const intermediates = intermediateVectors();
const LABELS = { left: [0x356a192b, 0x77de68da, 0xac3478d6], right: [0xda4b9237, 0x1b645389, 0xc1dfd96e] };

test("there are vectors to check", () => {
  expect(packets.length).toBeGreaterThan(700);
  expect(intermediates.length).toBeGreaterThan(20);
});

test("sealing the inner packet gives the captured datagram", () => {
  for (const { name, context, header, payloadType, inner, datagram } of packets)
    expect(hex(sealSatp(context, header, payloadType, inner)), name).toBe(hex(datagram));
});

test("the datagram opens at an end of the other role", () => {
  for (const { name, context, header, payloadType, inner, datagram } of packets) {
    const opened = openSatp({ ...context, role: 1 - context.role }, datagram, header);
    expect(opened, name).toEqual({ result: "opened", payloadType, inner });
  }
});

test("every intermediate value is the published one", () => {
  for (const { name, context, header, values, datagram } of intermediates) {
    const keys = deriveKeys(context, context.role, header.seq);
    const labels = context.role === 0 ? LABELS.left : LABELS.right;
    if (context.kdLen > 0) {
      expect(hex(context.masterKey), name).toBe(values["master_key"]);
      expect(hex(context.masterSalt), name).toBe(values["master_salt"]);
      const blocks = labels.map((label) => hex(derivationBlock(context.masterSalt, label, header.seq)));
      const { enc, salt, auth } = values.kd_counter_block;
      expect(blocks, name).toEqual([enc, salt, auth]);
    }
    if (context.cipherLen > 0) {
      expect(hex(keys.encryption), name).toBe(values["session_enc_key"]);
      expect(hex(keys.salt), name).toBe(values["session_salt"]);
      expect(hex(cipherBlock(keys.salt, header)), name).toBe(values["cipher_initial_counter"]);
    }
    expect(hex(keys.auth), name).toBe(values["session_auth_key"]);
    const covered = datagram.subarray(0, datagram.length - context.tagLen);
    expect(hex(authenticate(keys.auth, covered)), name).toBe(values["hmac_sha1_full"]);
    expect(hex(datagram.subarray(covered.length)), name).toBe(values["tag"]);
  }
});

test("the worked example of the protocol description", () => {
  const phrase = "correct horse battery staple";
  expect(hex(masterKeyFromPassphrase(phrase, 16))).toBe("db963f0fe106f483d9afa73bd4e39a8a");
  expect(hex(masterSaltFromPassphrase(phrase))).toBe("36dbe526aa231abde2d0eef74d42");
  const datagram = bytes(
    "0000000180010000ca6bf681bee9a1dea2bbb64c929e003d258d6ba41fca2d6c95738070c9339aec38f0a023babc686eb1cb4b5aa22a54" +
      "141145a2ec2e8c9ddbd7",
  );
  const opened = openSatp(
    {
      cipherLen: 16,
      tagLen: 10,
      kdLen: 16,
      role: 1,
      masterKey: masterKeyFromPassphrase(phrase, 16),
      masterSalt: masterSaltFromPassphrase(phrase),
    },
    datagram,
    { seq: 1, senderId: 0x8001, mux: 0 },
  );
  expect(opened).toMatchObject({ result: "opened", payloadType: 0x86dd });
});

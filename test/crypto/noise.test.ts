/** The official vectors of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (cacophony's format), and what must not open. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openChaChaPoly, sealChaChaPoly } from "../../src/crypto/chachapoly.ts";
import { systemEntropy } from "../../src/crypto/entropy.ts";
import {
  agree,
  noiseNonce,
  openFirst,
  openSecond,
  openStatic,
  writeFirst,
  writeSecond,
} from "../../src/crypto/noise.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";

interface Vector {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly resp_prologue: string;
  readonly init_psks: readonly string[];
  readonly resp_psks: readonly string[];
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly init_remote_static: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (of: Uint8Array | undefined) => (of === undefined ? "nothing" : Buffer.from(of).toString("hex"));
const pair = (priv: string) => keyPairFromPrivate(bytes(priv));
const file = readFileSync(new URL("../../vectors/noise.json", import.meta.url), "utf8");
const vectors = (JSON.parse(file) as { vectors: Vector[] }).vectors.filter(
  (vector) => vector.protocol_name === "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
);

test("there is a vector of our pattern", () => expect(vectors.length).toBeGreaterThan(0));

describe.each(vectors)("$protocol_name", (vector) => {
  const [m1, m2, ...transport] = vector.messages;
  const initiator = pair(vector.init_static);
  const responder = pair(vector.resp_static);
  const first = writeFirst(
    bytes(vector.init_prologue),
    initiator,
    bytes(vector.init_remote_static),
    pair(vector.init_ephemeral),
    bytes(m1.payload),
  )!;
  const opened = openFirst(responder, openStatic(bytes(vector.resp_prologue), responder, bytes(m1.ciphertext))!)!;
  const agreed = agree(opened, pair(vector.resp_ephemeral), bytes(vector.resp_psks[0]))!;
  const second = writeSecond(agreed, bytes(m2.payload));
  const finished = openSecond(first.sent, bytes(vector.init_psks[0]), bytes(m2.ciphertext))!;

  test("both messages are the published ones, and open to the payloads", () => {
    expect(hex(responder.publicKey)).toBe(vector.init_remote_static);
    expect(hex(first.message)).toBe(m1.ciphertext);
    expect(hex(opened.payload)).toBe(m1.payload);
    expect(hex(opened.remoteStatic)).toBe(hex(initiator.publicKey));
    expect(hex(second.message)).toBe(m2.ciphertext);
    expect(hex(finished.payload)).toBe(m2.payload);
  });

  test("both ends have the published hash and the keys of the published transport messages", () => {
    expect(hex(second.hash)).toBe(vector.handshake_hash);
    expect(hex(finished.hash)).toBe(vector.handshake_hash);
    expect(finished.keys).toEqual(agreed.keys);
    const { initiatorKey, responderKey } = finished.keys;
    transport.forEach(({ payload, ciphertext }, i) => {
      const key = i % 2 === 0 ? initiatorKey : responderKey;
      const nonce = noiseNonce(Math.floor(i / 2));
      expect(hex(sealChaChaPoly(key, nonce, new Uint8Array(0), bytes(payload)))).toBe(ciphertext);
      expect(hex(openChaChaPoly(key, nonce, new Uint8Array(0), bytes(ciphertext)))).toBe(payload);
    });
  });

  test("no truncation and no changed bit opens", () => {
    const one = bytes(m1.ciphertext);
    const two = bytes(m2.ciphertext);
    const opensFirst = (message: Uint8Array) => {
      const claimed = openStatic(bytes(vector.resp_prologue), responder, message);
      return claimed !== undefined && openFirst(responder, claimed) !== undefined;
    };
    const opensSecond = (message: Uint8Array) =>
      openSecond(first.sent, bytes(vector.init_psks[0]), message) !== undefined;
    for (const [message, opens] of [[one, opensFirst] as const, [two, opensSecond] as const]) {
      for (let n = 0; n < message.length; n++) expect(opens(message.subarray(0, n)), `${n} bytes`).toBe(false);
      // X25519 ignores the top bit of a public key (RFC 7748 section 5), but the hash covers it.
      for (let bit = 0; bit < message.length * 8; bit++) {
        const changed = message.slice();
        changed[bit >> 3] ^= 1 << (bit & 7);
        expect(opens(changed), `bit ${bit}`).toBe(false);
      }
      expect(opens(message)).toBe(true);
    }
  });

  test("another psk, prologue or static key does not open", () => {
    const wrong = bytes(vector.init_psks[0]);
    wrong[31] ^= 1;
    expect(openSecond(first.sent, wrong, second.message)).toBeUndefined();
    expect(openStatic(bytes("00"), responder, first.message)).toBeUndefined();
    expect(openStatic(bytes(vector.resp_prologue), initiator, first.message)).toBeUndefined();
  });
});

test("a public key of small order gives no shared secret", () => {
  const own = systemEntropy.keyPair();
  const zero = new Uint8Array(32);
  expect(own.shared(zero)).toBeUndefined();
  expect(own.shared(Uint8Array.of(1, ...new Uint8Array(31)))).toBeUndefined();
  expect(writeFirst(zero, own, zero, own, zero)).toBeUndefined();
});

test("key pairs: RFC 7748 section 6.1, and fresh ones agree with each other", () => {
  const alice = pair("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  expect(hex(alice.publicKey)).toBe("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  const own = systemEntropy.keyPair();
  expect(hex(alice.shared(own.publicKey))).toBe(hex(own.shared(alice.publicKey)));
  expect(hex(systemEntropy.keyPair().publicKey)).not.toBe(hex(own.publicKey));
  expect(() => keyPairFromPrivate(new Uint8Array(31))).toThrow(/32 bytes, not 31/);
});

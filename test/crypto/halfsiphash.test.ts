/** HalfSipHash-2-4 against the vectors of its authors: key 00 to 07, input 00, 01, 02 ... of each length from 0 to 63. */
import { expect, test } from "vitest";
import { halfSipHash } from "../../src/crypto/halfsiphash.ts";

const VECTORS = `
  a9359f5b 27475ab8 fa62a603 8afee704 2a6e4689 c5fab669 5863fc23 8bcf63c5 d0b8848f f806e779 94b07934 08083050
  57f0872f 77e663ff d6fff87c 74fe2b97 d9b5ac84 c474645b 465b8d9b 7befe387 e34d1045 613f62b3 70f367fe e6adb8bd
  27400c63 26787875 4f567b5f 3ab0e669 b0644000 ff670fb4 509e338b 5d589f1a fee72112 33753259 6a434f8c fe28b729
  e75cc6ec 697e8d54 63688b0f 650b62b4 b6bc1840 5d074505 2442fd2e 7bb7863a 7705d548 d75208b1 b6d499c8 0892202e
  69e12ce3 8db580e5 369764c6 016e0204 3b85f3d4 fedb66be 1e692a3a c68984c0 a5c5b940 9be9e88c 7dbc8140 7c078ec5
  d4e76c73 428fcbb9 bd83997a 59ea4a74`;

test("the authors' 64 vectors, at any place of the memory", () => {
  const vectors = VECTORS.trim().split(/\s+/);
  expect(vectors.length).toBe(64);
  vectors.forEach((expected, len) => {
    for (const at of [0, 3]) {
      const bytes = new Uint8Array(at + len + 5).fill(0xa5);
      for (let i = 0; i < len; i++) bytes[at + i] = i;
      const word = new DataView(new ArrayBuffer(4));
      word.setInt32(0, halfSipHash(0x03020100, 0x07060504, bytes, at, len), true);
      expect(Buffer.from(word.buffer).toString("hex"), `${len} bytes at ${at}`).toBe(expected);
    }
  });
});

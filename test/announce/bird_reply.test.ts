/** Replies of BIRD 2.0.12 as they were recorded, in any pieces; and what is not BIRD. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { protocolStates, type ReplyLine, ReplyReader, refusalOf } from "../../src/announce/bird_reply.ts";

const RECORDED = [
  "0001 BIRD 2.0.12 ready.\n",
  "0008-any4: already disabled\n0000 \n",
  "0011-any4: enabled\n0000 \n",
  "2002-Name       Proto      Table      State  Since         Info\n" +
    "1002-device1    Device     ---        up     19:20:01.895  \n" +
    " any4       Direct     ---        up     19:20:02.635  \n" +
    " drain4     Direct     ---        down   19:20:01.895  \n" +
    " router4    BGP        ---        start  19:20:01.895  Idle          \n0000 \n",
  "9001 syntax error, unexpected CF_SYM_UNDEFINED, expecting CF_SYM_KNOWN or TEXT or ALL\n",
  "1000-BIRD 2.0.12\n1011-Router ID is 203.0.113.2\n Hostname is vm\n0013 Daemon is up and running\n",
];

describe("replies", () => {
  test("in any pieces", () => {
    const whole = new ReplyReader().push(RECORDED.join(""));
    expect(whole.map((reply) => reply.map(({ code }) => code))).toEqual([
      [1],
      [8, 0],
      [11, 0],
      [2002, 1002, 1002, 1002, 1002, 0],
      [9001],
      [1000, 1011, 1011, 13],
    ]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1 }), (sizes) => {
        const reader = new ReplyReader();
        const replies: ReplyLine[][] = [];
        const text = RECORDED.join("");
        for (let at = 0, i = 0; at < text.length; i++) {
          const size = sizes[i % sizes.length];
          replies.push(...reader.push(text.slice(at, at + size)));
          at += size;
        }
        expect(replies).toEqual(whole);
      }),
    );
  });

  test("refusals and states", () => {
    const [greeting, already, , protocols, refused] = new ReplyReader().push(RECORDED.join(""));
    expect([greeting, already, protocols].map(refusalOf)).toEqual([undefined, undefined, undefined]);
    expect(refusalOf(refused)).toMatchObject({ code: 9001 });
    expect([...protocolStates(protocols)]).toEqual([
      ["device1", "up"],
      ["any4", "up"],
      ["drain4", "down"],
      ["router4", "start"],
    ]);
  });

  test("lines that belong to no reply are left out", () => {
    expect(new ReplyReader().push("+2023-01-01 <INFO> Started\n0000 \n")).toEqual([[{ code: 0, text: "" }]]);
  });

  test.each(["HTTP/1.1 400 Bad Request\n", " first\n", "12 x\n"])("not BIRD: %j", (text) => {
    expect(() => new ReplyReader().push(text)).toThrow("it says");
  });

  test("an answer without end is not kept", () => {
    const reader = new ReplyReader();
    const chunk = "x".repeat(1 << 20);
    expect(() => {
      for (let i = 0; i < 20; i++) reader.push(chunk);
    }).toThrow("does not end");
  });
});

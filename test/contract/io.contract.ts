/**
 * The rules that every `PacketIo` keeps, as tests. Two hosts on one link of MTU 1500: left has 192.0.2.1, 192.0.2.11,
 * 2001:db8::1 and ::11 and the device (inner 10.77.0.1/24); right has 192.0.2.2 and 2001:db8::2. Nothing else is routed.
 */
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Memory } from "../../src/dataplane/batch.ts";
import * as L from "../../src/dataplane/layout.ts";
import type { PacketIo } from "../../src/dataplane/ports.ts";
import * as V from "../../src/dataplane/verdict.ts";
import { getRow, type Incoming, ipv4Udp, type Outgoing, putRow, soil, words } from "./io_rows.ts";

export interface Host extends PacketIo {
  openSocket(address: string, port: number): number;
  socketPort(sock: number): number;
  closeSocket(sock: number): void;
  openDevice(name: string | undefined, ethernet: boolean): string;
  close(): void;
}

/** Both sides may be one driver with one memory. */
export interface Side {
  readonly io: Host;
  readonly memory: Memory;
  /** Before opening sockets: enters the namespace of the side. */
  enter(): void;
}

export interface Rig {
  readonly left: Side;
  readonly right: Side;
  wakeLeft(): void;
  /** Gives the device 10.77.0.1/24 and sets it up, or down. */
  deviceUp(name: string, up: boolean): Promise<void>;
  /** The left host sends a UDP payload from 10.77.0.1 to 10.77.0.2 port 9. */
  hostSends(payload: Uint8Array): void;
  /** The oldest UDP payload that reached 10.77.0.1 port 7777 through the device. */
  hostGets(): Uint8Array | undefined;
  close(): Promise<void>;
}

const LEFT4 = "192.0.2.1";
const LEFT6 = "2001:db8::1";
const RIGHT4 = "192.0.2.2";
const RIGHT6 = "2001:db8::2";
/** Nobody listens here. */
const SILENT_PORT = 9;
const NOWHERE = "203.0.113.9";
const ERRNO = { EBADF: -9, EINVAL: -22, ENETUNREACH: -101 };

const text = (s: string) => new TextEncoder().encode(s);

export function ioContract(makeRig: () => Promise<Rig>): void {
  let rig: Rig;
  let left: Side;
  let right: Side;
  let a4: number;
  let a6: number;
  let b4: number;
  let b6: number;
  let to4: { sock: number; to: string; port: number };
  let to6: { sock: number; to: string; port: number };

  beforeAll(async () => {
    rig = await makeRig();
    ({ left, right } = rig);
    left.enter();
    a4 = left.io.openSocket(LEFT4, 0);
    a6 = left.io.openSocket(LEFT6, 0);
    right.enter();
    b4 = right.io.openSocket(RIGHT4, 0);
    b6 = right.io.openSocket(RIGHT6, 0);
    left.enter();
    to4 = { sock: a4, to: RIGHT4, port: right.io.socketPort(b4) };
    to6 = { sock: a6, to: RIGHT6, port: right.io.socketPort(b6) };
    // Until the neighbour is resolved (RFC 826, RFC 4861) a host keeps only a few datagrams.
    expect(
      send(
        left,
        [to4, to6].map((to) => ({ ...to, payload: 1 })),
      ),
    ).toEqual([V.SENT, V.SENT]);
    for (const sock of [b4, b6]) expect(receive(right, sock, 1)).toHaveLength(1);
  });
  afterAll(() => rig?.close());

  /** What earlier, failed tests have left must not confuse later ones. */
  beforeEach(() => {
    for (const side of [left, right]) {
      for (let s = 0; s < L.SOCKETS_MAX; s++) while (side.io.receive(s, L.IN_ROWS) > 0);
      soil(side.memory);
    }
  });

  function send(side: Side, rows: readonly Outgoing[]): number[] {
    rows.forEach((row, i) => {
      putRow(side.memory, i, row);
    });
    side.io.send(rows.length);
    return Array.from(side.memory.output.verdict.subarray(0, rows.length));
  }

  /** Rows of a socket until there are `count`, in the order of receipt; fewer when nothing comes for a second. */
  function receive(side: Side, sock: number, count: number, max = L.IN_ROWS): Incoming[] {
    const rows: Incoming[] = [];
    while (rows.length < count) {
      const n = side.io.receive(sock, max);
      expect(n).toBeGreaterThanOrEqual(0);
      if (n === 0 && (side.io.poll(1000) & (L.READY_SOCKET0 << sock)) === 0) break;
      for (let i = 0; i < n; i++) rows.push(getRow(side.memory, i));
    }
    return rows;
  }

  describe("receive", () => {
    it("gives 0 when nothing is there or no row is wanted, and -EBADF for a socket that is not open", () => {
      expect(right.io.receive(b4, L.IN_ROWS)).toBe(0);
      expect(right.io.receive(b4, 0)).toBe(0);
      expect(right.io.receive(b4, -1)).toBe(0);
      for (const sock of [-1, 15, 16, 255, 1 << 20]) expect(right.io.receive(sock, 1)).toBe(ERRNO.EBADF);
    });

    it.each(["IPv4", "IPv6"])("fills every column and keeps the order of 600 datagrams over %s", (family) => {
      const [to, from, source, sock] = family === "IPv4" ? [to4, LEFT4, a4, b4] : [to6, LEFT6, a6, b6];
      const payloads = Array.from({ length: 600 }, (_, k) => text(`datagram ${k}`.padEnd(20 + (k % 700), ".")));
      expect(
        send(
          left,
          payloads.map((payload) => ({ ...to, payload })),
        ),
      ).toEqual(payloads.map(() => V.SENT));
      const rows = receive(right, sock, 600);
      expect(rows.map((row) => new TextDecoder().decode(row.bytes))).toEqual(
        payloads.map((p) => new TextDecoder().decode(p)),
      );
      expect(rows.every((row) => row.at >= 0 && row.at + row.len <= L.READ_BASE)).toBe(true);
      for (const row of rows) {
        expect(row).toMatchObject({ verdict: V.LIVE, tunnel: -1, sock, tos: 0, flags: 0, seg: 0, hdr: 0 });
        expect(row.from).toEqual(words(from));
        expect(row.port).toBe(left.io.socketPort(source));
      }
    });

    it("never fills more rows than asked for, and loses none of the others", () => {
      send(
        left,
        ["a", "b", "c", "d", "e"].map((s) => ({ ...to4, payload: text(s) })),
      );
      expect(right.io.poll(1000) & (L.READY_SOCKET0 << b4)).not.toBe(0);
      expect(right.io.receive(b4, 3)).toBe(3);
      expect(right.memory.input.len[3]).toBe(0x5a5a5a5a);
      expect(receive(right, b4, 2, 1).map((row) => row.bytes)).toEqual([text("d"), text("e")]);
    });

    it("takes datagrams from no bytes to the most that UDP has", () => {
      const sizes = [0, 1400, L.SLOT_BYTES + 1, L.DATAGRAM_MAX, 9000, 1];
      left.memory.slab.fill(0x77, L.OUT_BASE, L.OUT_BASE + 80000);
      expect(
        send(
          left,
          sizes.map((payload) => ({ ...to4, payload })),
        ),
      ).toEqual(sizes.map(() => V.SENT));
      const rows = receive(right, b4, sizes.length);
      expect(rows.map((row) => row.len)).toEqual(sizes);
      expect(rows.every((row) => row.verdict === V.LIVE)).toBe(true);
      expect(rows.every((row) => row.bytes.every((byte) => byte === 0x77))).toBe(true);
    });

    it("knows the outer TOS byte of each datagram", () => {
      const marks = [0, 0xb8, 0x03, 0xff, 0, 0x01];
      for (const [to, sock] of [
        [to4, b4],
        [to6, b6],
      ] as const) {
        send(
          left,
          marks.map((tos) => ({ ...to, payload: 1, tos })),
        );
        expect(receive(right, sock, marks.length).map((row) => row.tos)).toEqual(marks);
      }
    });
  });

  describe("send", () => {
    it("says SEND_TOO_BIG for exactly the datagrams that DF keeps from leaving", () => {
      const cases = [
        [to4, 1472, L.FLAG_DF, V.SENT],
        [to4, 1473, L.FLAG_DF, V.SEND_TOO_BIG],
        [to4, 1473, 0, V.SENT],
        [to4, 65508, 0, V.SEND_TOO_BIG],
        [to6, 1452, L.FLAG_DF, V.SENT],
        [to6, 1453, L.FLAG_DF, V.SEND_TOO_BIG],
        [to6, 1453, 0, V.SENT],
        [to4, 1400, L.FLAG_DF, V.SENT],
      ] as const;
      const rows = cases.map(([to, payload, flags]) => ({ ...to, payload, flags }));
      expect(send(left, rows)).toEqual(cases.map(([, , , verdict]) => verdict));
      expect(receive(right, b4, 3).map((row) => row.len)).toEqual([1472, 1473, 1400]);
      expect(receive(right, b6, 2).map((row) => row.len)).toEqual([1452, 1453]);
    });

    it("sends every datagram of a row, and of neighbours, as it is", () => {
      const { slab, output } = left.memory;
      for (let k = 0; k < 300_000; k++) slab[L.OUT_BASE + k] = (k * 7 + (k >> 8)) & 0xff;
      /** Lengths of the rows and their segment size, in the order of sending. */
      const cases = [
        [100, 0],
        [64 * 900, 900],
        [45 * 1400 + 3, 1400],
        [60_000, 1400],
        [1400, 0],
        [1400, 0],
        [700, 0],
        [700, 0],
        [1, 0],
        [0, 0],
        [130, 1],
        [50, 1400],
        // Behind a longer datagram only one that is shorter has room in its message.
        [1400, 0],
        [3 * 700, 700],
        [2 * 1000, 1000],
        [2 * 1000 + 1, 1000],
      ] as const;
      for (const [to, sock] of [
        [to4, b4],
        [to6, b6],
      ] as const) {
        const want: string[] = [];
        let at = L.OUT_BASE;
        cases.forEach(([len, seg], i) => {
          putRow(left.memory, i, { ...to, payload: len, seg, flags: L.FLAG_DF });
          output.at[i] = at;
          for (let from = at; from < at + Math.max(1, len); from += seg || len || 1) {
            const end = Math.min(at + len, from + (seg || len));
            want.push(Buffer.from(slab.subarray(from, end)).toString("base64"));
          }
          at += len;
        });
        left.io.send(cases.length);
        expect(Array.from(output.verdict.subarray(0, cases.length))).toEqual(cases.map(() => V.SENT));
        const got = receive(right, sock, want.length).map((row) => Buffer.from(row.bytes).toString("base64"));
        expect(got.length).toBe(want.length);
        expect(got).toEqual(want);
      }
    });

    it("sends what it can of a row with datagrams that are too big, and says how many", () => {
      // 1473 bytes do not fit a link of 1500, the last one with 100 does.
      const rows = [
        { ...to4, payload: 3 * 1473 + 100, seg: 1473, flags: L.FLAG_DF },
        { ...to4, payload: 2 * 1472, seg: 1472, flags: L.FLAG_DF },
        { ...to4, payload: 2 * 1473, seg: 1473, flags: 0 },
      ];
      expect(send(left, rows)).toEqual([V.SEND_TOO_BIG, V.SENT, V.SENT]);
      expect(left.memory.output.done[0]).toBe(1);
      expect(receive(right, b4, 5).map((row) => row.len)).toEqual([100, 1472, 1472, 1473, 1473]);
      expect(right.io.receive(b4, 1)).toBe(0);
    });

    it("says SEND_TOO_BIG for datagrams that are longer than UDP has, and the rows beside them are sent as they are", () => {
      // Without DF all that is refused here is refused for its length alone.
      const rows = [
        { ...to4, payload: 10 },
        { ...to4, payload: 100_000 },
        { ...to4, payload: 10 },
        { ...to4, payload: 140_000, seg: 70_000 },
        { ...to4, payload: 20 },
        { ...to4, payload: 20, seg: 70_000 },
        { ...to4, payload: L.DATAGRAM_MAX + 1 },
        { ...to4, payload: 1 },
      ];
      const big = [1, 3, 6];
      expect(send(left, rows)).toEqual(rows.map((_, i) => (big.includes(i) ? V.SEND_TOO_BIG : V.SENT)));
      for (const i of big) expect(left.memory.output.done[i]).toBe(0);
      expect(receive(right, b4, 5).map((row) => row.len)).toEqual([10, 10, 20, 20, 1]);
      expect(right.io.receive(b4, 1)).toBe(0);
    });

    it("says SEND_UNREACHABLE where no route leads, and goes on", () => {
      const rows = [to4, { ...to4, to: NOWHERE }, { ...to6, to: "2001:db8:9::1" }, to4];
      const verdicts = send(
        left,
        rows.map((to, k) => ({ ...to, payload: text(`${k}`) })),
      );
      expect(verdicts).toEqual([V.SENT, V.SEND_UNREACHABLE, V.SEND_UNREACHABLE, V.SENT]);
      expect(receive(right, b4, 2).map((row) => row.bytes)).toEqual([text("0"), text("3")]);
    });

    it("is not disturbed by peers that do not listen", () => {
      for (let k = 0; k < 20; k++) {
        expect(
          send(left, [
            { ...to4, port: SILENT_PORT, payload: 1 },
            { ...to4, payload: 2 },
          ]),
        ).toEqual([V.SENT, V.SENT]);
        expect(left.io.receive(a4, L.IN_ROWS)).toBe(0);
      }
      expect(receive(right, b4, 20).map((row) => row.len)).toEqual(new Array(20).fill(2));
    });

    it("leaves rows with another verdict alone", () => {
      putRow(left.memory, 0, { ...to4, payload: text("dead") });
      putRow(left.memory, 1, { ...to4, payload: text("live") });
      putRow(left.memory, 2, { ...to4, payload: text("behind n") });
      left.memory.output.verdict[0] = V.NO_ROUTE;
      left.io.send(2);
      expect(Array.from(left.memory.output.verdict.subarray(0, 3))).toEqual([V.NO_ROUTE, V.SENT, V.LIVE]);
      expect(receive(right, b4, 1).map((row) => row.bytes)).toEqual([text("live")]);
      expect(right.io.receive(b4, 1)).toBe(0);
    });

    it("refuses rows that point outside the slab, at no socket, or at an impossible remote", () => {
      const spoil: [keyof Memory["output"], number][] = [
        ["at", -1],
        ["at", L.SLAB_BYTES],
        ["at", 0x7fffffff],
        ["len", -1],
        ["len", L.SLAB_BYTES],
        ["len", 0x7fffffff],
        ["sock", -1],
        ["sock", 15],
        ["sock", 16],
        ["sock", 255],
        ["port", 0],
        ["port", -1],
        ["port", 65536],
        ["addr2", 0],
      ];
      spoil.forEach(([column, value], i) => {
        putRow(left.memory, i, { ...to4, payload: 4 });
        (left.memory.output[column] as Int32Array)[i] = value;
      });
      putRow(left.memory, spoil.length, { ...to4, sock: a6, payload: 4 });
      putRow(left.memory, spoil.length + 1, { ...to4, payload: text("good") });
      left.io.send(spoil.length + 2);
      const verdicts = Array.from(left.memory.output.verdict.subarray(0, spoil.length + 2));
      expect(verdicts).toEqual([...spoil.map(() => V.SEND_FAILED), V.SEND_FAILED, V.SENT]);
      expect(receive(right, b4, 1).map((row) => row.bytes)).toEqual([text("good")]);
      expect(right.io.receive(b4, 1)).toBe(0);
    });

    it("gives every row the verdict that follows from its columns, whatever stands beside it", () => {
      const row = fc.record({
        v4: fc.boolean(),
        to: fc.constantFrom("peer", "silent", "nowhere", "other family"),
        payload: fc.constantFrom(0, 1, 1200, 1452, 1453, 1472, 1473, 2048),
        flags: fc.constantFrom(0, L.FLAG_DF),
        tos: fc.constantFrom(0, 0, 0x2e << 2, 3),
        verdict: fc.constantFrom(V.LIVE, V.LIVE, V.LIVE, V.TOO_BIG),
      });
      type Row = typeof row extends fc.Arbitrary<infer R> ? R : never;
      const expected = ({ v4, to, payload, flags, verdict }: Row) => {
        if (verdict !== V.LIVE) return verdict;
        if (to === "other family") return V.SEND_FAILED;
        if (to === "nowhere") return V.SEND_UNREACHABLE;
        return flags === L.FLAG_DF && payload > (v4 ? 1472 : 1452) ? V.SEND_TOO_BIG : V.SENT;
      };
      const arrives = (r: Row, v4: boolean) => r.v4 === v4 && r.to === "peer" && expected(r) === V.SENT;
      fc.assert(
        fc.property(fc.array(row, { minLength: 1, maxLength: 60 }), (rows) => {
          rows.forEach((r, i) => {
            const [to, away, other] = r.v4 ? [to4, NOWHERE, RIGHT6] : [to6, "2001:db8:9::1", RIGHT4];
            const remote = r.to === "nowhere" ? away : r.to === "other family" ? other : to.to;
            const port = r.to === "silent" ? SILENT_PORT : to.port;
            putRow(left.memory, i, { ...r, sock: to.sock, to: remote, port });
            left.memory.output.verdict[i] = r.verdict;
          });
          left.io.send(rows.length);
          expect(Array.from(left.memory.output.verdict.subarray(0, rows.length))).toEqual(rows.map(expected));
          for (const [v4, sock] of [
            [true, b4],
            [false, b6],
          ] as const) {
            const want = rows.filter((r) => arrives(r, v4));
            const got = receive(right, sock, want.length);
            expect(got.map((r) => [r.len, r.tos])).toEqual(want.map((r) => [r.payload, r.tos]));
          }
        }),
        { numRuns: 40 },
      );
    });
  });

  describe("wildcard sockets", () => {
    it.each([
      ["0.0.0.0", RIGHT4, [LEFT4, "192.0.2.11", LEFT4]],
      ["::", RIGHT6, [LEFT6, "2001:db8::11", LEFT6]],
    ])("answer on %s from the address that the peer used", (any, peer, services) => {
      left.enter();
      const wild = left.io.openSocket(any, 0);
      const [sock, remote] = peer === RIGHT4 ? [b4, to4.port] : [b6, to6.port];
      for (const service of services) {
        send(right, [{ sock, to: service, port: left.io.socketPort(wild), payload: text(service) }]);
        const [question] = receive(left, wild, 1);
        expect(question.bytes).toEqual(text(service));
        expect(question.sock & 0xff).toBe(wild);
        expect(send(left, [{ sock: question.sock, to: peer, port: remote, payload: text("yes"), tos: 0x20 }])).toEqual([
          V.SENT,
        ]);
        const [answer] = receive(right, sock, 1);
        expect(answer).toMatchObject({ from: words(service), tos: 0x20, port: left.io.socketPort(wild) });
      }
      expect(send(left, [{ sock: wild, to: peer, port: remote, payload: text("first") }])).toEqual([V.SENT]);
      expect(receive(right, sock, 1)).toHaveLength(1);
      left.io.closeSocket(wild);
    });
  });

  describe("pathMtu", () => {
    it("is that of the link, or the reason why there is none", () => {
      putRow(left.memory, 0, { ...to4, payload: 1 });
      putRow(left.memory, 1, { ...to6, payload: 1 });
      putRow(left.memory, 2, { ...to4, to: NOWHERE, payload: 1 });
      putRow(left.memory, 3, { ...to4, sock: 15, payload: 1 });
      putRow(left.memory, 4, { ...to4, to: RIGHT6, payload: 1 });
      const answers = [0, 1, 2, 3, 4, -1, L.OUT_ROWS].map((i) => left.io.pathMtu(i));
      const { EBADF, EINVAL, ENETUNREACH } = ERRNO;
      expect(answers).toEqual([1500, 1500, ENETUNREACH, EBADF, EINVAL, EINVAL, EINVAL]);
    });
  });

  describe("poll", () => {
    it("reports a socket as long as something is there", () => {
      expect(right.io.poll(0)).toBe(0);
      send(left, [{ ...to6, payload: 1 }]);
      for (let k = 0; k < 2; k++) expect(right.io.poll(1000)).toBe(L.READY_SOCKET0 << b6);
      expect(right.io.receive(b6, 1)).toBe(1);
      expect(right.io.poll(0)).toBe(0);
    });

    it("reports a wake once, however often it came", () => {
      rig.wakeLeft();
      rig.wakeLeft();
      expect(left.io.poll(-1)).toBe(L.READY_WAKE);
      expect(left.io.poll(0)).toBe(0);
    });

    it("lets time pass when nothing comes", () => {
      const before = left.io.now();
      expect(left.io.poll(30)).toBe(0);
      expect(left.io.now() - before).toBeGreaterThanOrEqual(29);
    });
  });

  describe("openSocket", () => {
    const codeOf = (open: () => unknown) => {
      try {
        open();
      } catch (error) {
        return (error as { code?: string }).code;
      }
      return "none";
    };

    it("says what is wrong with an address or port", () => {
      left.enter();
      const port = left.io.socketPort(a4);
      expect(codeOf(() => left.io.openSocket(LEFT4, port))).toBe("EADDRINUSE");
      expect(codeOf(() => left.io.openSocket("0.0.0.0", port))).toBe("EADDRINUSE");
      expect(codeOf(() => left.io.openSocket("198.51.100.1", port))).toBe("EADDRNOTAVAIL");
      expect(codeOf(() => left.io.openSocket("service.example", port))).toBe("EINVAL");
      expect(codeOf(() => left.io.openSocket(LEFT4, 65536))).toBe("EINVAL");
      expect(() => left.io.openSocket(LEFT4, port)).toThrow(
        `Cannot listen on port ${port} of ${LEFT4}: another program uses it (ss -ulpn shows which); choose another port or stop that program.`,
      );
    });

    it("keeps one port number for both families apart", () => {
      left.enter();
      const socks = [left.io.openSocket("0.0.0.0", 4444), left.io.openSocket("::", 4444)];
      expect(socks.map((sock) => left.io.socketPort(sock))).toEqual([4444, 4444]);
      expect(codeOf(() => left.io.openSocket(LEFT6, 4444))).toBe("EADDRINUSE");
      for (const sock of socks) left.io.closeSocket(sock);
    });

    it("gives indexes from the lowest free one, and refuses more than SOCKETS_MAX", () => {
      left.enter();
      const opened: number[] = [];
      let code: string | undefined;
      while (code === undefined || code === "none") code = codeOf(() => opened.push(left.io.openSocket(LEFT4, 0)));
      expect(code).toBe("EMFILE");
      expect(opened.at(-1)).toBe(L.SOCKETS_MAX - 1);
      left.io.closeSocket(opened[1]);
      expect(left.io.openSocket(LEFT4, 0)).toBe(opened[1]);
      for (const sock of opened) left.io.closeSocket(sock);
      expect(left.io.receive(opened[0], 1)).toBe(ERRNO.EBADF);
    });
  });

  describe("device", () => {
    const name = `ah${process.pid}`;
    const inner = (payload: string) => ipv4Udp("10.77.0.2", "10.77.0.1", 7777, text(payload));

    function putPacket(i: number, packet: Uint8Array, verdict: number = V.TO_DEVICE): void {
      const { input, slab } = left.memory;
      input.at[i] = i * L.SLOT_BYTES;
      input.len[i] = packet.length;
      input.verdict[i] = verdict;
      slab.set(packet, input.at[i]);
    }
    const verdicts = (n: number) => Array.from(left.memory.input.verdict.subarray(0, n));

    it("is not there before it is opened", () => {
      expect(left.io.readDevice(1)).toBe(ERRNO.EBADF);
      putPacket(0, inner("x"));
      left.io.writeDevice(1);
      expect(verdicts(1)).toEqual([V.DEVICE_REFUSED]);
    });

    it("opens under its name, once", async () => {
      left.enter();
      expect(left.io.openDevice(name, false)).toBe(name);
      expect(() => left.io.openDevice(name, false)).toThrow(/has a device already/);
      await rig.deviceUp(name, true);
      expect(left.io.readDevice(L.IN_ROWS)).toBe(0);
    });

    it("hands packets of the host over in order, and not more than asked for", () => {
      const payloads = Array.from({ length: 40 }, (_, k) => text(`inner ${k}`));
      soil(left.memory);
      for (const payload of payloads) rig.hostSends(payload);
      const rows: Incoming[] = [];
      while (rows.length < payloads.length && (left.io.poll(1000) & L.READY_DEVICE) !== 0) {
        const n = left.io.readDevice(16);
        expect(n).toBeLessThanOrEqual(16);
        for (let i = 0; i < n; i++) rows.push(getRow(left.memory, i));
      }
      expect(rows.map((row) => row.bytes.subarray(28))).toEqual(payloads);
      expect(rows.every((row) => row.at >= L.READ_BASE && row.at + row.len <= L.ANSWER_BASE)).toBe(true);
      for (const row of rows)
        expect(row).toMatchObject({ verdict: V.LIVE, tunnel: -1, sock: -1, tos: 0, flags: 0, seg: 0, hdr: 0 });
      expect(left.io.poll(0) & L.READY_DEVICE).toBe(0);
      expect(left.io.readDevice(0)).toBe(0);
    });

    it("takes the rows that are TO_DEVICE, in order, and refuses what is no packet", () => {
      putPacket(0, inner("one"));
      putPacket(1, inner("not for the device"), V.NO_ROUTE);
      putPacket(2, new Uint8Array(40));
      putPacket(3, inner("outside"));
      left.memory.input.at[3] = L.SLAB_BYTES - 4;
      putPacket(4, inner("negative"));
      left.memory.input.len[4] = -5;
      putPacket(5, inner("empty").subarray(0, 0));
      putPacket(6, inner("two"));
      left.io.writeDevice(7);
      const refused = V.DEVICE_REFUSED;
      expect(verdicts(7)).toEqual([V.TO_DEVICE, V.NO_ROUTE, refused, refused, refused, refused, V.TO_DEVICE]);
      expect([rig.hostGets(), rig.hostGets(), rig.hostGets()]).toEqual([text("one"), text("two"), undefined]);
    });

    it("is busy while it is down", async () => {
      await rig.deviceUp(name, false);
      putPacket(0, inner("lost"));
      left.io.writeDevice(1);
      expect(verdicts(1)).toEqual([V.DEVICE_BUSY]);
      await rig.deviceUp(name, true);
      putPacket(0, inner("back"));
      left.io.writeDevice(1);
      expect(verdicts(1)).toEqual([V.TO_DEVICE]);
      expect(rig.hostGets()).toEqual(text("back"));
    });
  });

  it("fails quietly after close, also when closed twice", () => {
    left.io.close();
    left.io.close();
    expect([left.io.poll(-1), left.io.receive(a4, 1), left.io.readDevice(1)]).toEqual(new Array(3).fill(ERRNO.EBADF));
    expect(send(left, [{ ...to4, payload: 1 }])).toEqual([V.SEND_FAILED]);
    expect(() => left.io.openSocket(LEFT4, 0)).toThrow(/has been closed/);
  });
}

/** Which socket and which own address go to a client. */
import { expect, test } from "vitest";
import { parseAddress } from "../../src/base/ip.ts";
import { addressMark } from "../../src/cluster/endpoint.ts";
import { OwnAddresses } from "../../src/control/host/own_addresses.ts";
import type { LocalAddresses } from "../../src/control/spec/ports.ts";

const mark = (text: string) => addressMark(parseAddress(text)!);

/** Numbers as the addon gives them: 1, 2, ... in the order of asking. */
function host(addresses: string[]) {
  const given: string[] = [];
  let looks = 0;
  const local: LocalAddresses = {
    numberOf(address) {
      if (!given.includes(address)) given.push(address);
      return given.indexOf(address) + 1;
    },
    addressOf(number) {
      const address = parseAddress(given[number - 1] ?? "");
      return address && Int32Array.of(address.w0, address.w1, address.w2, address.w3);
    },
    ofHost() {
      looks++;
      return addresses;
    },
  };
  return { local, given, looks: () => looks };
}
const wildcards = [{ address: "0.0.0.0" }, { address: "::" }];
let now = 0;
const clock = () => now;

test("on wildcards: the address that was asked, else the first service address, else the kernel's choice", () => {
  const { local, given } = host(["198.51.100.1", "192.0.2.9", "2001:db8::9"]);
  const own = new OwnAddresses(wildcards, [0, 1], ["192.0.2.1", "2001:db8::1"], local, clock);
  const from = (sock: number) => [sock & 0xff, given[(sock >> 8) - 1]];
  expect(from(own.socketFor(4))).toEqual([0, "192.0.2.1"]);
  expect(from(own.socketFor(6))).toEqual([1, "2001:db8::1"]);
  expect(from(own.socketFor(4, mark("192.0.2.9")))).toEqual([0, "192.0.2.9"]);
  expect(from(own.socketFor(6, mark("2001:db8::9")))).toEqual([1, "2001:db8::9"]);
  expect(from(own.socketFor(4, mark("203.0.113.77")))).toEqual([0, "192.0.2.1"]);
  const alone = new OwnAddresses(wildcards, [0, -1], [], host([]).local, clock);
  expect([alone.socketFor(4), alone.socketFor(6), alone.socketFor(4, 7)]).toEqual([0, -1, 0]);
  expect(alone.askedBy(0)).toBe(0);
});

test("on addresses: the socket that is bound to it", () => {
  const { local } = host([]);
  const listen = ["192.0.2.9", "192.0.2.1", "2001:db8::9"].map((address) => ({ address }));
  const own = new OwnAddresses(listen, [0, 1, 2], ["192.0.2.1"], local, clock);
  expect(own.socketFor(4)).toBe(1);
  expect(own.socketFor(4, mark("192.0.2.9"))).toBe(0);
  expect(own.socketFor(6, mark("192.0.2.9"))).toBe(2);
  expect([own.askedBy(0), own.askedBy(1)]).toEqual([mark("192.0.2.9"), mark("192.0.2.1")]);
});

test("what a datagram was sent to is told to other nodes, and there leads to the same address", () => {
  const [here, there] = [host([]), host(["192.0.2.9"])];
  const sock = 0 | (here.local.numberOf("192.0.2.9") << 8);
  const asked = new OwnAddresses(wildcards, [0, 1], [], here.local, clock).askedBy(sock);
  expect(asked).toBe(mark("192.0.2.9"));
  const own = new OwnAddresses(wildcards, [0, 1], ["192.0.2.1"], there.local, clock);
  const answer = own.socketFor(4, asked);
  expect(there.given[(answer >> 8) - 1]).toBe("192.0.2.9");
});

test("a mark that no address here has makes it look once a second", () => {
  const { local, looks } = host([]);
  const own = new OwnAddresses(wildcards, [0, 1], [], local, clock);
  for (let n = 0; n < 1000; n++) expect(own.socketFor(4, 12345)).toBe(0);
  expect(looks()).toBe(1);
  now += 1000;
  own.socketFor(4, 12345);
  expect(looks()).toBe(2);
});

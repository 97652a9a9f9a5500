/** Programs for `node -e`: a stream of numbered datagrams through a tunnel, and its echo. */

/** Sends every datagram back. */
export const ECHO = `const s = require("dgram").createSocket(process.argv[1].includes(":") ? "udp6" : "udp4");
s.on("message", (m, from) => s.send(m, from.port, from.address));
s.bind(7000, process.argv[1], () => console.log("bound"));`;
/** Sends numbered datagrams, one each millisecond or as many milliseconds as said, and counts which come back. */
export const STREAM = `const [to, count, ms] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3] ?? 1)];
const s = require("dgram").createSocket(to.includes(":") ? "udp6" : "udp4");
const back = new Set();
let sent = 0, doubled = 0;
s.on("message", (m) => { const n = m.readUInt32BE(0); if (back.has(n)) doubled++; back.add(n); });
const begin = performance.now();
const timer = setInterval(() => {
  for (const due = Math.min(count, (performance.now() - begin) / ms); sent < due; sent++) {
    const m = Buffer.alloc(64); m.writeUInt32BE(sent, 0); s.send(m, 7000, to);
  }
  if (sent < count) return;
  clearInterval(timer);
  setTimeout(() => { console.log(JSON.stringify({ sent, lost: count - back.size, doubled })); process.exit(); }, 1000);
}, 1);`;

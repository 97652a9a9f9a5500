// Writes to a store without end and says on standard output what was acknowledged; the test kills it (kill.test.ts).
// Arguments: the compiled store, the state folder.
import { writeSync } from "node:fs";

const [, , module, folder] = process.argv;
const { openStore } = await import(module);
const store = openStore(folder, "node");
for (let i = store.next("id") + 1; ; i++) {
  store.reserve(new Map([["id", i]]));
  store.changeClients(
    ["a", "b"].map((name) => ({ name, createdMs: i })),
    [],
  );
  const earlier = store.clients().map(({ name }) => name);
  store.changeClients(
    [{ name: `gone${i}`, createdMs: i }],
    earlier.filter((name) => name.startsWith("gone")),
  );
  store.raiseHighWater(new Map([["mark", BigInt(i)]]));
  store.setTicketKeys([
    { id: i, key: Uint8Array.of(i & 255) },
    { id: i + 1, key: Uint8Array.of(i & 255) },
  ]);
  writeSync(1, `${i}\n`);
}

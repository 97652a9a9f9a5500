/**
 * The bus of a node that is alone, or has only the node link: nobody else hears it. What lasts (clients, ticket keys) is
 * on disk when `put` returns and comes back at the next start; live records need no second home in their own process.
 */
import { AnyhopError } from "../base/errors.ts";
import type { Bus, BusListener } from "../cluster/bus.ts";
import { kindOf } from "../cluster/bus_subjects.ts";
import { BusErrors, entryFault } from "./bus_entries.ts";
import { Intake } from "./intake.ts";
import { checkRoom, openEnvironment } from "./lmdb_files.ts";

export interface EmbeddedBusOptions {
  readonly stateDir: string;
  /** Name of the instance: several may share the folder. */
  readonly scope: string;
  readonly node: number;
}

/**
 * Opens the file at once: a node that can keep nothing must not start, and a disk that is full later must not end it.
 * The result makes the bus. Throws AnyhopError "state_dir".
 */
export function openEmbeddedBus(options: EmbeddedBusOptions): (listener: BusListener) => Bus {
  const file = openBook(options.stateDir, options.scope);
  return (listener) => createBus(options, file, listener);
}

function createBus(
  { stateDir, node }: EmbeddedBusOptions,
  { root, book }: ReturnType<typeof openBook>,
  listener: BusListener,
): Bus {
  const errors = new BusErrors(Date.now);
  let closed = false;
  let caughtUp = false;
  const intake = new Intake();
  const recover = setImmediate(() => {
    listener.state(true, "");
    for (const { key, value } of book.getRange()) {
      const copy = new Uint8Array(value);
      intake.push(() => listener.record(node, key, copy));
    }
    intake.push(() => {
      caughtUp = true;
      listener.caughtUp();
    });
  });
  return {
    put(entries) {
      if (closed) return;
      const lasting = entries.filter((entry) => {
        const fault = entryFault(entry);
        if (fault !== undefined) errors.add("bad_entry", fault);
        return fault === undefined && kindOf(entry.key) === "b";
      });
      if (lasting.length === 0) return;
      try {
        checkRoom(stateDir);
        root.transactionSync(() => {
          for (const { key, value } of lasting)
            if (value === undefined) book.removeSync(key);
            else book.putSync(key, value);
        });
      } catch (error) {
        errors.add("store_full", `${stateDir} takes no more: ${(error as Error).message}`);
      }
    },
    shout() {},
    status: () => ({
      ...{ kind: "embedded", connected: !closed, why: closed ? "closed" : "", server: "", caughtUp, outbox: 0 },
      ...{ peers: [], errors: errors.list() },
    }),
    async close() {
      if (closed) return;
      closed = true;
      clearImmediate(recover);
      intake.close();
      await root.close();
    },
  };
}

function openBook(stateDir: string, scope: string) {
  try {
    const name = `book ${scope}`;
    const root = openEnvironment(stateDir, "bus.mdb", [name]);
    return { root, book: root.openDB<Uint8Array, string>({ name, encoding: "binary" }) };
  } catch (cause) {
    throw new AnyhopError(
      "state_dir",
      `Nothing can be kept in ${stateDir} (${(cause as Error).message}). Clients and ticket keys must survive a restart: ` +
        "name a writable directory (state under [paths]).",
      { cause },
    );
  }
}

/**
 * The embedded store: one lmdb environment below the state directory. Sequence numbers stand in its root, everything
 * else in databases of its own. A change is on disk when the call returns: `overlappingSync` would return earlier.
 * Several instances may share the directory, and see each other's records. Files have mode 0600: there are keys in them.
 */
import { AnyhopError } from "../base/errors.ts";
import type { ClientRecord, HostItem, SavedTicket, Store, TicketKey } from "../control/spec/ports.ts";
import { checkRoom, openEnvironment } from "./lmdb_files.ts";

/** `scope`: name of the instance; its clients and ticket keys are its own. Throws AnyhopError "state_dir". */
export function openStore(stateDir: string, scope: string): Store {
  try {
    const kinds = ["clients", "book", "tickets", "sessions", "host", "marks", "agreed"] as const;
    const name = (kind: (typeof kinds)[number]) => ({ name: `${kind} ${scope}` });
    const root = openEnvironment(
      stateDir,
      "seq.mdb",
      kinds.map((kind) => name(kind).name),
    );
    const clients = root.openDB<ClientRecord, string>(name("clients"));
    const book = root.openDB<Uint8Array, string>({ ...name("book"), encoding: "binary" });
    const tickets = root.openDB<TicketKey, number>(name("tickets"));
    const saved = root.openDB<SavedTicket, string>(name("sessions"));
    const journal = root.openDB<HostItem[], string>(name("host"));
    // bigint: timestamps of handshakes have more than 53 bits.
    const marks = root.openDB<Uint8Array, string>({ ...name("marks"), encoding: "binary" });
    const agreed = root.openDB<Uint8Array, string>({ ...name("agreed"), encoding: "binary" });
    const mark = (name: string): bigint | undefined => {
      const bytes = marks.get(name);
      return bytes === undefined ? undefined : Buffer.from(bytes).readBigUInt64BE();
    };
    const durably = (change: () => void): void => {
      try {
        checkRoom(stateDir);
        root.transactionSync(change);
      } catch (cause) {
        throw new AnyhopError(
          "state_full",
          `${stateDir} takes no more (${(cause as Error).message}): make room there.`,
          {
            cause,
          },
        );
      }
    };
    return {
      next: (identity) => (root.get(identity) as number | undefined) ?? 0,
      reserve(limits) {
        durably(() => {
          for (const [identity, limit] of limits) root.putSync(identity, limit);
        });
      },
      clients: () => [...clients.getRange().map(({ value }) => value)],
      client: (name) => clients.get(name),
      changeClients(put, remove) {
        durably(() => {
          for (const name of remove) clients.removeSync(name);
          for (const client of put) clients.putSync(client.name, client);
        });
      },
      book: () => [...book.getRange().map(({ key, value }): [string, Uint8Array] => [key, new Uint8Array(value)])],
      changeBook(entries) {
        durably(() => {
          for (const [clientKey, value] of entries)
            if (value === undefined) book.removeSync(clientKey);
            else book.putSync(clientKey, value);
        });
      },
      ticketKeys: () => [...tickets.getRange().map(({ value }) => ({ ...value, key: new Uint8Array(value.key) }))],
      setTicketKeys(keys) {
        durably(() => {
          tickets.clearSync();
          for (const key of keys) tickets.putSync(key.id, key);
        });
      },
      highWater: mark,
      raiseHighWater(values) {
        durably(() => {
          for (const [name, value] of values) {
            if (value <= (mark(name) ?? -1n)) continue;
            const bytes = Buffer.alloc(8);
            bytes.writeBigUInt64BE(value);
            marks.putSync(name, bytes);
          }
        });
      },
      agreed(what) {
        const bytes = agreed.get(what);
        return bytes && new Uint8Array(bytes);
      },
      agree(what, bytes) {
        durably(() => agreed.putSync(what, bytes));
      },
      savedTicket(name) {
        const found = saved.get(name);
        if (found === undefined) return undefined;
        const [ticket, resumption, instance] = [found.ticket, found.resumption, found.instance].map(
          (bytes) => new Uint8Array(bytes),
        );
        return { ...found, ticket, resumption, instance };
      },
      saveTicket(name, ticket) {
        checkRoom(stateDir);
        if (ticket === undefined) saved.removeSync(name);
        else saved.putSync(name, ticket);
      },
      hostJournal: {
        read: () => journal.get("host") ?? [],
        write: (items) => durably(() => void journal.putSync("host", [...items])),
      },
      close: () => root.close(),
    };
  } catch (cause) {
    throw new AnyhopError(
      "state_dir",
      `Nothing can be kept in ${stateDir} (${(cause as Error).message}). Sequence numbers must survive a restart, or a ` +
        "key stream would be used twice: name a writable directory (--state-dir, or state under [paths]).",
      { cause },
    );
  }
}

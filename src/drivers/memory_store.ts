/** The store in memory: twin of `store.ts` for tests and simulations. What it is given it copies, as a disk would. */
import type { ClientRecord, HostItem, SavedTicket, Store, TicketKey } from "../control/spec/ports.ts";

export function createMemoryStore(): Store {
  const numbers = new Map<string, number>();
  const clients = new Map<string, ClientRecord>();
  const book = new Map<string, Uint8Array>();
  const marks = new Map<string, bigint>();
  const saved = new Map<string, SavedTicket>();
  const agreed = new Map<string, Uint8Array>();
  let tickets: TicketKey[] = [];
  let journal: HostItem[] = [];
  const inOrder = (a: ClientRecord, b: ClientRecord) => (a.name < b.name ? -1 : 1);
  return {
    next: (identity) => numbers.get(identity) ?? 0,
    reserve(limits) {
      for (const [identity, limit] of limits) numbers.set(identity, limit);
    },
    clients: () => structuredClone([...clients.values()]).sort(inOrder),
    client: (name) => structuredClone(clients.get(name)),
    changeClients(put, remove) {
      for (const name of remove) clients.delete(name);
      for (const client of put) clients.set(client.name, structuredClone(client));
    },
    book: () => [...book].map(([clientKey, value]): [string, Uint8Array] => [clientKey, value.slice()]).sort(),
    changeBook(entries) {
      for (const [clientKey, value] of entries)
        if (value === undefined) book.delete(clientKey);
        else book.set(clientKey, value.slice());
    },
    ticketKeys: () => structuredClone(tickets),
    setTicketKeys(keys) {
      tickets = structuredClone([...keys]).sort((a, b) => a.id - b.id);
    },
    highWater: (name) => marks.get(name),
    raiseHighWater(values) {
      for (const [name, value] of values) if (value > (marks.get(name) ?? -1n)) marks.set(name, value);
    },
    agreed: (what) => agreed.get(what)?.slice(),
    agree: (what, bytes) => void agreed.set(what, bytes.slice()),
    savedTicket: (name) => structuredClone(saved.get(name)),
    saveTicket(name, ticket) {
      if (ticket === undefined) saved.delete(name);
      else saved.set(name, structuredClone(ticket));
    },
    hostJournal: {
      read: () => structuredClone(journal),
      write(items) {
        journal = structuredClone([...items]);
      },
    },
    async close() {},
  };
}

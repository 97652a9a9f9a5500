/** What each operation does: one call of the control port, and paging. */
import { AnyhopError } from "../base/errors.ts";
import type { Control } from "../control/control_port.ts";
import { verdicts } from "../dataplane/verdict.ts";
import type { Answer, Given, OperationName } from "./contract/operations.ts";
import type { Status } from "./contract.ts";

type Handler<K extends OperationName> = (given: Given<K>) => Answer<K> | Promise<Answer<K>>;
export type Handlers = { readonly [K in OperationName]: Handler<K> } & { control(): Control };

export interface Answerers {
  readonly status: () => Status;
  readonly control?: Control;
}

/** `control()` throws AnyhopError "no_sessions" when the instance has none. */
export function createHandlers({ status, control }: Answerers): Handlers {
  const need = (): Control => {
    if (control !== undefined) return control;
    throw new AnyhopError(
      "no_sessions",
      `The instance ${status().name} is no node: clients and sessions are asked of one, whose file has a [node] table.`,
    );
  };
  return {
    control: need,
    status,
    health: () => ({ name: status().name, pid: process.pid, ok: true }),
    counters() {
      const counts = status().verdicts;
      return {
        counters: verdicts.slice(1).map(({ name, kind, help }) => ({ name, kind, help, count: counts[name] ?? 0 })),
      };
    },
    service: () => copy(need().service()),
    listClients({ after, limit }) {
      const rows = need().clients(after, limit + 1);
      return { clients: copy(rows.slice(0, limit)), next: rows.length > limit ? rows[limit - 1].name : null };
    },
    getClient: ({ name }) => copy(need().client(name)),
    addClient(given) {
      const port = need();
      const client = port.addClient(given);
      return { client: copy(client), service: copy(port.service()) };
    },
    removeClient({ name }) {
      need().removeClient(name);
      return {};
    },
    listSessions({ after, limit }) {
      const rows = need().sessions(after, limit + 1);
      return { sessions: copy(rows.slice(0, limit)), next: rows.length > limit ? rows[limit - 1].id : null };
    },
    endSession({ id }) {
      need().endSession(id);
      return {};
    },
    routes: () => ({ routes: copy(need().routes()) }),
    reload: async () => copy(await need().reload()),
    getLogLevel: () => ({ level: need().logLevel() }),
    setLogLevel({ level }) {
      need().setLogLevel(level);
      return { level: need().logLevel() };
    },
    ping: async ({ client, timeoutMs }) => ({ client, rttMs: await need().ping(client, timeoutMs) }),
  };
}

type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;
/** Views are read-only; answers are not typed so. The schema copies what it lets through. */
const copy = <T>(view: T): Mutable<T> => view as Mutable<T>;

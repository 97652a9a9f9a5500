/** What each operation does: one call of the control port, and paging. */
import { AnyhopError } from "../base/errors.ts";
import type { ClientControl, Control } from "../control/asked/control_port.ts";
import { explainKey, parseKey } from "../control/text/keys/key_text.ts";
import { verdicts } from "../dataplane/verdict.ts";
import type { Answer, Given, OperationName } from "./contract/operations.ts";
import { problemsOfHost, type Status } from "./contract.ts";

type Handler<K extends OperationName> = (given: Given<K>) => Answer<K> | Promise<Answer<K>>;
export type Handlers = { readonly [K in OperationName]: Handler<K> } & { follow: Control["follow"] };

export interface Answerers {
  readonly status: () => Status;
  readonly control?: Control;
  readonly client?: ClientControl;
}

/** What an instance without sessions cannot answer throws AnyhopError "no_sessions". */
export function createHandlers({ status, control, client }: Answerers): Handlers {
  const need = (): Control => {
    if (control !== undefined) return control;
    throw new AnyhopError(
      "no_sessions",
      `The instance ${status().name} is no node: clients and sessions are asked of one, whose file has a [node] table.`,
    );
  };
  return {
    follow: (listener) => (client ?? need()).follow(listener),
    status,
    health() {
      const now = status();
      const problems = problemsOfHost(now);
      return { name: now.name, pid: process.pid, ok: problems.length === 0, problems };
    },
    counters() {
      const counts = status().verdicts;
      const packets = verdicts.slice(1).map(({ name, kind, help }) => ({ name, kind, help, count: counts[name] ?? 0 }));
      const handshakes = (control?.handshakes() ?? []).map(({ name, help, done, count }) => {
        return { name: `handshake_${name}`, kind: done ? ("done" as const) : ("drop" as const), help, count };
      });
      const controls = ((control ?? client)?.controls() ?? []).map(({ name, help, done, count }) => {
        return { name: `control_${name}`, kind: done ? ("done" as const) : ("drop" as const), help, count };
      });
      const group = (control?.groupStatus()?.counters ?? []).map(({ name, help, done, count }) => {
        return { name, kind: done ? ("done" as const) : ("drop" as const), help, count };
      });
      return { counters: [...packets, ...handshakes, ...controls, ...group] };
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
    removeKey: ({ publicKey }) => ({ name: need().removeKey(publicKey) }),
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
    announcement: () => copy(need().announcement()),
    drain: ({ maxS, exit }) => copy(need().drain(maxS * 1000, exit)),
    undrain: () => copy(need().undrain()),
    resync: ({ node }) => ({ nodes: [...need().resync(node)] }),
    roster: () => copy(need().roster()),
    applyRoster({ text }) {
      need().applyRoster(text);
      return copy(need().roster());
    },
    applyGroupKeys({ notice, privateKeys }) {
      const keys = privateKeys.map((text) => {
        const key = parseKey(text);
        if (key === undefined) throw new AnyhopError("invalid", `privateKeys: that is no key: ${explainKey(text)}.`);
        return key;
      });
      return { version: need().applyGroupKeys(notice, keys) };
    },
    rotate({ what, now }) {
      need().rotate(what, now);
      return {};
    },
    ping: async ({ client: name, timeoutMs }) => ({
      client: name,
      ...(await (client ?? need()).ping(name, timeoutMs)),
    }),
  };
}

type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;
/** Views are read-only; answers are not typed so. The schema copies what it lets through. */
const copy = <T>(view: T): Mutable<T> => view as Mutable<T>;

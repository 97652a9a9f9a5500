/**
 * Commands that ask a running daemon, or change something in it: clients, sessions, routes, reload, log-level, show,
 * ping, events, down; drain and undrain are in `drain.ts`. All of them over the API, all with --json. No file of the daemon is read or written.
 */
import type { Command } from "commander";
import { ask, followEvents, getHealth, getStatus } from "../api/client.ts";
import { type ApiClient, type ApiSession, levelName } from "../api/contract/control.ts";
import { AnyhopError } from "../base/errors.ts";
import { addDrainCommands } from "./drain.ts";
import { renderChanges, renderClient, renderClients, renderRoutes, renderSessions } from "./render.ts";
import { addRosterControlCommands } from "./roster.ts";
import { answeredMs, serviceLines } from "./services.ts";
import { findSocket } from "./sockets.ts";
import { addSyncCommands } from "./sync.ts";

export interface ControlIo {
  readonly socketDir: string;
  out(text: string): void;
  /** Bytes of a small file. Throws an Error with a sentence (without the full stop) when it is none, or not small. */
  readSecret(path: string): Uint8Array;
}

interface Common {
  readonly instance?: string;
  readonly socket?: string;
  readonly json?: true;
}

const DOWN_TIMEOUT_MS = 10_000;
/** A little more than a node takes to read a file, or to give it up. */
const RELOAD_TIMEOUT_MS = 70_000;
const DOWN_POLL_MS = 25;
/** Answers come late when a ping does. */
const PING_SLACK_MS = 3000;

export function addControlCommands(program: Command, io: ControlIo, done: (code: number) => void): void {
  const socketOf = ({ instance, socket }: Common): string => findSocket(instance, socket, io.socketDir);
  /** `--json` prints the whole answer. */
  const show = <T>(options: Common, answer: T, render: (answer: T) => string): void => {
    io.out(options.json ? `${JSON.stringify(answer, null, 2)}\n` : render(answer));
    done(0);
  };
  const command = (parent: Command, words: string, description: string, example: string): Command =>
    parent
      .command(words)
      .description(description)
      .option("-i, --instance <name>", "instance; not needed when only one is running")
      .option("--socket <path>", "control socket, instead of a name")
      .option("--json", "the whole answer as JSON")
      .addHelpText("after", `\nExample:\n  ${example}`);

  const clients = program.command("clients").description("who may come: list, add, remove");
  command(clients, "list", "show who may come and who is connected", "anyhop clients list").action(
    async (options: Common) => {
      const all = await allClients(socketOf(options));
      show(options, { clients: all }, () => renderClients(all));
    },
  );
  command(
    clients,
    "add <name>",
    "let somebody come who has a key pair; the answer is needed for the client's file",
    "anyhop clients add anna --public-key KEY",
  )
    .requiredOption("--public-key <key>", "public key of the client (anyhop pubkey)")
    .option("--psk-file <file>", "file with the pre-shared key (anyhop genpsk)")
    .option("--address <address>", "inner address instead of one from the pool; may be repeated", collect, [])
    .option("--prefix <prefix>", "network behind the client; may be repeated", collect, [])
    .option("--mode <mode>", "tunnel, open or relay; may be repeated (default: tunnel)", collect, [])
    .action(async (name: string, options: Common & AddOptions) => {
      const modes = options.mode.length === 0 ? ["tunnel"] : options.mode;
      const added = await ask(socketOf(options), "addClient", {
        name,
        publicKey: options.publicKey,
        psk: options.pskFile === undefined ? undefined : readPsk(options.pskFile, io),
        addresses: options.address,
        prefixes: options.prefix,
        modes: modes as ("tunnel" | "open" | "relay")[],
      });
      show(options, added, ({ client, service }) =>
        [
          `${client.name} may come, with ${client.addresses.join(", ")}.`,
          `Its file needs: public_key = "${service.publicKey}"`,
          ...(service.address.length > 0 ? [`                address = ${JSON.stringify(service.address)}`] : []),
          "",
        ].join("\n"),
      );
    });
  command(clients, "remove [name]", "cut a client off at once, on all nodes", "anyhop clients remove anna")
    .option("--public-key <key>", "instead of a name: also somebody of whom this node has not heard yet")
    .action(async (name: string | undefined, options: Common & { publicKey?: string }) => {
      const { publicKey } = options;
      if ((name === undefined) === (publicKey === undefined))
        throw new AnyhopError("usage", "Name a client, or its key with --public-key; see anyhop clients list.");
      if (name !== undefined)
        show(options, await ask(socketOf(options), "removeClient", { name }), () => `${name} is removed.\n`);
      else
        show(options, await ask(socketOf(options), "removeKey", { publicKey: publicKey! }), (answer) =>
          answer.name === null
            ? "This node knew nobody with this key; it can't come in any more.\n"
            : `${answer.name} is removed.\n`,
        );
    });

  const sessions = program.command("sessions").description("who is connected: list, kill");
  command(sessions, "list", "show who is connected", "anyhop sessions list --json | jq .sessions[].client").action(
    async (options: Common) => {
      const all = await allSessions(socketOf(options));
      show(options, { sessions: all }, () => renderSessions(all, Date.now()));
    },
  );
  command(sessions, "kill <id>", "end a session; the client may come again", "anyhop sessions kill 4711").action(
    async (id: string, options: Common) => {
      if (!/^\d{1,10}$/.test(id)) throw new AnyhopError("usage", `"${id}" is no session number; see sessions list.`);
      show(options, await ask(socketOf(options), "endSession", { id }), () => `Session ${id} is ended.\n`);
    },
  );

  command(program, "routes", "show inner prefixes and where packets for them go", "anyhop routes").action(
    async (options: Common) =>
      show(options, await ask(socketOf(options), "routes", {}), ({ routes }) => renderRoutes(routes)),
  );
  addSyncCommands(command, program, socketOf, show);
  const group = program.command("group").description("which nodes belong to a group: add, evict, show, apply");
  addRosterControlCommands(command, program, group, socketOf, show, io.readSecret);
  command(program, "reload", "read the configuration file again; what did not change goes on", "anyhop reload").action(
    async (options: Common) =>
      show(options, await ask(socketOf(options), "reload", {}, RELOAD_TIMEOUT_MS), renderChanges),
  );
  command(
    program,
    "log-level [level]",
    "show or set the log level of a running daemon",
    "anyhop log-level debug",
  ).action(async (level: string | undefined, options: Common) => {
    const wanted = levelName.safeParse(level);
    if (level !== undefined && !wanted.success)
      throw new AnyhopError("usage", `"${level}" is no log level; use one of ${levelName.options.join(", ")}.`);
    const socket = socketOf(options);
    const answer = wanted.success
      ? await ask(socket, "setLogLevel", { level: wanted.data })
      : await ask(socket, "getLogLevel", {});
    show(options, answer, (now) => `${now.level}\n`);
  });
  command(
    program,
    "show [name]",
    "of a node: one client, its session and its routes; of a client: one service, or all",
    "anyhop show anna",
  ).action(async (name: string | undefined, options: Common) => {
    const socket = socketOf(options);
    const status = await getStatus(socket);
    if (status.services.length > 0) {
      const services = status.services.filter((service) => name === undefined || service.name === name);
      const names = status.services.map((service) => service.name).join(", ");
      if (services.length === 0)
        throw new AnyhopError("unknown_service", `There is no service ${name} here, but ${names}.`);
      show(options, { services }, () => `${serviceLines(services, answeredMs(status)).join("\n")}\n`);
      return;
    }
    if (name === undefined) throw new AnyhopError("usage", "Name a client; see anyhop clients list.");
    const client = await ask(socket, "getClient", { name });
    const session =
      client.session === null
        ? undefined
        : (await ask(socket, "listSessions", { after: client.session - 1, limit: 1 })).sessions.find(
            (one) => one.id === client.session,
          );
    show(options, { client, session: session ?? null }, () => renderClient(client, session, Date.now()));
  });
  command(
    program,
    "ping <name>",
    "round trip through the session of a client, or of a service",
    "anyhop ping anna -c 10",
  )
    .option("-c, --count <n>", "how many", "4")
    .option("-W, --timeout <ms>", "milliseconds to wait for each", "2000")
    .action(async (client: string, options: Common & { count: string; timeout: string }) => {
      const socket = socketOf(options);
      const count = wholeNumber(options.count, "--count", 1000);
      const timeoutMs = wholeNumber(options.timeout, "--timeout", 60_000);
      done(await pingAll(socket, client, count, timeoutMs, options.json ? JSON.stringify : renderPing, io));
    });
  command(program, "events", "show what happens as it happens; Ctrl-C ends it", "anyhop events --json").action(
    async (options: Common) => {
      const stop = new AbortController();
      const onSignal = () => stop.abort();
      process.once("SIGINT", onSignal);
      try {
        await followEvents(
          socketOf(options),
          (event) =>
            io.out(
              options.json
                ? `${JSON.stringify(event)}\n`
                : `${new Date(event.timeMs).toISOString()} ${event.event} ${event.message}\n`,
            ),
          stop.signal,
        );
      } finally {
        process.off("SIGINT", onSignal);
      }
      done(0);
    },
  );
  addDrainCommands<Common>((...words) => command(program, ...words), socketOf, io, done);
  program
    .command("down")
    .argument("[name]", "instance; not needed when only one is running")
    .option("--socket <path>", "control socket, instead of a name")
    .description("stop a running instance and wait until it has ended")
    .addHelpText("after", "\nExample:\n  anyhop down node")
    .action(async (name: string | undefined, options: { socket?: string }) => {
      const stopped = await stop(findSocket(name, options.socket, io.socketDir));
      io.out(`${stopped} has stopped.\n`);
      done(0);
    });
}

interface AddOptions {
  readonly publicKey: string;
  readonly pskFile?: string;
  readonly address: string[];
  readonly prefix: string[];
  readonly mode: string[];
}

export const collect = (value: string, all: string[]): string[] => [...all, value];

function readPsk(file: string, io: ControlIo): string {
  try {
    return new TextDecoder().decode(io.readSecret(file)).trim();
  } catch (cause) {
    throw new AnyhopError("usage", `${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

export function wholeNumber(text: string, flag: string, max: number): number {
  const value = Number(text);
  if (/^[0-9]+$/.test(text) && value >= 1 && value <= max) return value;
  throw new AnyhopError("usage", `${flag} takes a whole number from 1 to ${max}, not "${text}".`);
}

async function allClients(socket: string): Promise<ApiClient[]> {
  const all: ApiClient[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: { clients: ApiClient[]; next: string | null } = await ask(socket, "listClients", { after });
    all.push(...page.clients);
    after = page.next;
  }
  return all;
}

async function allSessions(socket: string): Promise<ApiSession[]> {
  const all: ApiSession[] = [];
  for (let after: number | null = -1; after !== null; ) {
    const page: { sessions: ApiSession[]; next: number | null } = await ask(socket, "listSessions", { after });
    all.push(...page.sessions);
    after = page.next;
  }
  return all;
}

type Ping = {
  readonly client: string;
  readonly rttMs: number | null;
  readonly node?: number | null;
  readonly message?: string;
};
const renderPing = ({ client, rttMs, node, message }: Ping): string =>
  rttMs === null ? `${client}: ${message}` : `${client}: ${rttMs.toFixed(2)} ms${node ? ` through node ${node}` : ""}`;

/** One line each; 1 when none was answered. Refusals that no further try would change end it. */
async function pingAll(
  socket: string,
  client: string,
  count: number,
  timeoutMs: number,
  render: (ping: Ping) => string,
  io: ControlIo,
): Promise<number> {
  let answered = 0;
  for (let i = 0; i < count; i++) {
    try {
      io.out(`${render(await ask(socket, "ping", { client, timeoutMs }, timeoutMs + PING_SLACK_MS))}\n`);
      answered += 1;
    } catch (error) {
      if (!(error instanceof AnyhopError) || error.code !== "ping_timeout") throw error;
      io.out(`${render({ client, rttMs: null, message: error.message })}\n`);
    }
  }
  return answered > 0 ? 0 : 1;
}

/** Asks the daemon for its process, ends it, and waits until nobody answers. Returns its name. */
async function stop(socket: string): Promise<string> {
  const { name, pid } = await getHealth(socket);
  try {
    process.kill(pid, "SIGTERM");
  } catch (cause) {
    throw new AnyhopError("permission", `You may not stop ${name} (process ${pid}). Use sudo.`, { cause });
  }
  const deadline = performance.now() + DOWN_TIMEOUT_MS;
  while (performance.now() < deadline) {
    try {
      process.kill(pid, 0);
    } catch {
      return name;
    }
    await new Promise((resolve) => setTimeout(resolve, DOWN_POLL_MS));
  }
  throw new AnyhopError("timeout", `${name} (process ${pid}) did not stop within ${DOWN_TIMEOUT_MS / 1000} s.`);
}

/**
 * `anyhop group` and `anyhop rotate`: who belongs to a group, and other keys for it. `add`, `evict` and `show` work on the
 * operator's files, away from the nodes; `apply` and `rotate` ask a running node. What is done with files comes in as
 * `RosterActions`.
 */
import type { Command } from "commander";
import { ask } from "../api/client.ts";
import { AnyhopError } from "../base/errors.ts";

export interface RosterOptions {
  /** Folder with operator.key and group.roster. */
  readonly dir: string;
}

export interface RosterActions {
  initOperator(options: RosterOptions & { readonly group: string }): Promise<number>;
  addNode(
    node: string,
    publicKey: string,
    options: RosterOptions & { readonly name: string | undefined },
  ): Promise<number>;
  evictNode(node: string, options: RosterOptions): Promise<number>;
  showRoster(options: RosterOptions): Promise<number>;
  /** Another static key for the group. `current`: public key in force; needed the first time. */
  rotateGroup(options: RosterOptions & { readonly current: string | undefined }): Promise<number>;
}

type MakeCommand = (parent: Command, words: string, description: string, example: string) => Command;

/** Commands on the operator's files. `group`, `rotate`: the commands that they stand below. */
export function addRosterFileCommands(
  init: Command,
  group: Command,
  rotate: Command,
  load: () => Promise<RosterActions>,
  done: (code: number) => void,
): void {
  const folder = (command: Command): Command =>
    command.option("--dir <folder>", "where operator.key and group.roster are", ".");
  folder(init.command("operator"))
    .description("the key that signs which nodes belong to a group; never on a node")
    .requiredOption("--group <name>", "name of the group, as in [node]")
    .addHelpText("after", "\nExample:\n  anyhop init operator --group example --dir ~/example")
    .action(async (options: RosterOptions & { group: string }) => done(await (await load()).initOperator(options)));
  folder(group.command("add <node> <key>"))
    .description("take a node into the group; KEY is what `anyhop init node --operator` printed there")
    .option("--name <name>", "name for people (default: nodeN)")
    .addHelpText("after", "\nExample:\n  anyhop group add 3 KEY --name frankfurt --dir ~/example")
    .action(async (node: string, key: string, options: RosterOptions & { name?: string }) =>
      done(await (await load()).addNode(node, key, { name: undefined, ...options })),
    );
  folder(group.command("evict <node>"))
    .description("put a node out of the group for ever; a machine that takes its place gets another number")
    .addHelpText("after", "\nExample:\n  anyhop group evict 3 --dir ~/example")
    .action(async (node: string, options: RosterOptions) => done(await (await load()).evictNode(node, options)));
  folder(rotate.command("group"))
    .description("another static key for the group; clients get it inside their sessions, and need no new invitation")
    .option("--current <key>", "public key that the group has now, as any client file has it; needed the first time")
    .addHelpText("after", "\nExample:\n  anyhop rotate group --dir ~/example --current KEY")
    .action(async (options: RosterOptions & { current?: string }) =>
      done(await (await load()).rotateGroup({ current: undefined, ...options })),
    );
  folder(group.command("show"))
    .description("show who belongs to the group")
    .addHelpText("after", "\nExample:\n  anyhop group show --dir ~/example")
    .action(async (options: RosterOptions) => done(await (await load()).showRoster(options)));
}

/** Commands that ask a running node. */
export function addRosterControlCommands<T>(
  command: MakeCommand,
  program: Command,
  group: Command,
  socketOf: (options: T) => string,
  show: <A>(options: T, answer: A, render: (answer: A) => string) => void,
  /** Bytes of a small file; see `ControlIo`. */
  read: (path: string) => Uint8Array,
): void {
  command(
    group,
    "apply <file>",
    "give the operator's roster or group keys to a node, which tells the others; once is enough",
    "anyhop group apply group.roster",
  ).action(async (file: string, options: T) => {
    const text = readRosterFile(file, read);
    if (isGroupKeysFile(text)) {
      const answer = await ask(socketOf(options), "applyGroupKeys", groupKeysIn(file, text));
      show(
        options,
        answer,
        ({ version }) => `The group has another key (version ${version}); nodes and clients get it now.\n`,
      );
      return;
    }
    const answer = await ask(socketOf(options), "applyRoster", { text });
    show(options, answer, ({ version, members, evicted }) => {
      const out = evicted.length === 0 ? "" : `; put out: ${evicted.join(", ")}`;
      return `Roster ${version} is in force: nodes ${members.join(", ")}${out}. Node by node: anyhop sync\n`;
    });
  });
  const rotate = program
    .command("rotate")
    .description("other keys for the group, while it runs: tickets, fleet, group");
  command(rotate, "tickets", "another ticket key; tickets of before count for 15 minutes more", "anyhop rotate tickets")
    .option("--now", "tickets of before count no more; their clients make a full handshake")
    .action(async (options: T & { readonly now?: true }) => {
      const answer = await ask(socketOf(options), "rotate", { what: "tickets", now: options.now === true });
      show(options, answer, () => "There is another ticket key; all nodes get it now.\n");
    });
  command(rotate, "fleet", "another fleet key, for all nodes of the roster", "anyhop rotate fleet").action(
    async (options: T) => {
      const answer = await ask(socketOf(options), "rotate", { what: "fleet", now: false });
      show(options, answer, () => "There is another fleet key; all nodes of the roster get it now.\n");
    },
  );
}

const GROUP_KEYS = "anyhop group keys 1\n";
const isGroupKeysFile = (text: string): boolean => text.startsWith(GROUP_KEYS);

/** The notice as it was signed, and the private keys, a line each below it. */
function groupKeysIn(file: string, text: string): { notice: string; privateKeys: string[] } {
  const match = /^([\s\S]*\nsignature \S+\n)((?:private \S+\n)+)$/.exec(text);
  if (match === null)
    throw new AnyhopError("usage", `${file} cannot be used: it was cut, or is not what anyhop rotate group wrote.`);
  const privateKeys = match[2].trimEnd().split("\n");
  return { notice: match[1], privateKeys: privateKeys.map((line) => line.slice("private ".length)) };
}

function readRosterFile(file: string, read: (path: string) => Uint8Array): string {
  try {
    return new TextDecoder().decode(read(file));
  } catch (cause) {
    throw new AnyhopError("usage", `${file} cannot be used: ${(cause as Error).message}.`, { cause });
  }
}

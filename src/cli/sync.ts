/** `anyhop sync`: how well the nodes of a group know the same, and asking them now. */
import type { Command } from "commander";
import { ask, getStatus } from "../api/client.ts";
import { AnyhopError } from "../base/errors.ts";
import { groupCounters, groupLines } from "./group.ts";

type MakeCommand = (parent: Command, words: string, description: string, example: string) => Command;

export function addSyncCommands<T>(
  command: MakeCommand,
  program: Command,
  socketOf: (options: T) => string,
  show: <A>(options: T, answer: A, render: (answer: A) => string) => void,
): void {
  const sync = command(
    program,
    "sync",
    "of a node: the others, and how well they agree; resync asks them",
    "anyhop sync",
  );
  sync.action(async (options: T) => {
    const { group, name } = await getStatus(socketOf(options));
    if (group === null)
      throw new AnyhopError("no_group", `The instance ${name} is no node of a group: its file has no [group] table.`);
    show(options, group, () => {
      const counters = groupCounters(group);
      return `${[...groupLines(group), ...(counters.length > 0 ? ["", ...counters] : [])].map((line) => line.trimEnd()).join("\n")}\n`;
    });
  });
  command(sync, "resync [node]", "ask a node, or all, which sessions they know, now", "anyhop sync resync 2").action(
    async (node: string | undefined, options: T) => {
      if (node !== undefined && !/^[1-9]\d{0,3}$/.test(node))
        throw new AnyhopError("usage", `"${node}" is no number of a node; see anyhop sync.`);
      const answer = await ask(socketOf(options), "resync", node === undefined ? {} : { node: Number(node) });
      show(options, answer, ({ nodes }) =>
        nodes.length === 0
          ? "No other node is there to ask.\n"
          : `Asked ${nodes.map((one) => `node ${one}`).join(", ")}; anyhop sync shows what comes of it.\n`,
      );
    },
  );
}

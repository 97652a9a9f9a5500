/** Gives up what a running daemon no longer needs, in the order that works: names to numbers, chroot, groups, user. */
import { execFileSync } from "node:child_process";
import { AnyhopError } from "../base/errors.ts";
import type { ProcessSpec } from "../control/classic/classic.ts";
import { chroot } from "../drivers/native.ts";

export function dropPrivileges(wishes: Pick<ProcessSpec, "chroot" | "username" | "groupname">): void {
  const { username, groupname } = wishes;
  // Looked up first: a chroot has no user database.
  const uid = username === undefined ? undefined : ask("id", ["-u", username], `There is no user ${username}.`);
  const group = groupname ?? (username === undefined ? undefined : groupOf(username));
  const gid = group === undefined ? undefined : gidOf(group);
  if (wishes.chroot !== undefined) chroot(wishes.chroot);
  if (gid !== undefined) {
    process.setgroups!([gid]);
    process.setgid!(gid);
  }
  if (uid !== undefined) process.setuid!(Number(uid));
}

const groupOf = (username: string) => ask("id", ["-gn", username], `User ${username} has no group.`);

function gidOf(group: string): number {
  return Number(ask("getent", ["group", group], `There is no group ${group}.`).split(":")[2]);
}

function ask(program: string, args: string[], sentence: string): string {
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch (cause) {
    throw new AnyhopError("privileges", `${sentence} Privileges were not dropped.`, { cause });
  }
}

/**
 * Every option of anytun 0.3.8 and uanytun, with short and long name, plus ours: the table behind `anyhop classic`, its
 * help text, and the files of an /etc/anytun folder. Turns words into raw values; what they mean is in `classic.ts`.
 * No message shows a word that could be a secret.
 */
import { Command, CommanderError, Option } from "commander";
import { closest } from "../spec/faults.ts";

interface ClassicOption {
  readonly flags: string;
  readonly help: string;
  /** Which original has it; "anyhop" is new here. */
  readonly from: "both" | "anytun" | "uanytun" | "anyhop";
  /** Also an option of anytun-config, so it may stand in a conf.d file. */
  readonly client?: true;
  readonly repeatable?: true;
}

export const classicOptions: readonly ClassicOption[] = [
  { flags: "-h, --help", from: "both", help: "show this help" },
  { flags: "-v, --version", from: "both", help: "show the version" },
  { flags: "-D, --nodaemonize", from: "both", help: "stay in the foreground" },
  { flags: "-u, --username <name>", from: "both", help: "change to this user after start" },
  { flags: "-g, --groupname <name>", from: "both", help: "change to this group after start" },
  { flags: "-C, --chroot <path>", from: "both", help: "change the root folder after start" },
  { flags: "-P, --write-pid <file>", from: "both", help: "write the process id to this file" },
  {
    flags: "-L, --log <target:level>",
    from: "both",
    client: true,
    repeatable: true,
    help: "syslog:3,NAME,FACILITY, file:3,PATH, stdout:3, stderr:3 or json:3; may be repeated",
  },
  { flags: "-U, --debug", from: "both", client: true, help: "same as -D -L stdout:5" },
  { flags: "-i, --interface <address>", from: "both", help: "local address to bind (default: all)" },
  { flags: "-p, --port <port>", from: "both", help: "local port (default: 4444)" },
  { flags: "-s, --sender-id <id>", from: "both", help: "number of this node in an anycast group (default: 0)" },
  { flags: "-r, --remote-host <host>", from: "both", client: true, help: "peer (default: whoever is authentic)" },
  { flags: "-o, --remote-port <port>", from: "both", client: true, help: "port of the peer (default: 4444)" },
  { flags: "-4, --ipv4-only", from: "both", client: true, help: "only IPv4 outside the tunnel" },
  { flags: "-6, --ipv6-only", from: "both", client: true, help: "only IPv6 outside the tunnel" },
  { flags: "-I, --sync-interface <address>", from: "anytun", help: "refused, see -S" },
  { flags: "-S, --sync-port <port>", from: "anytun", help: "refused: anytun's cluster protocol shows all keys" },
  { flags: "-M, --sync-hosts <hosts>", from: "anytun", help: "refused, see -S" },
  { flags: "-X, --control-host <host>", from: "anytun", help: "refused without --config, see -S" },
  { flags: "-d, --dev <name>", from: "both", help: "device name (default: the kernel picks)" },
  { flags: "-t, --type <tun|tap>", from: "both", help: "device type (default: from -d, else tun)" },
  { flags: "-n, --ifconfig <address/length>", from: "both", help: "address of the device; sets MTU 1400" },
  { flags: "-x, --post-up-script <script>", from: "both", help: "program run when the device is up" },
  {
    flags: "-R, --route <prefix>",
    from: "anytun",
    client: true,
    repeatable: true,
    help: "inner prefix of the peer; has a meaning with several tunnels only",
  },
  { flags: "-m, --mux <id>", from: "both", client: true, help: "number of the tunnel (default: 0)" },
  { flags: "-w, --window-size <packets>", from: "both", client: true, help: "replay window, 0 = off (default: 2048)" },
  {
    flags: "-k, --kd-prf <name>",
    from: "both",
    client: true,
    help: "null, aes-ctr[-128|-192|-256] (default: aes-ctr)",
  },
  {
    flags: "-e, --role <role>",
    from: "both",
    client: true,
    help: "left|alice|server or right|bob|client (default: left)",
  },
  { flags: "-E, --passphrase <phrase>", from: "both", client: true, help: "better: --passphrase-file" },
  { flags: "-K, --key <hex>", from: "both", client: true, help: "master key; better: --key-file" },
  { flags: "-A, --salt <hex>", from: "both", client: true, help: "master salt, 14 bytes" },
  { flags: "-c, --cipher <name>", from: "both", help: "null, aes-ctr[-128|-192|-256] (default: aes-ctr)" },
  { flags: "-a, --auth-algo <name>", from: "both", help: "null or sha1 (default: sha1)" },
  { flags: "-b, --auth-tag-length <bytes>", from: "both", help: "0 to 20 (default: 10)" },
  { flags: "-Y, --rail-mode", from: "uanytun", help: "refused: packets are not sent over several ports" },
  { flags: "--passphrase-file <file>", from: "anyhop", client: true, help: "file with the passphrase" },
  {
    flags: "--key-file <file>",
    from: "anyhop",
    client: true,
    help: "file with the key and optionally the salt, in hex",
  },
  { flags: "--keepalive <seconds>", from: "anyhop", client: true, help: "send an empty packet after this silence" },
  { flags: "--shards <count|auto>", from: "anyhop", help: "threads that move packets, 1 to 16 (default: auto)" },
  { flags: "--state-dir <folder>", from: "anyhop", help: "sequence numbers (default: /var/lib/anyhop)" },
  { flags: "--control-socket <path>", from: "anyhop", help: "control socket (default: /run/anyhop/NAME.sock)" },
  { flags: "--config <folder>", from: "anyhop", help: "read an /etc/anytun/NAME folder first" },
];

/** Raw values by long name in camel case; flags are true. */
export interface RawOptions {
  readonly [name: string]: string | string[] | true | undefined;
}

/** One option as text, or undefined. */
export function textOf(raw: RawOptions, name: string): string | undefined {
  const value = raw[name];
  return typeof value === "string" ? value : undefined;
}

/** All uses of a repeatable option. */
export function listOf(raw: RawOptions, name: string): readonly string[] {
  const value = raw[name];
  return Array.isArray(value) ? value : [];
}

/** Parses words as getopt did: `-b 10`, `-b10`, `--auth-tag-length 10`, `--auth-tag-length=10`. A sentence when it cannot. */
export function parseOptions(argv: readonly string[], scope: "classic" | "client"): RawOptions | string {
  const command = build(scope);
  try {
    command.parse(argv, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return usageMessage(error, argv, command);
    throw error;
  }
  return command.opts<RawOptions>();
}

/** Help text of `anyhop classic`. */
export function classicHelp(): string {
  return build("classic").helpInformation();
}

function build(scope: "classic" | "client"): Command {
  const command = new Command("anyhop classic")
    .description("Runs one tunnel with the command line of anytun or uanytun.")
    .usage("[options]")
    .helpOption(false)
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} });
  for (const { flags, help, client, repeatable } of classicOptions) {
    if (scope === "client" && !client) continue;
    const option = new Option(flags, help);
    if (repeatable) option.argParser((value: string, all: string[] | undefined) => [...(all ?? []), value]);
    command.addOption(option);
  }
  return command;
}

function usageMessage(error: CommanderError, argv: readonly string[], command: Command): string {
  const names = command.options.flatMap((option) => [option.short, option.long]).filter((name) => name !== undefined);
  if (error.code === "commander.unknownOption") {
    const shown = /'(--[A-Za-z0-9-]+|-.)/.exec(error.message)?.[1] ?? "";
    const meant = shown.startsWith("--") ? closest(shown, names) : undefined;
    return `there is no option ${shown}${meant === undefined ? "; see anyhop classic --help" : `; did you mean ${meant}?`}`;
  }
  if (error.code === "commander.optionMissingArgument") {
    const last = argv.at(-1) ?? "";
    return `option ${names.includes(last) ? last : "at the end"} needs a value`;
  }
  return "there are words that belong to no option; a value with spaces needs quotes";
}

/**
 * Commands about keys and files: genkey, pubkey, genpsk, init, invite, import, up. Only their words and help are here;
 * what they do comes in as `SetupActions`. No secret is ever an argument: arguments are visible to every user.
 */
import type { Command } from "commander";
import { collect, wholeNumber } from "./control.ts";
import { addRosterFileCommands, type RosterActions } from "./roster.ts";

export interface InitNodeOptions {
  readonly dir: string;
  readonly name: string;
  readonly group: string | undefined;
  readonly address: readonly string[];
  readonly pool: readonly string[];
  /** Number in a group of several; undefined: a node on its own. */
  readonly groupNode: string | undefined;
  /** "NODE=HOST[:PORT]". */
  readonly peer: readonly string[];
  /** undefined: an address of this machine. */
  readonly link: string | undefined;
  /** undefined: fleet.key in `dir`, made when missing. */
  readonly fleetKeyFile: string | undefined;
  /** Public key of the operator; undefined: nodes are known by the fleet key alone. */
  readonly operator: string | undefined;
  readonly force: boolean;
}

export interface InitClientOptions {
  readonly dir: string;
  readonly name: string;
  readonly service: string;
  readonly address: readonly string[];
  /** Public key of the group. */
  readonly publicKey: string;
  readonly route: readonly string[];
  readonly force: boolean;
}

export interface InitEngineOptions {
  readonly dir: string;
  readonly group: string;
  readonly node: string;
  /** undefined: an address of this machine. */
  readonly address: string | undefined;
  /** "NODE=ADDRESS". */
  readonly peer: readonly string[];
  /** Folder of the fleet's authority; undefined: `dir`, where it is made when missing. */
  readonly ca: string | undefined;
  /** Where the files will be at the node; undefined: `dir`. */
  readonly installed: string | undefined;
  readonly store: string;
  readonly clientPort: string;
  readonly leafPort: string;
  readonly hubPort: string;
  readonly force: boolean;
}

export interface InviteOptions {
  /** Node file; used when no daemon of its name runs. */
  readonly config: string | undefined;
  readonly instance: string | undefined;
  readonly socket: string | undefined;
  readonly psk: boolean;
  readonly qr: boolean;
  /** File for the result, instead of standard output. */
  readonly output: string | undefined;
  readonly address: readonly string[];
}

export interface UpOptions {
  readonly log: readonly string[];
  readonly timeoutS: number;
  /** What is not up in time goes on trying, instead of being stopped. */
  readonly keepTrying: boolean;
  readonly json: boolean;
}

/** Each returns an exit code. An AnyhopError that it throws is printed. */
export interface SetupActions extends RosterActions {
  genkey(options: { readonly passphraseFile: string | undefined }): Promise<number>;
  pubkey(options: { readonly passphraseFile: string | undefined }): Promise<number>;
  genpsk(): Promise<number>;
  initNode(options: InitNodeOptions): Promise<number>;
  initClient(options: InitClientOptions): Promise<number>;
  initEngine(options: InitEngineOptions): Promise<number>;
  invite(name: string, options: InviteOptions): Promise<number>;
  importAnytun(folder: string, options: { readonly dir: string; readonly force: boolean }): Promise<number>;
  up(target: string, options: UpOptions): Promise<number>;
}

/** Loaded when one of them is called: running an instance needs none of it. */
export type LoadSetup = () => Promise<SetupActions>;

const CONFIG_DIR = "/etc/anyhop";

export function addSetupCommands(program: Command, load: LoadSetup, done: (code: number) => void): void {
  addKeyCommands(program, load, done);
  const init = program.command("init").description("write a complete configuration file, with keys");
  const folder = (command: Command, name: string): Command =>
    command
      .option("--dir <folder>", "where the files go", CONFIG_DIR)
      .option("--name <name>", "name of the instance and its files", name)
      .option("--force", "overwrite the configuration; a key that is there is kept", false);
  folder(init.command("node"), "node")
    .description("files of a node: group key, pool, listen address")
    .option("--group <name>", "name of the group (default: the name of the instance)")
    .option("--address <host:port>", "where clients find it (default: an address of this machine)", collect, [])
    .option("--pool <prefix>", "inner addresses (default: 10.9.0.0/24 and a random fd00::/8 prefix)", collect, [])
    .option("--group-node <number>", "one of several nodes that share the service address: its number")
    .option("--peer <node=host:port>", "node link of another node (default port 4445)", collect, [])
    .option("--link <host:port>", "own node link (default: an address of this machine, port 4445)")
    .option("--fleet-key-file <file>", "fleet key of the group (default: fleet.key in --dir, made when missing)")
    .option("--operator <key>", "public key of the operator: the node gets a signing key, and can be put out")
    .addHelpText(
      "after",
      `
Examples:
  anyhop init node --address vpn.example.net:4444 --pool 10.9.0.0/24
  anyhop init node --address 192.0.2.1:4444 --group-node 1 --link 198.51.100.1 --peer 2=198.51.100.2`,
    )
    .action(async (options: Omit<InitNodeOptions, keyof typeof ON_ITS_OWN>) =>
      done(await (await load()).initNode({ ...ON_ITS_OWN, ...options })),
    );
  folder(init.command("client"), "client")
    .description("files of a client, with a key of its own; prints what the node has to know")
    .option("--service <name>", "name of the service", "service")
    .requiredOption("--address <host:port>", "where the service is; may be repeated", collect, [])
    .requiredOption("--public-key <key>", "public key of the group")
    .option(
      "--route <prefix>",
      'what goes into the tunnel, or "default" (default: what the node announces)',
      collect,
      [],
    )
    .addHelpText("after", "\nExample:\n  anyhop init client --address vpn.example.net:4444 --public-key KEY")
    .action(async (options: InitClientOptions) => done(await (await load()).initClient(options)));
  addInitEngine(init, load, done);
  const named = (name: string) => program.commands.find((one) => one.name() === name)!;
  addRosterFileCommands(init, named("group"), named("rotate"), load, done);
  program
    .command("invite")
    .argument("<name>", "name of the new client")
    .description("make a client and print the one file that it needs")
    .option("-c, --config <file>", `node file, when no daemon runs (default: ${CONFIG_DIR}/NAME.toml of the instance)`)
    .option("-i, --instance <name>", "instance; not needed when only one is running")
    .option("--socket <path>", "control socket, instead of a name")
    .option("--psk", "with a pre-shared key beside the key pairs", false)
    .option("--qr", "as a QR code on the terminal", false)
    .option("-o, --output <file>", "into a file of mode 0600")
    .option("--address <host:port>", "where the client finds the group, instead of what the node says", collect, [])
    .addHelpText("after", "\nExamples:\n  anyhop invite anna -o anna.toml\n  anyhop invite anna --qr")
    .action(async (name: string, options: Partial<InviteOptions> & Pick<InviteOptions, "psk" | "qr" | "address">) =>
      done(await (await load()).invite(name, { ...NO_PLACE, ...options })),
    );
  program
    .command("import")
    .argument("<folder>", "folder of anytun, /etc/anytun/NAME")
    .description("make a configuration file from a folder of anytun")
    .option("--dir <folder>", "where the files go", CONFIG_DIR)
    .option("--force", "overwrite files that are there", false)
    .addHelpText("after", "\nExample:\n  anyhop import /etc/anytun/office && anyhop check /etc/anyhop/office.toml")
    .action(async (from: string, options: { dir: string; force: boolean }) =>
      done(await (await load()).importAnytun(from, options)),
    );
  program
    .command("up")
    .argument("<name|file>", `file, or NAME for ${CONFIG_DIR}/NAME.toml`)
    .option("-L, --log <target:level>", "as of run (default: syslog:3,anyhop,daemon); may be repeated", collect, [])
    .option("--timeout <seconds>", "how long it may take", "30")
    .option("--keep-trying", "when it is not up by then: let the daemon go on trying instead of stopping it", false)
    .option("--json", "the result as JSON", false)
    .description("start an instance in the background; returns when it is up, or says why it is not")
    .addHelpText(
      "after",
      `
Steps go to stderr, the result to stdout. Exit codes: 0 it is up; 1 it is not, and nothing of it runs any more (but
with --keep-trying); 2 wrong command line or configuration. Ctrl-C stops what was started.

Examples:
  anyhop up node && anyhop status node
  anyhop up anna --timeout 10`,
    )
    .action(async (target: string, { timeout, ...options }: Omit<UpOptions, "timeoutS"> & { timeout: string }) =>
      done(await (await load()).up(target, { ...options, timeoutS: wholeNumber(timeout, "--timeout", 86_400) })),
    );
}

function addInitEngine(init: Command, load: LoadSetup, done: (code: number) => void): void {
  init
    .command("engine")
    .description("files of the state engine of one node: two nats-servers, keys, certificates")
    .requiredOption("--node <number>", "number of this node in the group")
    .option("--peer <node=address>", "another node, and where its hub is (default port 6222)", collect, [])
    .option("--address <address>", "where the other hubs find this one (default: an address of this machine)")
    .option("--group <name>", "name of the group, as in [node]", "node")
    .option("--dir <folder>", "where the files go", `${CONFIG_DIR}/engine`)
    .option("--ca <folder>", "where ca.pem and ca.key of the fleet are (default: --dir, made when missing)")
    .option("--installed <folder>", "where the files will be at the node (default: --dir)")
    .option("--store <folder>", "where the records go", "/var/lib/anyhop/engine")
    .option("--client-port <port>", "of the leaf, for the daemon, on loopback", "4222")
    .option("--leaf-port <port>", "of the hub, for the leaf, on loopback", "7422")
    .option("--hub-port <port>", "of the hub, for nobody, on loopback", "4333")
    .option("--force", "overwrite files that are there; the nkey and the authority are kept", false)
    .addHelpText("after", "\nExample:\n  anyhop init engine --node 1 --address 198.51.100.1 --peer 2=198.51.100.2")
    .action(async (options: Omit<InitEngineOptions, keyof typeof NO_ENGINE>) =>
      done(await (await load()).initEngine({ ...NO_ENGINE, ...options })),
    );
}

const ON_ITS_OWN = {
  group: undefined,
  groupNode: undefined,
  link: undefined,
  fleetKeyFile: undefined,
  operator: undefined,
};
const NO_ENGINE = { address: undefined, ca: undefined, installed: undefined };
const NO_PLACE = { config: undefined, instance: undefined, socket: undefined, output: undefined };

function addKeyCommands(program: Command, load: LoadSetup, done: (code: number) => void): void {
  program
    .command("genkey")
    .description("print a new private key")
    .option("--passphrase-file <file>", "seal it under the passphrase in this file")
    .addHelpText("after", "\nExample:\n  (umask 077; anyhop genkey > node.key) && anyhop pubkey < node.key")
    .action(async (options: { passphraseFile?: string }) =>
      done(await (await load()).genkey({ passphraseFile: options.passphraseFile })),
    );
  program
    .command("pubkey")
    .description("read a private key from standard input and print its public key")
    .option("--passphrase-file <file>", "passphrase of a sealed key")
    .addHelpText("after", "\nExample:\n  anyhop pubkey < node.key")
    .action(async (options: { passphraseFile?: string }) =>
      done(await (await load()).pubkey({ passphraseFile: options.passphraseFile })),
    );
  program
    .command("genpsk")
    .description("print a new pre-shared key")
    .addHelpText("after", "\nExample:\n  (umask 077; anyhop genpsk > anna.psk)")
    .action(async () => done(await (await load()).genpsk()));
}

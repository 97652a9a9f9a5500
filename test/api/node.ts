/** A real control over in-memory store and sessions behind a real socket, for the tests of API and command line. */
import { createLogger } from "../../src/base/log.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { LogLevel } from "../../src/control/asked/log_level.ts";
import { parseFile } from "../../src/control/config/config_file.ts";
import { NodeControl } from "../../src/control/operate/node_control.ts";
import type { NodeSpec } from "../../src/control/spec/instance.ts";
import { createMemorySessions, type MemorySessions } from "../../src/drivers/memory_sessions.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import { announcingOf } from "../announce/parts.ts";
import { ANNA_PUBLIC, envWith, NODE } from "../control/session_files.ts";

export const NODE_FILE = `${NODE}address = ["vpn.example.net:4444"]
[[client]]
name = "anna"
public_key = "${ANNA_PUBLIC}"
psk_file = "anna.psk"
`;

export interface TestNode {
  readonly control: NodeControl;
  readonly sessions: MemorySessions;
  /** What a reload reads. */
  text: string;
}

export function createNode(): TestNode {
  const clock = { monotonicMs: () => performance.now(), wallMs: () => 1_750_000_000_000 };
  const sessions = createMemorySessions(clock);
  const level = new LogLevel();
  const readFile = () => parseFile(node.text, "/etc/anyhop/node.toml", envWith(0o600));
  const node = { text: NODE_FILE, sessions } as { -readonly [K in keyof TestNode]: TestNode[K] };
  node.control = new NodeControl(readFile().spec as NodeSpec, {
    clock,
    log: createLogger(clock, level.attach([{ level: 3, write: () => {}, close: () => {} }])),
    level,
    store: createMemoryStore(),
    sessions,
    announcing: announcingOf({ ...clock, monotonicMs: () => 0 }),
    events: new EventHub(clock),
    readFile: async () => readFile(),
    deviceName: () => "anyhop0",
  });
  return node;
}

/** For servers whose daemon is expected to have no bug. */
export function onBug(error: Error, operation: string): void {
  throw new Error(`${operation} failed inside the daemon`, { cause: error });
}

/**
 * A daemon in the background, seen from both sides: the program that starts it and waits (`anyhop up`, `anyhop classic`
 * without -D), and the daemon itself. Between them is the channel that Node makes. Until the daemon is let go it belongs to
 * who waits for it: when that one ends in any way, the daemon stops.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** What a daemon says to who waits for it. */
type Word =
  /** The control socket answers. */
  | { readonly kind: "listens"; readonly socketPath: string }
  /** One more line of how far it is. */
  | { readonly kind: "step"; readonly text: string }
  | { readonly kind: "ready" };
const GO_ON = "go on";

/** A daemon that is told to end has this long before it is killed. */
const END_MS = 15_000;

export interface Watcher {
  /** What the daemon writes to its stderr, as it comes. */
  said(text: string): void;
  step?(text: string): void;
}

export type Start =
  | { readonly kind: "ready" }
  /** It has ended by itself. `signal`: what killed it. */
  | { readonly kind: "ended"; readonly code: number; readonly signal: NodeJS.Signals | null }
  /** It is not ready in time. */
  | { readonly kind: "late" }
  /** This program was told to end. */
  | { readonly kind: "interrupted"; readonly signal: NodeJS.Signals };

/** A daemon that was started, and nobody has let go. */
export class Background {
  /** Undefined until it listens. */
  socketPath: string | undefined;
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;
  readonly #ended: Promise<Extract<Start, { kind: "ended" }>>;

  /** Starts this program again with `argv`. */
  constructor(argv: readonly string[], watcher: Watcher) {
    this.#child = spawn(process.execPath, [process.argv[1], ...argv], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => watcher.said(text));
    this.#ready = new Promise((resolve) => {
      this.#child.on("message", (word: Word) => {
        if (word.kind === "ready") resolve();
        else if (word.kind === "step") watcher.step?.(word.text);
        else this.socketPath = word.socketPath;
      });
    });
    this.#ended = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => resolve({ kind: "ended", code: code ?? 1, signal }));
    });
  }

  /** Waits until the daemon is ready or will not be; `timeoutMs` undefined: as long as it takes. */
  async start(timeoutMs?: number): Promise<Start> {
    let timer: NodeJS.Timeout | undefined;
    const waits: Promise<Start>[] = [this.#ready.then(() => ({ kind: "ready" })), this.#ended];
    if (timeoutMs !== undefined)
      waits.push(
        new Promise((resolve) => {
          timer = setTimeout(() => resolve({ kind: "late" }), timeoutMs);
        }),
      );
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
    let onSignal = (_: NodeJS.Signals) => {};
    waits.push(
      new Promise((resolve) => {
        onSignal = (signal) => resolve({ kind: "interrupted", signal });
      }),
    );
    for (const signal of signals) process.on(signal, onSignal);
    try {
      return await Promise.race(waits);
    } finally {
      clearTimeout(timer);
      for (const signal of signals) process.off(signal, onSignal);
    }
  }

  /** From now on it goes on without this program. */
  letGo(): void {
    const child = this.#child;
    child.stderr!.destroy();
    child.unref();
    if (!child.connected) return;
    child.send(GO_ON, () => {
      if (child.connected) child.disconnect();
    });
  }

  /** Ends it and waits until it has undone what it did to the host. False: it had to be killed. */
  async stop(): Promise<boolean> {
    let isKilled = false;
    const kill = () => {
      isKilled = true;
      this.#child.kill("SIGKILL");
    };
    const timer = setTimeout(kill, END_MS);
    // Who asks a second time does not want to wait.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, kill);
    this.#child.kill("SIGTERM");
    await this.#ended;
    clearTimeout(timer);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, kill);
    return !isKilled;
  }
}

/** `anyhop classic` without -D: goes into the background like the originals, but not before packets flow. */
export async function startInBackground(argv: readonly string[], err: (text: string) => void): Promise<number> {
  const daemon = new Background(argv, { said: err });
  const start = await daemon.start();
  if (start.kind === "ended") return start.code;
  if (start.kind === "ready") {
    daemon.letGo();
    return 0;
  }
  await daemon.stop();
  return 1;
}

/** In the daemon: who waits for it; nobody does when it was started in the foreground. */
export interface Parent {
  listens(socketPath: string): void;
  step(text: string): void;
  /** Lets the parent go. */
  ready(): void;
}

/** Call once, as early as possible: from then on the daemon ends when its parent does. */
export function attachParent(): Parent {
  let isWaiting = process.send !== undefined;
  const tell = (word: Word) => {
    if (isWaiting && process.connected) process.send!(word);
  };
  const parent: Parent = {
    listens: (socketPath) => tell({ kind: "listens", socketPath }),
    step: (text) => tell({ kind: "step", text }),
    ready() {
      tell({ kind: "ready" });
      isWaiting = false;
    },
  };
  if (!isWaiting) return parent;
  process.on("message", (word) => {
    if (word !== GO_ON) return;
    isWaiting = false;
    process.disconnect();
  });
  process.on("disconnect", () => {
    if (isWaiting) process.kill(process.pid, "SIGTERM");
  });
  // Listening keeps a channel, and with it a daemon that has ended by itself.
  process.channel?.unref();
  // Its other end is gone with the parent.
  process.stderr.on("error", () => {});
  return parent;
}

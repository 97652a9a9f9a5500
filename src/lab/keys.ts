/** Single keys from the terminal while the picture is live. Ctrl-C and q end the lab as SIGINT does. */

/** Calls `press` for each key; the returned function gives the terminal back. Without a terminal nothing happens. */
export function hearKeys(press: (key: string) => void): () => void {
  const { stdin } = process;
  if (stdin.isTTY !== true) return () => {};
  const hear = (chunk: Buffer) => {
    for (const key of chunk.toString("latin1"))
      if (key === "\x03" || key === "q") process.kill(process.pid, "SIGINT");
      else press(key);
  };
  stdin.setRawMode(true);
  stdin.on("data", hear);
  const back = () => stdin.setRawMode(false);
  process.once("exit", back);
  return () => {
    stdin.off("data", hear);
    process.off("exit", back);
    back();
    stdin.pause();
  };
}

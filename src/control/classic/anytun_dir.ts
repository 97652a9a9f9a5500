/**
 * Reads an /etc/anytun/NAME folder as anytun's launcher did: `config` with one "option value" per line, `conf.d/*` with
 * the options of anytun-config for one client each, `post-up.sh`. Turns lines into words; judges no option.
 */
import type { ClassicEnv } from "../spec/config_env.ts";

export interface AnytunDir {
  /** Last part of the folder's path. */
  readonly name: string;
  /** Words of `config` and `post-up.sh`, as if typed. */
  readonly argv: readonly string[];
  /** One for each file of conf.d. */
  readonly clients: readonly { readonly name: string; readonly file: string; readonly argv: readonly string[] }[];
  readonly warnings: readonly string[];
}

/** Returns a sentence when the folder cannot be used. */
export function readAnytunDir(folder: string, env: ClassicEnv): AnytunDir | string {
  const path = folder.replace(/\/+$/, "");
  const warnings: string[] = [];
  try {
    const config = env.readText(`${path}/config`);
    if (config === undefined) return `${path}/config does not exist; --config takes a folder such as /etc/anytun/NAME`;
    const argv = words(config, `${path}/config`, env, warnings);
    if (env.readText(`${path}/post-up.sh`) !== undefined) argv.push("--post-up-script", `${path}/post-up.sh`);
    const clients = (env.listFiles(`${path}/conf.d`) ?? []).map((name) => {
      const file = `${path}/conf.d/${name}`;
      return { name, file, argv: words(env.readText(file) ?? "", file, env, warnings) };
    });
    return { name: path.slice(path.lastIndexOf("/") + 1), argv, clients, warnings };
  } catch (error) {
    return `${path} cannot be read: ${(error as Error).message}`;
  }
}

const SECRET_LINE = /^\s*(passphrase|key)\s/m;

/** "option value" lines to "--option", "value". As in the launcher a # begins a comment anywhere. */
function words(text: string, file: string, env: ClassicEnv, warnings: string[]): string[] {
  const mode = env.modeOf(file);
  if (SECRET_LINE.test(text) && mode !== undefined && (mode & 0o077) !== 0)
    warnings.push(`others may read ${file}, which holds a secret; run chmod 600 ${file}`);
  const argv: string[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    const hash = line.indexOf("#");
    const content = (hash < 0 ? line : line.slice(0, hash)).trim();
    if (content === "") continue;
    if (hash > 0 && !/\s/.test(line[hash - 1]))
      warnings.push(`${file}:${i + 1}: the value ends before the #, as with anytun's launcher`);
    const [, option, value] = /^(\S+)\s*(.*)$/s.exec(content) as RegExpExecArray;
    argv.push(`--${option}`);
    if (value !== "") argv.push(value);
  }
  return argv;
}

/**
 * What the two front doors (configuration file, classic command line) may ask the machine. `drivers/config_env.ts` is
 * the real answer. Only reads.
 */
export interface ConfigEnv {
  /** Content of a file. Throws an Error whose message says why it cannot. */
  readSecret(path: string): string | Uint8Array;
  /** Permission bits of a file, undefined when unknown. */
  modeOf(path: string): number | undefined;
  getenv(name: string): string | undefined;
}

/** What reading an /etc/anytun/NAME folder needs in addition. */
export interface ClassicEnv extends ConfigEnv {
  /** Text of a file, undefined when it is not there. Throws an Error on anything else. */
  readText(path: string): string | undefined;
  /** Sorted names of the plain files of a folder, undefined when it is not there. Throws an Error on anything else. */
  listFiles(path: string): readonly string[] | undefined;
}

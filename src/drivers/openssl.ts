/**
 * A certificate authority for one fleet and certificates of its nodes, made by the openssl program: Node can read
 * certificates, but not write them. Private keys pass through a folder of mode 0700 that is removed at once.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AnyhopError } from "../base/errors.ts";

/** PEM texts. */
export interface Certified {
  readonly cert: string;
  readonly key: string;
}

const DAYS = "3650";
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"];

/** Throws AnyhopError "openssl" when the program is missing or refuses. */
export function makeAuthority(name: string): Certified {
  return inFolder((folder) => {
    const config = join(folder, "ca.cnf");
    writeFileSync(
      config,
      "[req]\ndistinguished_name=dn\nx509_extensions=ca\nprompt=no\n" +
        `[dn]\nCN=${name}\n` +
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
    );
    const [cert, key] = [join(folder, "ca.pem"), join(folder, "ca.key")];
    openssl(["req", "-x509", ...NEW_KEY, "-config", config, "-days", DAYS, "-keyout", key, "-out", cert]);
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  });
}

/** A certificate for `hosts` (addresses or names), good at both ends of a connection. `serial`: random, hex. */
export function certify(authority: Certified, name: string, hosts: readonly string[], serial: string): Certified {
  return inFolder((folder) => {
    const path = (file: string): string => join(folder, file);
    writeFileSync(path("ca.pem"), authority.cert);
    writeFileSync(path("ca.key"), authority.key, { mode: 0o600 });
    writeFileSync(path("node.cnf"), `[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=${name}\n`);
    const names = hosts.map((host) => `${isIP(host) === 0 ? "DNS" : "IP"}:${host}`).join(",");
    writeFileSync(
      path("node.ext"),
      "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n" +
        `subjectAltName=${names}\n`,
    );
    const files = { key: path("node.key"), request: path("node.csr"), cert: path("node.pem") };
    openssl(["req", "-new", ...NEW_KEY, "-config", path("node.cnf"), "-keyout", files.key, "-out", files.request]);
    const signing = ["-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-set_serial", `0x${serial}`, "-days", DAYS];
    openssl(["x509", "-req", "-in", files.request, ...signing, "-extfile", path("node.ext"), "-out", files.cert]);
    return { cert: readFileSync(files.cert, "utf8"), key: readFileSync(files.key, "utf8") };
  });
}

function inFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "anyhop-tls-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function openssl(args: readonly string[]): void {
  const { error, status, stderr } = spawnSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (error !== undefined) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const what = missing ? "The program openssl is not there; install it (apt-get install openssl)" : error.message;
    throw new AnyhopError("openssl", `${what}. It makes the certificates of the state engine; nothing was written.`);
  }
  if (status !== 0)
    throw new AnyhopError(
      "openssl",
      `openssl ${args[0]} failed: ${stderr.trim().split("\n").at(-1)}. Nothing was written.`,
    );
}

/** A hook finds every documented variable and nothing else; nothing secret is among them. */
import { expect, test } from "vitest";
import { parseFile } from "../../src/control/config/config_file.ts";
import { hookEnvironment, hookVariables } from "../../src/control/host/hooks.ts";
import { CLIENT, envWith, SECRETS } from "./session_files.ts";

test("the environment of a hook", () => {
  const parsed = parseFile(
    `${CLIENT}psk_file = "anna.psk"\nkill_switch = true\n`,
    "/etc/anyhop/a.toml",
    envWith(0o600),
  );
  if (parsed.kind !== "client" || parsed.spec === undefined) throw new Error("not a client");
  const state = {
    device: "anyhop0",
    endpoint: "192.0.2.1:4444",
    addresses: ["10.9.0.2/24", "2001:db8:9::2/64"],
    routes: ["0.0.0.0/0", "::/0"],
    dns: [],
    mtuBytes: 1400,
  };
  const environment = hookEnvironment("post_up", parsed.spec.services[0], state, "/usr/sbin:/usr/bin");
  expect(environment).toEqual({
    ANYHOP_EVENT: "post_up",
    ANYHOP_SERVICE: "example",
    ANYHOP_DEVICE: "anyhop0",
    ANYHOP_ENDPOINT: "192.0.2.1:4444",
    ANYHOP_ADDRESSES: "10.9.0.2/24 2001:db8:9::2/64",
    ANYHOP_ROUTES: "0.0.0.0/0 ::/0",
    ANYHOP_DNS: "",
    ANYHOP_MTU: "1400",
    ANYHOP_KILL_SWITCH: "1",
    PATH: "/usr/sbin:/usr/bin",
  });
  expect(Object.keys(environment)).toEqual(Object.keys(hookVariables));
  for (const secret of SECRETS) expect(JSON.stringify(environment)).not.toContain(secret);
});

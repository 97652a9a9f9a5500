/**
 * One file that makes somebody a client: key, service, routes, all in one, to be given away as text or as a QR code.
 * Holds secrets. Pure.
 */
import { AnyhopError } from "../../base/errors.ts";
import type { ServiceView } from "../asked/control_port.ts";
import { quote, quoteList } from "../text/toml_text.ts";

export interface Invitation {
  /** Name of the client at the node. */
  readonly name: string;
  /** 44 characters of base64 each. */
  readonly privateKey: string;
  readonly psk: string | undefined;
  readonly service: ServiceView;
}

/**
 * The client's file. `compact` leaves comments out: a QR code has less room. Throws AnyhopError "no_address" when
 * nobody knows where the group is.
 */
export function invitationFile({ name, privateKey, psk, service }: Invitation, compact: boolean): string {
  if (service.address.length === 0)
    throw new AnyhopError(
      "no_address",
      'The node does not know where clients find it: add address = ["HOST:PORT"] to [node] and run anyhop reload, or use --address HOST:PORT.',
    );
  const [inner] = service.inner;
  const head = `# The client ${name} of the group ${service.group}. Holds a private key: keep it at mode 0600 (chmod 600 ${name}.toml).
# Start it with: anyhop up ./${name}.toml${inner === undefined ? "" : `    Then: ping ${inner}`}

`;
  const comment = (text: string): string => (compact ? "" : `# ${text}\n`);
  return `${compact ? "" : head}name = ${quote(name)}
[client]
private_key = ${quote(privateKey)}
[[service]]
name = ${quote(service.group)}
address = ${quoteList(service.address)}
public_key = ${quote(service.publicKey)}
${service.operator === null ? "" : `${comment("Who may say that the group has another key.")}operator = ${quote(service.operator)}\n`}${psk === undefined ? "" : `psk = ${quote(psk)}\n`}${comment('What goes into the tunnel; ["default"] is everything.')}routes = ${quoteList(service.routes)}
keepalive = ${service.keepaliveS}
`;
}

/**
 * Control inside the sessions of a node: answers what clients send beside packets, keeps their channels, and tells them their
 * settings. What it decides of sessions goes to the responder and the group; it makes and ends none itself.
 */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import * as kinds from "../../channel/kinds.ts";
import { ControlCounters } from "../../channel/outcomes.ts";
import { decodeUnnumbered, encodeUnnumbered, type Unnumbered } from "../../channel/unnumbered.ts";
import type { Entropy } from "../../crypto/entropy.ts";
import type { Sender } from "../../handshake/keys.ts";
import { countsOf } from "../asked/control_counts.ts";
import type { EventHub } from "../asked/event_hub.ts";
import { Pings } from "../instance/pings.ts";
import { SessionChannels } from "../instance/session_channels.ts";
import type { OutcomeCount, Pong } from "../spec/ports.ts";
import { GroupKeyTelling } from "./group_key_telling.ts";
import type { ClientSettings } from "./node_clients.ts";
import { SettingsTelling } from "./settings_telling.ts";

export interface NodeInsidePorts {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Logger;
  readonly events: EventHub;
  readonly isGroup: boolean;
  /** Seals a control message in a session. */
  seal(row: number, payload: Uint8Array): void;
  /** Passes one on to another node of the group. False: there is none of this number. */
  relay(row: number, node: number, payload: Uint8Array): boolean;
  /** The client ends its session. */
  closed(row: number): void;
  /** The client knows this start of a node. */
  senderAcked(row: number, sender: Sender): void;
  /** What the client of the session in this row is to have; undefined: there is none that counts. */
  settingsOf(row: number): ClientSettings | undefined;
  /** The client sends to this node. */
  owns(row: number): boolean;
  rowsEnd(): number;
  nameOf(row: number): string | undefined;
}

export class NodeInside {
  readonly settings: SettingsTelling;
  readonly groupKeys: GroupKeyTelling;
  readonly channels: SessionChannels;
  readonly #use: NodeInsidePorts;
  readonly #pings: Pings;
  /** Number of this node in its group; 0: it is the whole group. */
  readonly #node: number;
  readonly #counters = new ControlCounters();

  /** Sessions are in rows [first, first + rows) and live for `lifeMs`. `sender`: this start of this node. */
  constructor(sender: Sender, first: number, rows: number, lifeMs: number, ports: NodeInsidePorts) {
    this.#use = ports;
    this.#node = ports.isGroup ? sender.senderId : 0;
    this.#pings = new Pings(ports.clock, ports.entropy, this.#node);
    const now = () => ports.clock.monotonicMs();
    const { settingsOf, owns, rowsEnd, seal, relay } = ports;
    this.channels = new SessionChannels(sender, first, rows, {
      ...{ now, counters: this.#counters, seal, relay },
      message: (row, kind, content) => kind === kinds.SETTINGS_APPLIED && this.settings.applied(row, content),
    });
    this.groupKeys = new GroupKeyTelling(first, { channels: this.channels, owns, rowsEnd });
    this.settings = new SettingsTelling(first, rows, lifeMs, {
      ...{ now, channels: this.channels, settingsOf, owns, rowsEnd },
      failed: (row) => this.#failed(row),
    });
  }

  /** A control payload of a session. `length`: of the whole, of which `payload` may be the beginning. */
  received(row: number, payload: Uint8Array, length: number): void {
    if (payload[0] === kinds.PAGE || payload[0] === kinds.PAGE_ACK) {
      this.channels.received(row, payload);
      return;
    }
    const message = decodeUnnumbered(payload, length);
    this.#counters.add(message === undefined ? "kind_unknown" : "unnumbered");
    switch (message?.kind) {
      case kinds.PING:
        this.tell(row, { kind: kinds.PONG, token: message.token });
        break;
      case kinds.PONG: {
        const asker = this.#pings.askerOf(message.token);
        // Who passes it on puts its own number behind it.
        if (asker === undefined) this.#pings.answered(message.token);
        else this.#use.relay(row, asker, Uint8Array.of(...encodeUnnumbered(message), this.#node));
        break;
      }
      case kinds.CLOSE:
        this.#use.closed(row);
        break;
      case kinds.SENDER_ACK:
        this.#use.senderAcked(row, message.sender);
        break;
      case kinds.PATH_PROBE:
        this.tell(row, { kind: kinds.PATH_ACK, token: message.token, length: message.length });
        break;
      case kinds.SETTINGS_WANTED:
        this.settings.wanted(row);
        break;
    }
  }

  /** What the client of the session in this row sent to another node, which has passed it on. */
  relayed(row: number, payload: Uint8Array): void {
    if (payload[0] !== kinds.PONG) {
      this.channels.relayed(row, payload);
      return;
    }
    const end = payload.length - 1;
    const message = decodeUnnumbered(payload.subarray(0, end), end);
    if (message?.kind === kinds.PONG) this.#pings.answered(message.token, payload[end]);
  }

  tell(row: number, message: Unnumbered): void {
    this.#use.seal(row, encodeUnnumbered(message));
  }

  ping(row: number, timeoutMs: number): Promise<Pong> {
    return this.#pings.send(timeoutMs, (token) => this.tell(row, { kind: kinds.PING, token }));
  }

  ended(row: number): void {
    this.channels.ended(row);
    this.settings.ended(row);
    this.groupKeys.ended(row);
  }

  tick(): void {
    this.channels.tick();
    this.settings.tick();
    this.groupKeys.tick();
  }

  counts(): OutcomeCount[] {
    return countsOf(this.#counters);
  }

  #failed(row: number): void {
    const name = this.#use.nameOf(row) ?? "";
    const message = `Client ${name}: its host did not take all of the settings that it was told; see anyhop status there`;
    this.#use.log.warning("settings_failed", message, { client: name });
    this.#use.events.tell("settings_failed", message, name);
  }
}

/**
 * Bytes of the two messages that carry the channel: PAGE, a piece of a numbered message, and PAGE_ACK, what has come of them.
 * Both name the channel that they belong to: which start of which node, since every node of a group has its own with a
 * client. docs/PROTOCOL.md, "The channel".
 */
import { NUMBERED_MIN, PAGE, PAGE_ACK } from "./kinds.ts";

/** One start of one node, as a channel is named after. */
export interface NodeStart {
  /** Sender id of the node, 0 to 65535. */
  readonly node: number;
  /** First 32 bits of its boot id. */
  readonly start: number;
}

export interface Page extends NodeStart {
  /** Of the message: counts from 0 in each direction. */
  readonly number: number;
  /** Kind of the message, see kinds.ts. */
  readonly kind: number;
  readonly page: number;
  readonly pages: number;
  /** Bytes of each page but the last one. */
  readonly size: number;
  readonly content: Uint8Array;
}

export interface PageAck extends NodeStart {
  /** The message that is expected; all before it have been delivered. */
  readonly next: number;
  /** Which pages of it have come, lowest bit first. Empty: none. */
  readonly seen: Uint8Array;
}

/** Longest content of a message: 256 KiB, which is 13,000 networks. */
export const MESSAGE_MAX = 256 * 1024;
const NUMBER = 7;
const KIND = 11;
const PAGE_NUMBER = 12;
const PAGES = 14;
const SIZE = 16;
export const PAGE_HEAD = 18;
const SEEN = 11;
/**
 * Content of a page. With it a datagram has 1266 bytes over IPv6 and fits the least MTU that IPv6 allows, 1280, so pages need no
 * knowledge of the path; where IPv4 has less, the kernel makes fragments.
 */
export const PAGE_SIZE = 1174;
/** Pages of a longer message are no smaller than this: so there are never more than 1024. */
const SIZE_MIN = 256;
export const PAGES_MAX = MESSAGE_MAX / SIZE_MIN;

export function encodePage({ node, start, number, kind, page, pages, size, content }: Page): Uint8Array {
  const payload = new Uint8Array(PAGE_HEAD + content.length);
  const view = begin(payload, PAGE, node, start);
  view.setUint32(NUMBER, number);
  payload[KIND] = kind;
  view.setUint16(PAGE_NUMBER, page);
  view.setUint16(PAGES, pages);
  view.setUint16(SIZE, size);
  payload.set(content, PAGE_HEAD);
  return payload;
}

/** Undefined for what no sender makes. `content` is a view of `payload`. */
export function decodePage(payload: Uint8Array): Page | undefined {
  if (payload.length < PAGE_HEAD || payload[0] !== PAGE) return undefined;
  const view = viewOf(payload);
  const [page, pages, size] = [view.getUint16(PAGE_NUMBER), view.getUint16(PAGES), view.getUint16(SIZE)];
  const content = payload.subarray(PAGE_HEAD);
  if (payload[KIND] < NUMBERED_MIN || page >= pages || size > PAGE_SIZE) return undefined;
  if (pages > 1 && (size < SIZE_MIN || (pages - 1) * size >= MESSAGE_MAX)) return undefined;
  const isLast = page === pages - 1;
  if (pages === 1 || !isLast ? content.length !== size : content.length === 0 || content.length > size)
    return undefined;
  if (page * size + content.length > MESSAGE_MAX) return undefined;
  return { ...nodeOf(view), number: view.getUint32(NUMBER), kind: payload[KIND], page, pages, size, content };
}

export function encodeAck({ node, start, next, seen }: PageAck): Uint8Array {
  const payload = new Uint8Array(SEEN + seen.length);
  const view = begin(payload, PAGE_ACK, node, start);
  view.setUint32(NUMBER, next);
  payload.set(seen, SEEN);
  return payload;
}

export function decodeAck(payload: Uint8Array): PageAck | undefined {
  if (payload.length < SEEN || payload.length > SEEN + PAGES_MAX / 8 || payload[0] !== PAGE_ACK) return undefined;
  const view = viewOf(payload);
  return { ...nodeOf(view), next: view.getUint32(NUMBER), seen: payload.slice(SEEN) };
}

/** The channel that a PAGE or PAGE_ACK belongs to; undefined when it is too short to say. */
export function channelOf(payload: Uint8Array): NodeStart | undefined {
  return payload.length < NUMBER ? undefined : nodeOf(viewOf(payload));
}

/** Name of the channel with this start of a node. */
export function channelName(sender: { readonly senderId: number; readonly bootId: Uint8Array }): NodeStart {
  return { node: sender.senderId, start: viewOf(sender.bootId).getUint32(0) };
}

function begin(payload: Uint8Array, kind: number, node: number, start: number): DataView {
  const view = viewOf(payload);
  payload[0] = kind;
  view.setUint16(1, node);
  view.setUint32(3, start);
  return view;
}

const nodeOf = (view: DataView): NodeStart => ({ node: view.getUint16(1), start: view.getUint32(3) });
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

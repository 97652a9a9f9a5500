/**
 * A strict little reader of the XML that the charts use (XML 1.0 without DTD, comments, processing instructions): throws
 * for anything that is not well-formed, returns elements with their attributes and text.
 */

export interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: Element[];
  text: string;
}

const TAG = /<(\/?)([A-Za-z][\w-]*)((?:\s+[A-Za-z][\w:-]*="[^"<]*")*)\s*(\/?)>|<|([^<]+)/g;
const REFERENCE = /&(amp|lt|gt|quot);|&/g;
const CHARACTERS: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"' };

/** Section 4.1: an ampersand begins a reference; section 2.2: which characters there are. */
function plain(text: string): string {
  if (/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/.test(text)) throw new Error("a character that XML does not have");
  return text.replace(REFERENCE, (whole, name: string | undefined) => {
    if (name === undefined) throw new Error(`a bare "${whole}"`);
    return CHARACTERS[name]!;
  });
}

/** The root element. */
export function parseXml(text: string): Element {
  const top: Element = { name: "", attributes: new Map(), children: [], text: "" };
  const open = [top];
  for (const [whole, closing, name, attributes, empty, characters] of text.matchAll(TAG)) {
    const parent = open.at(-1)!;
    if (characters !== undefined) parent.text += plain(characters);
    else if (name === undefined) throw new Error(`"${whole}" begins no tag`);
    else if (closing === "/") {
      if (open.pop()!.name !== name || open.length === 0) throw new Error(`</${name}> closes what is not open`);
    } else {
      const element: Element = { name, attributes: parseAttributes(attributes ?? ""), children: [], text: "" };
      parent.children.push(element);
      if (empty === "") open.push(element);
    }
  }
  if (open.length !== 1) throw new Error(`<${open.at(-1)!.name}> is not closed`);
  if (top.children.length !== 1 || top.text.trim() !== "") throw new Error("not exactly one root element");
  return top.children[0]!;
}

function parseAttributes(text: string): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/([A-Za-z][\w:-]*)="([^"]*)"/g)) {
    if (attributes.has(name!)) throw new Error(`attribute ${name} twice`);
    attributes.set(name!, plain(value!));
  }
  return attributes;
}

/** All elements of a name, in order of appearance. */
export function elements(root: Element, name: string): Element[] {
  return [...(root.name === name ? [root] : []), ...root.children.flatMap((child) => elements(child, name))];
}

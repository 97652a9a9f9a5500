/**
 * What names may be: of clients, services, tunnels, groups and instances. One rule for all of them, and for all ways by
 * which they come: configuration files, command line, API, import, other nodes. Names become names of files, sockets,
 * keys of the state engine and words of a command line, so they have no slash, no blank and no dash in front.
 */

export const NAME_LEN_MAX = 64;
/** The end of a sentence that begins with what has the name. */
export const NAME_RULE =
  "must be 1 to 64 letters, digits, dots, dashes or underscores, begin with a letter or a digit, and be no word of JavaScript such as constructor";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

export const isName = (text: string): boolean => NAME.test(text) && !isObjectWord(text);

/** Whether every object has a property of this name already: such a key would reach what all objects share. */
export const isObjectWord = (text: string): boolean => text === "prototype" || text in Object.prototype;

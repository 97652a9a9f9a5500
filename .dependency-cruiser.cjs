// The arrows of ARCHITECTURE.md, checked by machine.
const layers = {
  base: [],
  wire: ["base"],
  crypto: ["base", "wire"],
  table: ["base", "wire"],
  channel: ["base"],
  handshake: ["base", "wire", "crypto", "table", "channel"],
  dataplane: ["base", "wire", "crypto", "table"],
  shard: ["base", "wire", "crypto", "table", "dataplane"],
  announce: ["base"],
  cluster: ["base", "crypto"],
  drivers: ["base", "wire", "crypto", "dataplane", "cluster", "control/spec"],
  control: ["base", "wire", "crypto", "table", "channel", "handshake", "dataplane", "shard", "announce", "cluster"],
  api: ["base", "control", "dataplane/verdict", "dataplane/tunnels"],
  cli: ["base", "api/contract", "api/client"],
  crowd: ["base", "wire", "crypto", "dataplane", "channel", "handshake", "drivers"],
  sim: ["base", "crypto", "dataplane", "shard", "cluster", "control", "drivers"],
};
// The rooms of src/control.
const rooms = {
  spec: [],
  text: ["spec"],
  config: ["spec", "text"],
  classic: ["spec", "text", "config"],
  host: ["spec"],
  routing: ["spec"],
  asked: ["spec", "config", "host", "routing"],
  made: ["spec", "text", "classic", "asked"],
  instance: ["spec", "host"],
  node: ["spec", "text", "asked", "instance"],
  group: ["spec", "text", "asked", "instance", "node"],
  client: ["spec", "text", "asked", "host", "instance"],
  operate: ["spec", "text", "config", "routing", "asked", "node", "group", "client"],
};
const forbidden = Object.entries(layers).map(([layer, allowed]) => ({
  name: `${layer}-imports-only-${["itself", ...allowed].join("-").replaceAll("/", ".")}`,
  severity: "error",
  from: { path: `^src/${layer}/` },
  to: { path: "^src/", pathNot: `^src/(${[layer, ...allowed].join("|")})[/.]` },
}));
const betweenRooms = Object.entries(rooms).map(([room, allowed]) => ({
  name: `control.${room}-imports-only-${["itself", ...allowed].join("-")}`,
  severity: "error",
  from: { path: `^src/control/${room}/` },
  to: { path: "^src/control/", pathNot: `^src/control/(${[room, ...allowed].join("|")})/` },
}));
module.exports = {
  forbidden: [
    ...forbidden,
    ...betweenRooms,
    {
      name: "control-has-rooms-only",
      comment: "each file of src/control is in one of its rooms; ARCHITECTURE.md says what each is for",
      severity: "error",
      from: {},
      to: { path: "^src/control/", pathNot: `^src/control/(${Object.keys(rooms).join("|")})/` },
    },
    {
      name: "node-modules-only-at-the-edges",
      comment:
        "node:* belongs to drivers, api, cli, daemon, crowd, lab, bench and crypto; the rest receives ports. ipaddr.js parses addresses",
      severity: "error",
      from: {
        path: "^src/(base|wire|table|channel|handshake|dataplane|shard|cluster)/",
        pathNot: "^src/base/ip\\.ts$",
      },
      to: { dependencyTypes: ["core", "npm"] },
    },
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-orphans",
      severity: "error",
      from: { orphan: true, pathNot: "main\\.ts$|worker\\.ts$|lab/(probe|stream|replayer)\\.ts$" },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js"] },
  },
};

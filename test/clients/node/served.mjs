// What the platform serves to the clients in Node (models.go says which models),
// and values of each data type.

import { readFileSync } from "node:fs";

export const address = process.env.CLIENTS_ADDRESS; // host:port
export const key = process.env.CLIENTS_KEY;
export const url = `http://${address}`;

export const atOnce = 32;
export const times = 6; // an early refusal that breaks off does so now and then, not always
export const MiB = 1 << 20;

// host is a function's own host name, sent as the Host header: not every
// machine's resolver knows names below localhost.
export const host = (name) => `${name}.default.localhost:${address.split(":").pop()}`;

// values are numbers that JSON keeps; 64 bits beyond 2^53 are held by grpc.mjs.
export const values = {
  BOOL: [true, false, true, false],
  UINT8: [0, 1, 254, 255],
  UINT16: [0, 1, 2, 65535],
  UINT32: [0, 1, 2, 4294967295],
  UINT64: [0, 1, 2, Number.MAX_SAFE_INTEGER],
  INT8: [0, -1, -128, 127],
  INT16: [0, -1, -32768, 32767],
  INT32: [0, -1, -2147483648, 2147483647],
  INT64: [0, -1, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  FP16: [0, 1.5, -2.25, 65504],
  BF16: [0, 1.5, -2.25, 256],
  FP32: [0, 1.5, -2.25, 1e10],
  FP64: [0, 1.5, -2.25, Number.MAX_VALUE],
  BYTES: ["a", "", "zwölf", 'あ "quoted"\n\\line'],
};

// rows are the rows of caller i, like no other caller's, in a size of their own.
export const rows = (i) => Array.from({ length: 4 * (1 + (i % 5)) }, (_, n) => i * 1000 + n);

// early are requests that are refused before their body is read.
export const early = [
  { name: "a body over the bound", model: "echo-fp32", size: 40 * MiB, key: true, status: 413 },
  { name: "an unknown model", model: "never-heard-of", size: 5 * MiB, key: true, status: 404 },
  { name: "no key", model: "echo-fp32", size: 5 * MiB, key: false, status: 401 },
];

// show prints which versions run.
export function show(...packages) {
  const versions = packages.map((p) => `${p} ${JSON.parse(readFileSync(new URL(`node_modules/${p}/package.json`, import.meta.url))).version}`);
  console.log(`versions: node ${process.version}, ${versions.join(", ")}`);
}

// undici: its request and fetch over HTTP/1.1, and its client of HTTP/2 without
// TLS.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { deflateSync, gunzipSync, gzipSync, inflateSync } from "node:zlib";
import { Agent, fetch, H2CClient, request } from "undici";
import * as served from "./served.mjs";

served.show("undici");

const patience = { headersTimeout: 120_000, bodyTimeout: 120_000 }; // the machine may be busy
const http1 = new Agent(patience);
const http2 = new H2CClient(served.url, { ...patience, maxConcurrentStreams: 100 });
after(() => Promise.all([http1.close(), http2.close()]));

const dispatchers = { "HTTP/1.1": http1, "HTTP/2": http2 };
const infer = (model) => `/v2/models/${model}/infer`;
const ask = (datatype, shape, data, more = {}) => JSON.stringify({ inputs: [{ name: "x", datatype, shape, data }], ...more });

// call gives the status and the body's bytes.
async function call(dispatcher, path, { method = "POST", body, headers = {}, key = true, signal } = {}) {
  const answer = await request(served.url + path, {
    method, body, signal, dispatcher, headers: { ...(key && { "x-api-key": served.key }), ...headers },
  });
  return { status: answer.statusCode, headers: answer.headers, body: Buffer.from(await answer.body.arrayBuffer()) };
}

async function good(dispatcher, i) {
  const answer = await call(dispatcher, infer("echo-fp32"), { body: ask("FP32", [served.rows(i).length / 4, 4], served.rows(i)) });
  assert.equal(answer.status, 200, answer.body.toString());
  assert.deepEqual(JSON.parse(answer.body).outputs[0].data, served.rows(i));
}

// patiently calls again while others' large requests have all memory.
async function patiently(ask) {
  for (let i = 0; ; i++) {
    const answer = await ask();
    if (answer.status !== 429 || i === 100) {
      return answer;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000)); // as Retry-After says
  }
}

async function* pieces(size) {
  for (let sent = 0; sent < size; sent += 65536) {
    yield Buffer.alloc(65536, "x");
  }
}

// whole is a body in one piece. Not over HTTP/2 and 10 MB: Node counts what it
// has yet to send as the session's memory, and resets streams beyond that.
const whole = (dispatcher, size) => (dispatcher === http2 && size > 10 * served.MiB ? pieces(size) : Buffer.alloc(size, "x"));

// A server closes a connection of which it has read nothing for this long, in
// milliseconds, while it reads on behind an early answer.
const idle = 4000;

async function refused(dispatcher, e, made = () => whole(dispatcher, e.size), tries = 10) {
  const { model, key, status } = e;
  const began = performance.now();
  let answer;
  try {
    answer = await call(dispatcher, infer(model), { body: made(), key });
  } catch (error) {
    if (performance.now() - began < idle || tries === 1) {
      throw error;
    }
    return refused(dispatcher, e, made, tries - 1); // this process had no processor for so long
  }
  assert.equal(answer.status, status, answer.body.toString());
  assert.ok(JSON.parse(answer.body).error);
}

for (const [name, dispatcher] of Object.entries(dispatchers)) {
  test(`${name}: health and metadata`, async () => {
    for (const [path, member, want] of [
      ["/v2", "name", "modelserve"],
      ["/v2/health/live", "live", true],
      ["/v2/health/ready", "ready", true],
      ["/v2/models/several", "name", "several"],
    ]) {
      const answer = await call(dispatcher, path, { method: "GET" });
      assert.equal(JSON.parse(answer.body)[member], want, path);
    }
  });

  for (const [datatype, data] of Object.entries(served.values)) {
    test(`${name}: ${datatype} in JSON`, async () => {
      const answer = await call(dispatcher, infer(`echo-${datatype.toLowerCase()}`), { body: ask(datatype, [2, 2], data) });
      const output = JSON.parse(answer.body).outputs[0];
      assert.deepEqual([output.datatype, output.shape, output.data], [datatype, [2, 2], data]);
    });
  }

  test(`${name}: several outputs, and asked ones alone`, async () => {
    const inputs = [
      { name: "numbers", datatype: "FP32", shape: [1, 2], data: [1.5, 2] },
      { name: "counts", datatype: "INT64", shape: [1, 3], data: [1, 2, 3] },
      { name: "texts", datatype: "BYTES", shape: [1, 1], data: ["one"] },
    ];
    const outputs = async (asked) => {
      const answer = await call(dispatcher, infer("several"), { body: JSON.stringify({ inputs, outputs: asked }) });
      return Object.fromEntries(JSON.parse(answer.body).outputs.map((o) => [o.name, o.data]));
    };
    assert.deepEqual(await outputs(), { doubled: [3, 4], counted: [1, 2, 3], said: ["one"] });
    assert.deepEqual(await outputs([{ name: "said" }, { name: "doubled" }]), { doubled: [3, 4], said: ["one"] });
  });

  test(`${name}: many at once get their own`, () => Promise.all(Array.from({ length: served.atOnce }, (_, i) => good(dispatcher, i))));

  test(`${name}: 20 MB both ways, in binary`, async () => {
    const value = Buffer.from(Float32Array.from({ length: 5_000_000 }, (_, i) => i).buffer);
    const head = Buffer.from(JSON.stringify({
      inputs: [{ name: "x", datatype: "FP32", shape: [5, 1_000_000], parameters: { binary_data_size: value.length } }],
      outputs: [{ name: "y", parameters: { binary_data: true } }],
    }));
    const answer = await patiently(() => call(dispatcher, infer("echo-fp32"), {
      body: Buffer.concat([head, value]), headers: { "inference-header-content-length": String(head.length), "content-type": "application/octet-stream" },
    }));
    assert.equal(answer.status, 200, answer.body.toString("utf8", 0, 300));
    assert.ok(answer.body.subarray(Number(answer.headers["inference-header-content-length"])).equals(value));
  });

  test(`${name}: gzip and deflate`, async () => {
    const data = Array.from({ length: 4096 }, (_, i) => i % 7);
    const plain = Buffer.from(ask("FP32", [64, 64], data));
    for (const [there, body] of [["gzip", gzipSync(plain)], ["deflate", deflateSync(plain)]]) {
      for (const [back, unpack] of [["gzip", gunzipSync], ["deflate", inflateSync]]) {
        const answer = await call(dispatcher, infer("echo-fp32"), { body, headers: { "content-encoding": there, "accept-encoding": back } });
        assert.equal(answer.headers["content-encoding"], back, `${there} ${back}`);
        assert.deepEqual(JSON.parse(unpack(answer.body)).outputs[0].data, data);
      }
    }
  });

  test(`${name}: refusals say what was wrong`, async () => {
    for (const [path, body, status] of [
      [infer("never-heard-of"), ask("FP32", [1, 1], [0]), 404],
      [infer("echo-fp32"), ask("FP32", [1, 1, 1], [0]), 400],
      [infer("echo-fp32"), ask("INT64", [1, 1], [0]), 400],
      [infer("echo-fp32"), ask("FP32", [1, 1], [0], { parameters: { timeout: 1 } }), 504],
    ]) {
      const answer = await call(dispatcher, path, { body });
      assert.equal(answer.status, status, answer.body.toString());
      assert.ok(JSON.parse(answer.body).error);
    }
    await good(dispatcher, 1);
  });

  test(`${name}: a call given up leaves the client usable`, async () => {
    const data = Array.from({ length: 200_000 }, (_, i) => i);
    const given = call(dispatcher, infer("echo-fp32"), { body: ask("FP32", [1, data.length], data), signal: AbortSignal.timeout(2) });
    await given.catch((error) => assert.equal(error.name, "TimeoutError")); // unless the answer was there first
    await good(dispatcher, 2);
  });

  for (const e of served.early) {
    test(`${name}: ${e.name} arrives`, async () => {
      for (let i = 0; i < served.times; i++) {
        await refused(dispatcher, e);
      }
      await good(dispatcher, 3);
    });

    test(`${name}: ${e.name} of a body in pieces arrives`, async () => {
      for (let i = 0; i < served.times; i++) {
        await refused(dispatcher, e, () => pieces(e.size));
      }
      await good(dispatcher, 4);
    });
  }

  test(`${name}: early refusals beside others`, async () => {
    for (let i = 0; i < served.times; i++) {
      await Promise.all([...served.early.map((e) => refused(dispatcher, e)), ...Array.from({ length: 8 }, (_, n) => good(dispatcher, n))]);
    }
  });
}

test("fetch: an answer and an early refusal", async () => {
  const post = (model, body, headers) => fetch(served.url + infer(model), { method: "POST", body, headers, dispatcher: http1 });
  for (let i = 0; i < served.times; i++) {
    for (const { model, size, key, status } of served.early) {
      const answer = await post(model, Buffer.alloc(size, "x"), key ? { "x-api-key": served.key } : {});
      assert.equal(answer.status, status);
      assert.ok((await answer.json()).error);
    }
  }
  const answer = await post("echo-fp32", ask("FP32", [1, 4], [1, 2, 3, 4]), { "x-api-key": served.key });
  assert.deepEqual((await answer.json()).outputs[0].data, [1, 2, 3, 4]);
});

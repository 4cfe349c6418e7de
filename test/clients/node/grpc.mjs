// gRPC's own client for Node, grpc-js, with the protocol's description from this
// repository.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import * as served from "./served.mjs";

served.show("@grpc/grpc-js", "@grpc/proto-loader");

const folder = fileURLToPath(new URL("../../../runtime/infer", import.meta.url));
const { inference } = grpc.loadPackageDefinition(loader.loadSync("inferpb/grpc_service.proto", { keepCase: true, longs: String, includeDirs: [folder] }));
const client = new inference.GRPCInferenceService(served.address, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1,
});
after(() => client.close());

function withKey() {
  const metadata = new grpc.Metadata();
  metadata.set("x-api-key", served.key);
  return metadata;
}

const soon = (seconds) => ({ deadline: new Date(Date.now() + seconds * 1000) });

// call calls by the protocol's own name.
const call = (name, message, metadata = withKey(), options = soon(120)) => promisify(client[name].bind(client))(message, metadata, options);

const raw = (model, datatype, shape, bytes) => ({
  model_name: model, inputs: [{ name: "x", datatype, shape }], raw_input_contents: [bytes],
});
const floats = (numbers) => Buffer.from(Float32Array.from(numbers).buffer);
const echo = (i) => raw("echo-fp32", "FP32", [served.rows(i).length / 4, 4], floats(served.rows(i)));

async function good(i) {
  const answer = await call("ModelInfer", echo(i));
  assert.ok(answer.raw_output_contents[0].equals(floats(served.rows(i))));
}

const fails = (code, promise) => assert.rejects(promise, (error) => {
  assert.equal(error.code, code, String(error));
  assert.ok(error.details);
  return true;
});

test("health and metadata", async () => {
  assert.equal((await call("ServerLive", {})).live, true);
  assert.equal((await call("ServerReady", {})).ready, true);
  assert.equal((await call("ModelReady", { name: "several" })).ready, true);
  assert.equal((await call("ServerMetadata", {})).name, "modelserve");
  const metadata = await call("ModelMetadata", { name: "several" });
  assert.deepEqual(metadata.inputs.map((t) => [t.name, t.datatype, t.shape]), [
    ["numbers", "FP32", ["-1", "2"]], ["counts", "INT64", ["-1", "3"]], ["texts", "BYTES", ["-1", "-1"]],
  ]);
});

const text = (s) => {
  const bytes = Buffer.from(s);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
};

// Every bit pattern comes back: the bytes of two rows of each data type.
for (const [datatype, bytes] of Object.entries({
  BOOL: Buffer.from([1, 0, 0, 1]),
  UINT8: Buffer.from([0, 1, 254, 255]),
  INT8: Buffer.from([0, 127, 128, 255]),
  UINT16: Buffer.from(Uint16Array.of(0, 1, 2, 65535).buffer),
  INT16: Buffer.from(Int16Array.of(0, -1, -32768, 32767).buffer),
  UINT32: Buffer.from(Uint32Array.of(0, 1, 2, 4294967295).buffer),
  INT32: Buffer.from(Int32Array.of(0, -1, -2147483648, 2147483647).buffer),
  UINT64: Buffer.from(BigUint64Array.of(0n, 1n, 2n, 2n ** 64n - 1n).buffer),
  INT64: Buffer.from(BigInt64Array.of(0n, -1n, -(2n ** 63n), 2n ** 63n - 1n).buffer),
  FP16: Buffer.from(Uint16Array.of(0x0001, 0x3e00, 0x7c00, 0xfbff).buffer), // the smallest, 1.5, infinity, the least
  BF16: Buffer.from(Uint16Array.of(0x0001, 0x3fc0, 0x7f80, 0xff7f).buffer),
  FP32: floats([0, -0, Infinity, 3.4028234663852886e38]),
  FP64: Buffer.from(Float64Array.of(0, -0, -Infinity, Number.MAX_VALUE).buffer),
  BYTES: Buffer.concat(["a", "", "zwölf", "\u0000"].map(text)),
})) {
  test(`${datatype} in raw bytes`, async () => {
    const answer = await call("ModelInfer", raw(`echo-${datatype.toLowerCase()}`, datatype, [2, 2], bytes));
    assert.deepEqual([answer.outputs[0].datatype, answer.outputs[0].shape], [datatype, ["2", "2"]]);
    assert.deepEqual(answer.raw_output_contents[0], bytes);
  });
}

test("several outputs of contents by data type, and asked ones alone", async () => {
  const message = {
    model_name: "several",
    inputs: [
      { name: "numbers", datatype: "FP32", shape: [1, 2], contents: { fp32_contents: [1.5, 2] } },
      { name: "counts", datatype: "INT64", shape: [1, 3], contents: { int64_contents: ["1", "2", "9223372036854775807"] } },
      { name: "texts", datatype: "BYTES", shape: [1, 1], contents: { bytes_contents: [Buffer.from("one")] } },
    ],
  };
  const outputs = async (asked) => {
    const answer = await call("ModelInfer", { ...message, outputs: asked });
    return answer.outputs.map((o, i) => {
      const bytes = answer.raw_output_contents[i];
      return [o.name, bytes ? bytes.toString("hex") : o.contents];
    });
  };
  const want = {
    doubled: floats([3, 4]).toString("hex"),
    counted: Buffer.from(BigInt64Array.of(1n, 2n, 2n ** 63n - 1n).buffer).toString("hex"),
    said: text("one").toString("hex"),
  };
  assert.deepEqual(Object.fromEntries(await outputs()), want);
  assert.deepEqual(Object.fromEntries(await outputs([{ name: "said" }])), { said: want.said });
});

test("many at once get their own", () => Promise.all(Array.from({ length: served.atOnce }, (_, i) => good(i))));

test("20 MB both ways", async () => {
  const value = floats(Array.from({ length: 5_000_000 }, (_, i) => i));
  const answer = await call("ModelInfer", raw("echo-fp32", "FP32", [5, 1_000_000], value));
  assert.ok(answer.raw_output_contents[0].equals(value));
});

for (const [name, algorithm] of Object.entries({ deflate: grpc.compressionAlgorithms.deflate, gzip: grpc.compressionAlgorithms.gzip })) {
  test(`compressed with ${name}`, async () => {
    const packed = new inference.GRPCInferenceService(served.address, grpc.credentials.createInsecure(), { "grpc.default_compression_algorithm": algorithm });
    try {
      const answer = await promisify(packed.ModelInfer.bind(packed))(echo(4), withKey(), soon(120));
      assert.ok(answer.raw_output_contents[0].equals(floats(served.rows(4))));
    } finally {
      packed.close();
    }
  });
}

test("refusals say what was wrong", async () => {
  const zero = floats([0]);
  await fails(grpc.status.NOT_FOUND, call("ModelInfer", raw("never-heard-of", "FP32", [1, 1], zero)));
  await fails(grpc.status.INVALID_ARGUMENT, call("ModelInfer", raw("echo-fp32", "FP32", [1, 1, 1], zero)));
  await fails(grpc.status.INVALID_ARGUMENT, call("ModelInfer", raw("echo-fp32", "FP32", [1, 2], zero)));
  await fails(grpc.status.UNAUTHENTICATED, call("ModelInfer", raw("echo-fp32", "FP32", [1, 1], zero), new grpc.Metadata()));
  await good(1);
});

test("a deadline and a cancelled call leave the channel usable", async () => {
  const value = floats(Array.from({ length: 5_000_000 }, (_, i) => i));
  const large = raw("echo-fp32", "FP32", [5, 1_000_000], value);
  await fails(grpc.status.DEADLINE_EXCEEDED, call("ModelInfer", large, withKey(), soon(0.001)));
  await fails(grpc.status.CANCELLED, new Promise((resolve, reject) => {
    client.ModelInfer(large, withKey(), soon(120), (error, answer) => (error ? reject(error) : resolve(answer))).cancel();
  }));
  await good(2);
});

test("a message over the bound is refused beside others", async () => {
  const over = raw("echo-fp32", "FP32", [1, 10 * served.MiB], Buffer.alloc(40 * served.MiB));
  for (let i = 0; i < served.times; i++) {
    await Promise.all([fails(grpc.status.RESOURCE_EXHAUSTED, call("ModelInfer", over)), ...Array.from({ length: 8 }, (_, n) => good(n))]);
  }
});

test("a stream answers each message", async () => {
  const stream = client.ModelStreamInfer(withKey(), soon(120));
  const answers = new Map();
  let failed = 0;
  const ended = new Promise((resolve, reject) => {
    stream.on("data", ({ error_message, infer_response }) => {
      if (error_message) {
        failed++;
      } else {
        answers.set(Number(infer_response.id), infer_response.raw_output_contents[0]);
      }
    });
    stream.on("end", resolve);
    stream.on("error", reject);
  });
  for (let i = 0; i < served.atOnce; i++) {
    stream.write({ ...echo(i), id: String(i), ...(i === 5 && { model_name: "never-heard-of" }) });
  }
  stream.end();
  await ended;
  assert.equal(failed, 1); // and the stream went on
  assert.equal(answers.size, served.atOnce - 1);
  for (const [i, bytes] of answers) {
    assert.ok(bytes.equals(floats(served.rows(i))), `message ${i}`);
  }
});

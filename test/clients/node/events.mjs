// The CloudEvents SDK for JavaScript: events to a function's own URL, and its
// answers read with the same SDK.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CloudEvent, HTTP } from "cloudevents";
import { request } from "undici";
import * as served from "./served.mjs";

served.show("cloudevents");

const event = (more = {}) => new CloudEvent({
  id: "e1", source: "/uploads", type: "dev.modelserve.document.uploaded.v1", subject: "a subject", caseid: "x-1",
  datacontenttype: "application/octet-stream", data: Buffer.from("package main\n\nfunc main() { println(1) }\n"), ...more,
});

// send sends a message of the SDK's to a function, with headers and body as made.
async function send(message, { key = served.key } = {}) {
  const answer = await request(served.url, {
    method: "POST", body: message.body, headersTimeout: 120_000, bodyTimeout: 120_000,
    headers: { ...message.headers, host: served.host("content-detect"), ...(key && { "x-api-key": key }) },
  });
  return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() };
}

function answered(answer) {
  assert.equal(answer.status, 200, answer.body);
  const got = HTTP.toEvent({ headers: answer.headers, body: answer.body });
  assert.equal(got.validate(), true);
  assert.equal(got.type, "dev.modelserve.content-detect.answered.v1");
  assert.equal(got.caseid, "x-1");
  assert.ok(got.id && got.source);
  return got;
}

test("a binary event is answered by a binary event", async () => {
  const answer = await send(HTTP.binary(event()));
  assert.equal(answer.headers["ce-specversion"], "1.0");
  assert.equal(answered(answer).data.is_text, true);
});

test("a structured event is answered by a structured event", async () => {
  const answer = await send(HTTP.structured(event({ subject: "ein Stück" }))); // in headers the SDK does not encode it
  assert.match(answer.headers["content-type"], /^application\/cloudevents\+json/);
  assert.equal(answered(answer).data.is_text, true);
});

test("an event with JSON data is answered in both modes", async () => {
  const data = { content: Buffer.from("#!/bin/sh\necho hello\n").toString("base64") };
  for (const mode of [HTTP.binary, HTTP.structured]) {
    assert.equal(answered(await send(mode(event({ datacontenttype: "application/json", data })))).data.is_text, true);
  }
});

test("a batch is refused in words: a function answers one event", async () => {
  const answer = await send({ headers: { "content-type": "application/cloudevents-batch+json" }, body: JSON.stringify([event(), event({ id: "e2" })]) });
  assert.equal(answer.status, 415, answer.body);
  assert.match(JSON.parse(answer.body).detail, /batch/);
});

test("many at once get their own", async () => {
  await Promise.all(Array.from({ length: served.atOnce }, async (_, i) => {
    const mode = i % 2 ? HTTP.binary : HTTP.structured;
    const got = HTTP.toEvent(await send(mode(event({ id: `e${i}`, caseid: `x-${i}` }))));
    assert.equal(got.caseid, `x-${i}`);
  }));
});

test("refusals say what was wrong", async () => {
  assert.equal((await send(HTTP.binary(event()), { key: "" })).status, 401);
  const noType = HTTP.binary(event());
  delete noType.headers["ce-type"];
  const answer = await send(noType);
  assert.equal(answer.status, 400, answer.body);
  assert.match(answer.body, /type/);
});

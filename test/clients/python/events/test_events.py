"""The CloudEvents SDK for Python 2: events to a function's own URL, and its
answers read with the same SDK."""

import base64
import json
import os
import unittest
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version

import requests
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

ADDRESS = os.environ["CLIENTS_ADDRESS"]  # host:port
KEY = os.environ["CLIENTS_KEY"]
HOST = "content-detect.default.localhost:" + ADDRESS.rsplit(":", 1)[1]
SCRIPT = b"#!/bin/sh\necho hello\n"
MODES = {"binary": to_binary_event, "structured": to_structured_event}


def event(data=SCRIPT, content_type="application/octet-stream", **more):
    return CloudEvent({
        "id": "e1", "source": "/uploads", "type": "dev.modelserve.document.uploaded.v1", "subject": 'Stück 100% "neu"',
        "time": datetime(2026, 11, 29, 12, tzinfo=UTC), "datacontenttype": content_type, "caseid": "x-1", **more,
    }, data)


def send(message, key=KEY):
    # The resolver may not know names below localhost: the function's is the Host header.
    headers = {**message.headers, "Host": HOST, **({"X-API-Key": key} if key else {})}
    return requests.post("http://" + ADDRESS, data=message.body, headers=headers, timeout=120)


class Events(unittest.TestCase):
    def answered(self, answer):
        self.assertEqual(answer.status_code, 200, answer.text)
        got = from_http_event(HTTPMessage(dict(answer.headers), answer.content))
        self.assertEqual(got.get_type(), "dev.modelserve.content-detect.answered.v1")
        self.assertEqual(got.get_specversion(), "1.0")
        return got

    def test_is_answered_in_its_own_mode(self):
        for mode, make in MODES.items():
            with self.subTest(mode):
                answer = send(make(event()))
                got = self.answered(answer)
                self.assertEqual(answer.headers["Content-Type"].startswith("application/cloudevents+json"), mode == "structured")
                self.assertEqual(got.get_extension("caseid"), "x-1")
                self.assertTrue(got.get_data()["is_text"])

    def test_json_data(self):
        for mode, make in MODES.items():
            with self.subTest(mode):
                data = {"content": base64.b64encode(SCRIPT).decode()}
                self.assertTrue(self.answered(send(make(event(data, "application/json")))).get_data()["is_text"])

    def test_a_batch_is_refused_in_words(self):
        batch = b"[" + b",".join(to_structured_event(event(id=i)).body for i in ("e1", "e2")) + b"]"
        answer = send(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, batch))
        self.assertEqual(answer.status_code, 415, answer.text)
        self.assertIn("batch", json.loads(answer.text)["detail"])

    def test_many_at_once_get_their_own(self):
        def one(i):
            make = list(MODES.values())[i % 2]
            return self.answered(send(make(event(id=f"e{i}", caseid=f"x-{i}")))).get_extension("caseid")

        with ThreadPoolExecutor(32) as pool:
            self.assertEqual(list(pool.map(one, range(32))), [f"x-{i}" for i in range(32)])

    def test_refusals(self):
        self.assertEqual(send(to_binary_event(event()), key=None).status_code, 401)
        untyped = to_binary_event(event())
        headers = {k: v for k, v in untyped.headers.items() if k.lower() != "ce-type"}
        answer = send(HTTPMessage(headers, untyped.body))
        self.assertEqual(answer.status_code, 400)
        self.assertIn("type", answer.text)


if __name__ == "__main__":
    print("versions: cloudevents", version("cloudevents"), flush=True)
    unittest.main(verbosity=1)

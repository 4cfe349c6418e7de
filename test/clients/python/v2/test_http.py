"""httpx, synchronous and not, over HTTP/1.1 and HTTP/2, and requests."""

import asyncio
import contextlib
import gzip
import json
import unittest
import zlib

import httpx
import numpy as np
import requests

import served

INFER = "/v2/models/echo-fp32/infer"
HEADERS = {"X-API-Key": served.KEY}


def body(value, datatype="FP32", **more):
    return json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": list(value.shape), "data": value.tolist()}], **more}).encode()


def binary(value):
    """A request with its tensor, and the answer's, after the JSON."""
    raw = value.tobytes()
    head = json.dumps({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(value.shape), "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}


def tensor(answer, shape):
    return np.frombuffer(answer.content[int(answer.headers["Inference-Header-Content-Length"]):], np.float32).reshape(shape)


def numbers(answer):
    return answer.json()["outputs"][0]["data"]


def ended(result):
    """Whether a call ended as one may that is refused while it sends, over HTTP/2."""
    return isinstance(result, httpx.LocalProtocolError) or \
        isinstance(result, httpx.RemoteProtocolError) and "ConnectionTerminated error_code:0," in str(result)


class AsyncHTTP1(unittest.IsolatedAsyncioTestCase):
    http2 = False

    async def asyncSetUp(self):
        self.client = httpx.AsyncClient(base_url=served.URL, headers=HEADERS, timeout=served.PATIENCE, http1=not self.http2, http2=self.http2)
        self.addAsyncCleanup(self.client.aclose)

    async def good(self, i=1):
        answer = await self.client.post(INFER, content=body(served.rows(i)))
        self.assertEqual(answer.status_code, 200, answer.text)
        self.assertEqual(answer.http_version, "HTTP/2" if self.http2 else "HTTP/1.1")
        self.assertEqual(numbers(answer), served.rows(i).flatten().tolist())

    async def test_metadata_and_health(self):
        for path, member, want in (
            ("/v2", "name", "modelserve"),
            ("/v2/health/live", "live", True),
            ("/v2/health/ready", "ready", True),
            ("/v2/models/echo-fp32", "name", "echo-fp32"),
            ("/v2/models/echo-fp32/versions/1", "name", "echo-fp32"),
        ):
            with self.subTest(path):
                self.assertEqual((await self.client.get(path)).json()[member], want)

    async def test_every_datatype_in_json(self):
        for datatype, value in served.VALUES.items():
            # JSON has no infinity: it is a string there.
            data = [["Infinity" if v == np.inf else "-Infinity" if v == -np.inf else v for v in row] for row in served.plain(value)]
            ask = {"inputs": [{"name": "x", "datatype": datatype, "shape": list(value.shape), "data": data}]}
            with self.subTest(datatype):
                answer = await self.client.post(f"/v2/models/{served.model_of(datatype)}/infer", content=json.dumps(ask))
                self.assertEqual(answer.status_code, 200, answer.text)
                output = answer.json()["outputs"][0]
                self.assertEqual((output["datatype"], output["shape"]), (datatype, list(value.shape)))
                self.assertEqual(served.exact(output["data"], value.dtype), value.flatten().tolist())

    async def test_many_at_once_get_their_own(self):
        await asyncio.gather(*(self.good(i) for i in range(served.AT_ONCE)))

    async def test_large_both_ways(self):
        value = served.large()
        content, headers = binary(value)
        answer = await served.patiently(lambda: self.client.post(INFER, content=content, headers=headers))
        self.assertEqual(answer.status_code, 200, answer.text[:300])
        self.assertTrue(np.array_equal(tensor(answer, value.shape), value))

    async def test_a_body_in_pieces(self):
        async def pieces():
            whole = body(served.rows(3))
            for i in range(0, len(whole), 7):
                yield whole[i:i + 7]

        answer = await self.client.post(INFER, content=pieces())
        self.assertEqual(numbers(answer), served.rows(3).flatten().tolist())

    async def test_compression(self):
        value = np.tile(np.arange(64, dtype=np.float32), (64, 1))
        for there, packed in (("gzip", gzip.compress(body(value))), ("deflate", zlib.compress(body(value))), ("identity", body(value))):
            for back in ("gzip", "deflate", "identity"):
                with self.subTest(f"{there} {back}"):
                    answer = await self.client.post(INFER, content=packed, headers={"Content-Encoding": there, "Accept-Encoding": back})
                    self.assertEqual(answer.status_code, 200, answer.text)
                    self.assertEqual(answer.headers.get("Content-Encoding", "identity"), back)
                    self.assertEqual(numbers(answer), value.flatten().tolist())

    async def test_timeout_of_the_client_leaves_it_usable(self):
        content, headers = binary(served.large())
        with contextlib.suppress(httpx.TimeoutException):  # raised, unless the answer was there first
            await self.client.post(INFER, content=content, headers=headers, timeout=httpx.Timeout(served.PATIENCE, read=0.001))
        await self.good()

    async def test_clients_that_give_up_leave_the_platform_running(self):
        """In the middle of sending, and while they wait."""
        content, headers = binary(served.large())
        for seconds in (0.01, 0.03, 0.1, 0.3):
            calls = [self.client.post(INFER, content=content, headers=headers) for _ in range(8)]
            await asyncio.gather(*(asyncio.wait_for(c, seconds) for c in calls), return_exceptions=True)
        await self.good()

    async def test_timeout_of_the_request(self):
        answer = await self.client.post(INFER, content=body(served.rows(1), parameters={"timeout": 1}))
        self.assertEqual((answer.status_code, answer.json()["code"]), (504, "deadline_exceeded"))
        await self.good()

    async def test_refusals(self):
        for name, path, content, status in (
            ("an unknown model", "/v2/models/never-heard-of/infer", body(served.rows(1)), 404),
            ("another rank", INFER, body(served.rows(1)[:, :, None]), 400),
            ("cut JSON", INFER, body(served.rows(1))[:-5], 400),
        ):
            with self.subTest(name):
                answer = await self.client.post(path, content=content)
                self.assertEqual(answer.status_code, status, answer.text)
                self.assertTrue(answer.json()["error"])
        await self.good()

    async def early(self, path, size, key, status):
        headers = {} if key else {"X-API-Key": ""}
        answer = await self.client.post(path, content=b"x" * size, headers=headers)
        self.assertEqual(answer.status_code, status, answer.text)
        self.assertTrue(answer.json()["error"])

    async def test_early_refusals_arrive(self):
        for name, ask in served.EARLY.items():
            with self.subTest(name):
                for _ in range(served.TIMES):
                    await self.early(*ask)
        await self.good()

    async def test_early_refusals_of_a_body_in_pieces_arrive(self):
        async def pieces(size):
            for _ in range(size // 65536):
                yield b"x" * 65536

        for name, (path, size, key, status) in served.EARLY.items():
            with self.subTest(name):
                for _ in range(served.TIMES):
                    answer = await self.client.post(path, content=pieces(size), headers={} if key else {"X-API-Key": ""})
                    self.assertEqual(answer.status_code, status, answer.text)

    async def test_early_refusals_beside_others(self):
        """Over HTTP/2 all are on one connection, and only the refused calls fail.

        How they fail there is not held: httpx sends on without reading, so a
        server that has waited long enough for the rest of a body and closes the
        stream is to it an error of its own (LocalProtocolError), or an end without
        an error of a connection that takes no more.
        """
        for _ in range(served.TIMES):
            calls = [self.early(*ask) for ask in served.EARLY.values()] + [self.good(i) for i in range(8)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            if self.http2:
                results = [None if ended(r) else r for r in results[:len(served.EARLY)]] + results[len(served.EARLY):]
            self.assertEqual(results, [None] * len(calls))


class AsyncHTTP2(AsyncHTTP1):
    http2 = True


class Synchronous:
    """What httpx' synchronous client and requests do alike."""

    def test_json(self):
        answer = self.post(INFER, body(served.rows(4)))
        self.assertEqual(numbers(answer), served.rows(4).flatten().tolist())

    def test_large_both_ways(self):
        value = served.large()

        async def post():
            return self.post(INFER, *binary(value))

        answer = asyncio.run(served.patiently(post))
        self.assertTrue(np.array_equal(tensor(answer, value.shape), value))

    def test_early_refusals_arrive(self):
        for name, (path, size, key, status) in served.EARLY.items():
            with self.subTest(name):
                for _ in range(served.TIMES):
                    answer = self.post(path, b"x" * size, {} if key else {"X-API-Key": ""})
                    self.assertEqual(answer.status_code, status, answer.text)
                    self.assertTrue(answer.json()["error"])
        self.test_json()


class Requests(Synchronous, unittest.TestCase):
    def setUp(self):
        self.session = requests.Session()
        self.session.headers.update(HEADERS)
        self.addCleanup(self.session.close)

    def post(self, path, content, headers=None):
        return self.session.post(served.URL + path, data=content, headers=headers, timeout=served.PATIENCE)


class HTTPX(Synchronous, unittest.TestCase):
    def setUp(self):
        self.client = httpx.Client(base_url=served.URL, headers=HEADERS, timeout=served.PATIENCE)
        self.addCleanup(self.client.close)

    def post(self, path, content, headers=None):
        return self.client.post(path, content=content, headers=headers)


if __name__ == "__main__":
    served.show("httpx", "httpcore", "h2", "requests", "urllib3")
    unittest.main(verbosity=1)

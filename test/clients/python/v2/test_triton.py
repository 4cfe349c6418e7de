"""NVIDIA's client: HTTP and gRPC, each with threads and with asyncio.

Its whole surface (repository, statistics, shared memory) is held by
test/e2e/triton_client.py; this is about answers: each data type, several
outputs, many callers at once, large tensors, streams.
"""

import asyncio
import queue
import unittest

import numpy as np
import tritonclient.grpc as tgrpc
import tritonclient.grpc.aio as tgrpc_aio
import tritonclient.http as thttp
import tritonclient.http.aio as thttp_aio
from tritonclient.utils import InferenceServerException

import served


class Calls:
    """What all four clients do; the library and how a call ends are in the subclasses.

    They are driven through coroutines, which those with threads end at once.
    """

    library = None

    def given(self, name, datatype, value, **options):
        tensor = self.library.InferInput(name, list(value.shape), datatype)
        tensor.set_data_from_numpy(value, **options)
        return tensor

    def several(self):
        return [self.given(n, served.SEVERAL_TYPES[n], v) for n, v in served.SEVERAL.items()]

    async def echo(self, datatype, value, **more):
        answer = await self.infer(served.model_of(datatype), [self.given("x", datatype, value)], **more)
        return answer.as_numpy("y")

    async def test_health_and_metadata(self):
        self.assertTrue(await self.call(self.client.is_server_live))
        self.assertTrue(await self.call(self.client.is_server_ready))
        self.assertTrue(await self.call(self.client.is_model_ready, "several"))
        self.assertEqual(await self.metadata("several"), {
            "inputs": {"numbers": ("FP32", [-1, 2]), "counts": ("INT64", [-1, 3]), "texts": ("BYTES", [-1, -1])},
            "outputs": {"doubled": ("FP32", [-1, 2]), "counted": ("INT64", [-1, 3]), "said": ("BYTES", [-1, -1])},
        })

    async def test_every_datatype(self):
        for datatype, value in served.VALUES.items():
            with self.subTest(datatype):
                got = await self.echo(datatype, value)
                self.assertEqual(got.dtype, value.dtype)
                self.assertEqual(served.plain(got), served.plain(value))

    async def test_bytes_that_are_no_text(self):
        value = np.array([[b"\x00\xff\xfe", b"\x80"]], object)
        self.assertEqual((await self.echo("BYTES", value)).tolist(), value.tolist())

    async def test_several_outputs(self):
        answer = await self.infer("several", self.several())
        self.assertEqual({n: served.plain(answer.as_numpy(n)) for n in served.SEVERAL_ANSWER}, served.SEVERAL_ANSWER)

    async def test_asked_outputs_alone(self):
        asked = [self.library.InferRequestedOutput(n) for n in ("said", "doubled")]
        answer = await self.infer("several", self.several(), outputs=asked)
        self.assertIsNone(answer.as_numpy("counted"))
        for n in ("said", "doubled"):
            self.assertEqual(served.plain(answer.as_numpy(n)), served.SEVERAL_ANSWER[n])

    async def test_many_at_once_get_their_own(self):
        answers = await self.at_once([served.rows(i) for i in range(served.AT_ONCE)])
        for i, got in enumerate(answers):
            self.assertEqual(got.tolist(), served.rows(i).tolist())

    async def test_large_both_ways(self):
        value = served.large()
        answer = await served.patiently(lambda: self.echo("FP32", value))
        self.assertTrue(np.array_equal(answer, value))

    async def test_compression(self):
        value = np.tile(np.arange(64, dtype=np.float32), (64, 1))
        for options in self.compressions:
            with self.subTest(str(options)):
                self.assertEqual((await self.echo("FP32", value, **options)).tolist(), value.tolist())

    async def test_refusals(self):
        value = np.zeros((1, 1), np.float32)
        for name, model, tensor, statuses, more in (
            ("an unknown model", "never-heard-of", self.given("x", "FP32", value), ("404", "StatusCode.NOT_FOUND"), {}),
            ("a rank too many", "echo-fp32", self.given("x", "FP32", value[:, :, None]), ("400", "StatusCode.INVALID_ARGUMENT"), {}),
            ("another data type", "echo-int64", self.given("x", "FP32", value), ("400", "StatusCode.INVALID_ARGUMENT"), {}),
            ("an unknown version", "echo-fp32", self.given("x", "FP32", value), ("404", "StatusCode.NOT_FOUND"), {"model_version": "99"}),
            ("no time left", "echo-fp32", self.given("x", "FP32", value), ("504", "StatusCode.DEADLINE_EXCEEDED"), {"timeout": 1}),
            ("no key", "echo-fp32", self.given("x", "FP32", value), ("401", "StatusCode.UNAUTHENTICATED"), {"headers": {}}),
        ):
            with self.subTest(name):
                with self.assertRaises(InferenceServerException) as caught:
                    await self.infer(model, [tensor], **more)
                self.assertIn(caught.exception.status(), statuses)
                self.assertTrue(caught.exception.message())
        self.assertEqual((await self.echo("FP32", served.rows(1))).tolist(), served.rows(1).tolist())


def headers():
    return {"x-api-key": served.KEY}  # new ones each time: the HTTP client writes into what it is given


class OverHTTP:
    compressions = [
        {"request_compression_algorithm": there, "response_compression_algorithm": back}
        for there in (None, "gzip", "deflate") for back in (None, "gzip", "deflate")
    ]

    async def metadata(self, model):
        metadata = await self.call(self.client.get_model_metadata, model)
        return {side: {t["name"]: (t["datatype"], t["shape"]) for t in metadata[side]} for side in ("inputs", "outputs")}

    async def test_json_and_binary_mixed(self):
        for datatype, value in served.VALUES.items():
            if datatype in ("FP16", "BF16"):
                continue  # in binary alone
            if datatype.startswith("FP"):
                value = np.nan_to_num(value, posinf=1, neginf=-1)  # its JSON has no infinity
            for binary in (True, False):
                for binary_out in (True, False):
                    with self.subTest(f"{datatype} in={binary} out={binary_out}"):
                        asked = [self.library.InferRequestedOutput("y", binary_data=binary_out)]
                        answer = await self.infer(served.model_of(datatype), [self.given("x", datatype, value, binary_data=binary)], outputs=asked)
                        self.assertEqual(served.plain(answer.as_numpy("y")), served.plain(value))

    async def test_early_refusals_arrive(self):
        for name, (_, size, key, status) in served.EARLY.items():
            model = "never-heard-of" if status == 404 else "echo-fp32"
            with self.subTest(name):
                for _ in range(served.TIMES):
                    with self.assertRaises(InferenceServerException) as caught:
                        tensor = self.given("x", "FP32", np.zeros((1, size // 4), np.float32))
                        await self.infer(model, [tensor], **({} if key else {"headers": {}}))
                    self.assertEqual(caught.exception.status(), str(status), caught.exception)


class OverGRPC:
    compressions = [{"compression_algorithm": a} for a in (None, "gzip", "deflate")]

    async def metadata(self, model):
        metadata = await self.call(self.client.get_model_metadata, model)
        return {side: {t.name: (t.datatype, list(t.shape)) for t in getattr(metadata, side)} for side in ("inputs", "outputs")}

    async def test_deadline_of_the_client(self):
        with self.assertRaises(InferenceServerException) as caught:
            await self.infer("echo-fp32", [self.given("x", "FP32", served.large())], client_timeout=0.001)
        self.assertEqual(caught.exception.status(), "StatusCode.DEADLINE_EXCEEDED")
        self.assertEqual((await self.echo("FP32", served.rows(1))).tolist(), served.rows(1).tolist())

    async def test_too_large_is_refused_beside_others(self):
        """Only its own call fails, of all on the channel."""
        over = np.zeros((1, 10 * served.MIB), np.float32)
        for _ in range(served.TIMES):
            refused, *answers = await self.at_once([over] + [served.rows(i) for i in range(8)])
            self.assertEqual(refused.status(), "StatusCode.RESOURCE_EXHAUSTED")
            for i, got in enumerate(answers):
                if isinstance(got, Exception):
                    raise got
                self.assertEqual(got.tolist(), served.rows(i).tolist())


class Threads(Calls):
    async def call(self, method, *args, **more):
        return method(*args, headers=headers(), **more)

    async def infer(self, model, inputs, **more):
        return self.client.infer(model, inputs, **{"headers": headers(), **more})


class Asyncio(Calls):
    async def call(self, method, *args, **more):
        return await method(*args, headers=headers(), **more)

    async def infer(self, model, inputs, **more):
        return await self.client.infer(model, inputs, **{"headers": headers(), **more})

    async def at_once(self, values):
        return await asyncio.gather(*(self.echo("FP32", v) for v in values), return_exceptions=True)


class HTTPThreads(OverHTTP, Threads, unittest.IsolatedAsyncioTestCase):
    library = thttp

    def setUp(self):
        self.client = thttp.InferenceServerClient(served.ADDRESS, concurrency=served.AT_ONCE, connection_timeout=served.PATIENCE, network_timeout=served.PATIENCE)
        self.addCleanup(self.client.close)

    async def at_once(self, values):
        pending = [self.client.async_infer("echo-fp32", [self.given("x", "FP32", v)], headers=headers()) for v in values]
        return [p.get_result().as_numpy("y") for p in pending]


class HTTPAsyncio(OverHTTP, Asyncio, unittest.IsolatedAsyncioTestCase):
    library = thttp_aio

    async def asyncSetUp(self):
        self.client = thttp_aio.InferenceServerClient(served.ADDRESS, conn_timeout=served.PATIENCE)
        self.addAsyncCleanup(self.client.close)


class GRPCThreads(OverGRPC, Threads, unittest.IsolatedAsyncioTestCase):
    library = tgrpc

    def setUp(self):
        self.client = tgrpc.InferenceServerClient(served.ADDRESS)
        self.addCleanup(self.client.close)

    async def at_once(self, values):
        queues = [queue.Queue() for _ in values]
        for value, got in zip(values, queues, strict=True):
            self.client.async_infer(
                "echo-fp32", [self.given("x", "FP32", value)], headers=headers(),
                callback=lambda result, error, got=got: got.put(error or result.as_numpy("y")),
            )
        return [got.get(timeout=served.PATIENCE) for got in queues]

    async def test_a_stream_answers_each_message(self):
        got = queue.Queue()
        self.client.start_stream(lambda result, error: got.put((result, error)), headers=headers())
        self.addCleanup(self.client.stop_stream)
        for i in range(served.AT_ONCE):
            model = "never-heard-of" if i == 5 else "echo-fp32"
            self.client.async_stream_infer(model, [self.given("x", "FP32", served.rows(i))], request_id=str(i))
        failed, answers = 0, {}
        for _ in range(served.AT_ONCE):
            answer, error = got.get(timeout=served.PATIENCE)
            if error:
                failed += 1
                self.assertIn("never-heard-of", error.message())
            else:
                answers[int(answer.get_response().id)] = answer.as_numpy("y")
        self.assertEqual(failed, 1)  # and the stream went on
        self.assertEqual(sorted(answers), [i for i in range(served.AT_ONCE) if i != 5])
        for i, value in answers.items():
            self.assertEqual(value.tolist(), served.rows(i).tolist())


class GRPCAsyncio(OverGRPC, Asyncio, unittest.IsolatedAsyncioTestCase):
    library = tgrpc_aio

    async def asyncSetUp(self):
        self.client = tgrpc_aio.InferenceServerClient(served.ADDRESS)
        self.addAsyncCleanup(self.client.close)

    async def test_a_stream_answers_each_message(self):
        async def messages():
            for i in range(served.AT_ONCE):
                yield {"model_name": "echo-fp32", "inputs": [self.given("x", "FP32", served.rows(i))], "request_id": str(i)}

        answers = {}
        async for answer, error in self.client.stream_infer(messages(), headers=headers()):
            self.assertIsNone(error)
            answers[int(answer.get_response().id)] = answer.as_numpy("y")
        self.assertEqual(len(answers), served.AT_ONCE)
        for i, value in answers.items():
            self.assertEqual(value.tolist(), served.rows(i).tolist())


if __name__ == "__main__":
    served.show("tritonclient", "geventhttpclient", "aiohttp", "grpcio", "ml_dtypes")
    unittest.main(verbosity=1)

"""KServe's Python SDK, its REST and its gRPC client (both asynchronous)."""

import asyncio
import contextlib
import logging
import unittest

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

import served

HEADERS = {"X-API-Key": served.KEY}
METADATA = (("x-api-key", served.KEY),)


def given(name, datatype, value, binary=True):
    tensor = InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value, binary_data=binary)
    return tensor


def request(model, inputs, **more):
    return InferRequest(model_name=model, infer_inputs=inputs, **more)


def one(datatype, value, binary=True, model=None, binary_out=None, **more):
    asked = None if binary_out is None else [RequestedOutput("y", {"binary_data": binary_out})]
    return request(model or served.model_of(datatype), [given("x", datatype, value, binary)], request_outputs=asked, **more)


class Calls:
    """What both clients can do; how a call is made is in the subclasses."""

    # The SDK knows no BF16.
    values = {d: v for d, v in served.VALUES.items() if d != "BF16"}

    async def test_health(self):
        self.assertTrue(await self.live())
        self.assertTrue(await self.ready())
        self.assertTrue(await self.model_ready("echo-fp32"))

    async def test_every_datatype(self):
        for datatype, value in self.values.items():
            with self.subTest(datatype):
                answer = await self.infer(one(datatype, value))
                self.assertEqual(answer.outputs[0].datatype, datatype)
                self.assertEqual(answer.outputs[0].shape, list(value.shape))
                self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(value))

    async def test_several_outputs_in_order(self):
        inputs = [given(n, served.SEVERAL_TYPES[n], v) for n, v in served.SEVERAL.items()]
        answer = await self.infer(request("several", inputs))
        self.assertEqual({o.name: served.plain(o.as_numpy()) for o in answer.outputs}, served.SEVERAL_ANSWER)

    async def test_asked_outputs_alone(self):
        inputs = [given(n, served.SEVERAL_TYPES[n], v) for n, v in served.SEVERAL.items()]
        answer = await self.infer(request("several", inputs, request_outputs=[RequestedOutput("said"), RequestedOutput("doubled")]))
        self.assertEqual({o.name for o in answer.outputs}, {"said", "doubled"})
        for o in answer.outputs:
            self.assertEqual(served.plain(o.as_numpy()), served.SEVERAL_ANSWER[o.name])

    async def test_request_id_comes_back(self):
        answer = await self.infer(one("FP32", served.rows(1), request_id="order-1"))
        self.assertEqual(answer.id, "order-1")
        self.assertEqual(answer.model_name, "echo-fp32")

    async def test_many_at_once_get_their_own(self):
        answers = await asyncio.gather(*(self.infer(one("FP32", served.rows(i))) for i in range(served.AT_ONCE)))
        for i, answer in enumerate(answers):
            self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(served.rows(i)))

    async def test_large_both_ways(self):
        value = served.large()
        answer = await served.patiently(lambda: self.infer(one("FP32", value, binary_out=True)))
        self.assertTrue(np.array_equal(answer.outputs[0].as_numpy(), value))

    async def test_refusals(self):
        value = np.zeros((1, 1), np.float32)
        for name, ask, status, code in (
            ("an unknown model", one("FP32", value, model="never-heard-of"), 404, grpc.StatusCode.NOT_FOUND),
            ("a rank too many", one("FP32", np.zeros((1, 1, 1), np.float32)), 400, grpc.StatusCode.INVALID_ARGUMENT),
            ("another data type", one("INT64", np.zeros((1, 1), np.int64), model="echo-fp32"), 400, grpc.StatusCode.INVALID_ARGUMENT),
            ("an unknown input", request("echo-fp32", [given("z", "FP32", value)]), 400, grpc.StatusCode.INVALID_ARGUMENT),
            ("an unknown output", request("echo-fp32", [given("x", "FP32", value)], request_outputs=[RequestedOutput("z")]), 400, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with self.subTest(name):
                await self.refused(status, code, self.infer(ask))
        await self.refused(401, grpc.StatusCode.UNAUTHENTICATED, self.infer(one("FP32", value), key=False))
        answer = await self.infer(one("FP32", served.rows(2)))
        self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(served.rows(2)))


class REST(Calls, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=served.PATIENCE))
        self.addAsyncCleanup(self.client.close)

    async def live(self):
        return await self.client.is_server_live(served.URL, headers=HEADERS)

    async def ready(self):
        return await self.client.is_server_ready(served.URL, headers=HEADERS)

    async def model_ready(self, model):
        return await self.client.is_model_ready(served.URL, model, headers=HEADERS)

    async def infer(self, ask, key=True, **more):
        return await self.client.infer(served.URL, ask, model_name=ask.model_name, headers=dict(HEADERS) if key else {}, **more)

    async def refused(self, status, _, call):
        with self.assertRaises(httpx.HTTPStatusError) as caught:
            await call
        self.assertEqual(caught.exception.response.status_code, status)
        self.assertTrue(caught.exception.response.json()["error"])

    async def test_model_not_ready(self):
        self.assertFalse(await self.model_ready("never-heard-of"))

    async def test_json_and_binary_mixed(self):
        for datatype, value in self.values.items():
            for binary, binary_out in ((False, False), (False, True), (True, False)):
                if datatype == "FP16" and not (binary and binary_out):
                    continue  # the SDK has FP16 in binary alone
                if datatype.startswith("FP") and not binary:
                    value = np.nan_to_num(value, posinf=1, neginf=-1)  # its JSON has no infinity
                if datatype.startswith("FP") and not binary_out:
                    value = np.nan_to_num(value, posinf=1, neginf=-1)
                with self.subTest(f"{datatype} in={binary} out={binary_out}"):
                    answer = await self.infer(one(datatype, value, binary=binary, binary_out=binary_out))
                    self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(value))

    async def test_timeout_of_the_client_leaves_it_usable(self):
        with contextlib.suppress(httpx.TimeoutException):  # raised, unless the answer was there first
            await self.infer(one("FP32", served.large()), timeout=httpx.Timeout(served.PATIENCE, read=0.001))
        await self.test_request_id_comes_back()

    async def test_early_refusals_arrive(self):
        for name, (_, size, key, status) in served.EARLY.items():
            model = "never-heard-of" if status == 404 else "echo-fp32"
            with self.subTest(name):
                for _ in range(served.TIMES):
                    ask = one("FP32", np.zeros((1, size // 4), np.float32), model=model)
                    await self.refused(status, None, self.infer(ask, key=key))
        await self.test_request_id_comes_back()


class GRPC(Calls, unittest.IsolatedAsyncioTestCase):
    # It has FP16 in raw bytes, as all of what it sends here.
    async def asyncSetUp(self):
        self.client = InferenceGRPCClient(served.ADDRESS, timeout=served.PATIENCE, retries=0)
        self.addAsyncCleanup(self.client.close)

    async def live(self):
        return await self.client.is_server_live(headers=METADATA)

    async def ready(self):
        return await self.client.is_server_ready(headers=METADATA)

    async def model_ready(self, model):
        return await self.client.is_model_ready(model, headers=METADATA)

    async def infer(self, ask, key=True, **more):
        return await self.client.infer(ask, headers=METADATA if key else (), **more)

    async def refused(self, _, code, call):
        with self.assertRaises(grpc.RpcError) as caught:
            await call
        self.assertEqual(caught.exception.code(), code)
        self.assertTrue(caught.exception.details())

    async def test_contents_by_data_type(self):
        """Without raw bytes: the fields of InferTensorContents."""
        for datatype, value in self.values.items():
            if datatype == "FP16":
                continue  # it has no field there
            with self.subTest(datatype):
                answer = await self.infer(one(datatype, value, binary=False))
                self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(value))

    async def test_deadline_leaves_the_channel_usable(self):
        with self.assertRaises(grpc.RpcError) as caught:
            await self.infer(one("FP32", served.large()), timeout=0.001)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        await self.test_request_id_comes_back()

    async def test_too_large_is_refused_beside_others(self):
        """Only its own call fails, of all on the channel."""
        over = one("FP32", np.zeros((1, 10 * served.MIB), np.float32))
        for _ in range(served.TIMES):
            calls = [self.infer(one("FP32", served.rows(i))) for i in range(8)]
            refused, *answers = await asyncio.gather(self.infer(over), *calls, return_exceptions=True)
            self.assertEqual(refused.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            for i, answer in enumerate(answers):
                if isinstance(answer, Exception):
                    raise answer
                self.assertEqual(served.plain(answer.outputs[0].as_numpy()), served.plain(served.rows(i)))


if __name__ == "__main__":
    served.show("kserve", "httpx", "grpcio", "numpy")
    logging.getLogger("kserve").setLevel(logging.CRITICAL)  # it logs what is refused on purpose
    unittest.main(verbosity=1)

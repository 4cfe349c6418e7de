"""MLServer's codecs: requests that they make, and answers that they read."""

import asyncio
import base64
import os
import unittest
from datetime import UTC, datetime
from importlib.metadata import version

import aiohttp
import grpc
import numpy as np
import pandas as pd
from mlserver.codecs import Base64Codec, DatetimeCodec, NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec, StringRequestCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2_grpc as dataplane
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, RequestOutput

ADDRESS = os.environ["CLIENTS_ADDRESS"]  # host:port
KEY = os.environ["CLIENTS_KEY"]

VALUES = {
    "BOOL": np.array([[True, False], [False, True]]),
    "FP16": np.array([[1.5, -2.25], [0, 65504]], np.float16),
    "FP32": np.array([[1.5, -2.25], [0, 3e38]], np.float32),
    "FP64": np.array([[1.5, -2.25], [0, 1e300]], np.float64),
    **{
        t.__name__.upper(): np.array([[np.iinfo(t).min, 1], [2, np.iinfo(t).max]], t)
        for t in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
    },
}


class Calls:
    async def test_numpy_of_every_datatype(self):
        for datatype, value in VALUES.items():
            with self.subTest(datatype):
                given = NumpyCodec.encode_input("x", value)
                self.assertEqual(given.datatype, datatype)
                answer = await self.infer("echo-" + datatype.lower(), InferenceRequest(inputs=[given]))
                got = NumpyCodec.decode_output(answer.outputs[0])
                self.assertEqual(got.dtype, value.dtype)
                self.assertEqual(got.tolist(), value.tolist())

    async def test_numpy_request(self):
        value = np.arange(4, dtype=np.float32).reshape(2, 2)
        request = NumpyRequestCodec.encode_request(value)
        request.inputs[0].name = "x"
        answer = await self.infer("echo-fp32", request)
        self.assertEqual(NumpyRequestCodec.decode_response(answer).tolist(), value.tolist())

    async def test_texts(self):
        texts = ["a", "", "zwölf", "あ"]
        given = StringCodec.encode_input("x", texts)
        self.assertEqual(list(given.shape), [4, 1])
        answer = await self.infer("echo-bytes", InferenceRequest(inputs=[given]))
        self.assertEqual(StringCodec.decode_output(answer.outputs[0]), texts)
        self.assertEqual(StringRequestCodec.decode_response(answer), texts)

    async def test_bytes_as_base64(self):
        data = [b"\x00\xff\xfe", b"plain"]
        given = Base64Codec.encode_input("x", data)
        answer = await self.infer("echo-bytes", InferenceRequest(inputs=[given]))
        self.assertEqual([base64.b64decode(v) for v in StringCodec.decode_output(answer.outputs[0])], data)

    async def test_times(self):
        times = [datetime(2026, 11, 29, 12, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)]
        answer = await self.infer("echo-bytes", InferenceRequest(inputs=[DatetimeCodec.encode_input("x", times)]))
        self.assertEqual(DatetimeCodec.decode_output(answer.outputs[0]), times)

    async def test_a_frame(self):
        frame = pd.DataFrame({"x": [1.5, -2.25, 0]})
        answer = await self.infer("echo-fp64", PandasCodec.encode_request(frame))
        self.assertEqual(PandasCodec.decode_response(answer)["y"].tolist(), frame["x"].tolist())

    async def test_several_outputs_and_asked_ones_alone(self):
        counts = np.array([[1, 2, 3], [4, 5, 2**62]], np.int64)
        inputs = [
            NumpyCodec.encode_input("numbers", np.array([[1.5, 2], [3, -4]], np.float32)),
            NumpyCodec.encode_input("counts", counts),
            StringCodec.encode_input("texts", ["one", "zwei"]),
        ]
        answer = await self.infer("several", InferenceRequest(inputs=inputs))
        outputs = {o.name: o for o in answer.outputs}
        self.assertEqual(set(outputs), {"doubled", "counted", "said"})
        self.assertEqual(NumpyCodec.decode_output(outputs["doubled"]).tolist(), [[3, 4], [6, -8]])
        self.assertEqual(NumpyCodec.decode_output(outputs["counted"]).tolist(), counts.tolist())
        self.assertEqual(StringCodec.decode_output(outputs["said"]), ["one", "zwei"])
        answer = await self.infer("several", InferenceRequest(inputs=inputs, outputs=[RequestOutput(name="said")]))
        self.assertEqual([o.name for o in answer.outputs], ["said"])

    async def test_many_at_once_get_their_own(self):
        async def one(i):
            value = np.full((1 + i % 3, 2), i, np.float32)
            answer = await self.infer("echo-fp32", InferenceRequest(id=str(i), inputs=[NumpyCodec.encode_input("x", value)]))
            self.assertEqual((answer.id, NumpyCodec.decode_output(answer.outputs[0]).tolist()), (str(i), value.tolist()))

        await asyncio.gather(*(one(i) for i in range(32)))

    async def test_a_refusal(self):
        with self.assertRaises(Exception) as caught:
            await self.infer("never-heard-of", InferenceRequest(inputs=[RequestInput(name="x", shape=[1, 1], datatype="FP32", data=[0])]))
        self.assertIn("never-heard-of", str(caught.exception))


class REST(Calls, unittest.IsolatedAsyncioTestCase):
    async def infer(self, model, request):
        async with aiohttp.ClientSession(headers={"X-API-Key": KEY, "Content-Type": "application/json"}) as session:
            async with session.post(f"http://{ADDRESS}/v2/models/{model}/infer", data=request.model_dump_json(exclude_none=True)) as answer:
                body = await answer.text()
                if answer.status != 200:
                    raise ValueError(body)
                return InferenceResponse.model_validate_json(body)


class GRPC(Calls, unittest.IsolatedAsyncioTestCase):
    async def infer(self, model, request):
        async with grpc.aio.insecure_channel(ADDRESS) as channel:
            request = request.model_copy(deep=True)  # the converter empties what it is given
            message = converters.ModelInferRequestConverter.from_types(request, model_name=model, model_version=None, use_raw=True)
            answer = await dataplane.GRPCInferenceServiceStub(channel).ModelInfer(message, metadata=(("x-api-key", KEY),), timeout=120)
            return converters.ModelInferResponseConverter.to_types(answer)


if __name__ == "__main__":
    print("versions: mlserver", version("mlserver"), flush=True)
    unittest.main(verbosity=1)

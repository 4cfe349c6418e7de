"""Every call of NVIDIA's client for the Open Inference Protocol, over HTTP and gRPC.

A call that the protocol defines works; one of Triton's own that it does not
(shared memory, trace and log settings) is answered with a proper error.

Run by the Go test beside it, which starts the platform and publishes models
that answer what they are asked: echo-fp32, echo-fp16, echo-int64, echo-bool and
echo-bytes, each x[-1,-1] -> y. The environment says where: E2E_ADDRESS, E2E_KEY.
"""

import os
import queue
import unittest

import numpy as np
import tritonclient.grpc as tgrpc
import tritonclient.http as thttp
from tritonclient.utils import InferenceServerException

ADDRESS = os.environ["E2E_ADDRESS"]
KEY = os.environ["E2E_KEY"]

VALUES = {
    "echo-fp32": ("FP32", np.array([[1.5, -2.25, 3e38], [0, float("inf"), float("-inf")]], np.float32)),
    "echo-fp16": ("FP16", np.array([[1.5, -2.25, 65504]], np.float16)),
    "echo-int64": ("INT64", np.array([[1, -(2**63), 2**63 - 1]], np.int64)),
    "echo-bool": ("BOOL", np.array([[True, False, True]])),
    "echo-bytes": ("BYTES", np.array([["a", "", "zwölf"], ["\u3042", "x" * 1000, "\n"]], object)),
}


def texts(array):
    """BYTES come back as bytes."""
    return [[v.decode() if isinstance(v, bytes) else v for v in row] for row in array]


class Calls:
    """What both clients can do; the wire and its quirks are in the subclasses.

    Each call gets headers of its own: the HTTP client writes into what it is given.
    """

    def test_health(self):
        self.assertTrue(self.client.is_server_live(headers=dict(self.headers)))
        self.assertTrue(self.client.is_server_ready(headers=dict(self.headers)))
        self.assertTrue(self.client.is_model_ready("echo-fp32", headers=dict(self.headers)))
        self.assertTrue(self.client.is_model_ready("echo-fp32", "1", headers=dict(self.headers)))
        self.assertFalse(self.ready("never-heard-of"))
        self.assertFalse(self.ready("echo-fp32", "99"))

    def test_unknown_model(self):
        for call in (
            lambda: self.client.get_model_metadata("never-heard-of", headers=dict(self.headers)),
            lambda: self.client.get_model_config("never-heard-of", headers=dict(self.headers)),
            lambda: self.client.load_model("never-heard-of", headers=dict(self.headers)),
            lambda: self.client.unload_model("never-heard-of", headers=dict(self.headers)),
            lambda: self.infer("never-heard-of", "FP32", np.zeros((1, 1), np.float32)),
        ):
            with self.assertRaises(InferenceServerException) as caught:
                call()
            self.assertIn(caught.exception.status(), ("404", "StatusCode.NOT_FOUND"))
            self.assertIn("never-heard-of", caught.exception.message())

    def test_every_datatype(self):
        for model, (datatype, value) in VALUES.items():
            with self.subTest(model):
                self.assertEqual(texts(self.infer(model, datatype, value)), texts(value.tolist()) if datatype == "BYTES" else value.tolist())

    def test_bad_input_names_the_field(self):
        for name, (model, datatype, value, tensor) in {
            "datatype": ("echo-fp32", "INT64", np.zeros((1, 1), np.int64), "x"),
            "rank": ("echo-fp32", "FP32", np.zeros((1, 1, 1), np.float32), "x"),
            "name": ("echo-fp32", "FP32", np.zeros((1, 1), np.float32), "z"),
        }.items():
            with self.subTest(name), self.assertRaises(InferenceServerException) as caught:
                self.infer(model, datatype, value, tensor=tensor)
            self.assertIn(caught.exception.status(), ("400", "StatusCode.INVALID_ARGUMENT"))
            self.assertIn("inputs", caught.exception.message())

    def test_request_id_and_priority(self):
        result = self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32), whole=True, request_id="order-1", priority=7, timeout=10_000_000)
        self.assertEqual(self.id_of(result), "order-1")

    def test_timeout_in_microseconds(self):
        with self.assertRaises(InferenceServerException) as caught:
            self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32), timeout=1)
        self.assertIn(caught.exception.status(), ("504", "StatusCode.DEADLINE_EXCEEDED"))

    def test_parameters(self):
        self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32), parameters={"note": "kept", "n": 3, "b": True})

    def test_load_and_unload(self):
        self.client.unload_model("echo-fp32", headers=dict(self.headers))
        self.assertTrue(self.client.is_model_ready("echo-fp32", headers=dict(self.headers)))
        self.client.load_model("echo-fp32", headers=dict(self.headers))
        self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32))

    def test_no_key(self):
        self.headers = {}
        with self.assertRaises(InferenceServerException) as caught:
            self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32))
        self.assertIn(caught.exception.status(), ("401", "StatusCode.UNAUTHENTICATED"))

    def ready(self, model, version=""):
        try:
            return self.client.is_model_ready(model, version, headers=dict(self.headers))
        except InferenceServerException:
            return False


class HTTP(Calls, unittest.TestCase):
    def setUp(self):
        self.client = thttp.InferenceServerClient(ADDRESS, concurrency=4)
        self.headers = {"X-API-Key": KEY}
        self.addCleanup(self.client.close)

    def infer(self, model, datatype, value, tensor="x", binary=True, binary_out=True, whole=False, **options):
        given = thttp.InferInput(tensor, list(value.shape), datatype)
        given.set_data_from_numpy(value, binary_data=binary)
        wanted = [thttp.InferRequestedOutput("y", binary_data=binary_out)]
        result = self.client.infer(model, [given], outputs=wanted, headers=dict(self.headers), **options)
        return result if whole else result.as_numpy("y").tolist()

    def id_of(self, result):
        return result.get_response()["id"]

    def test_metadata(self):
        server = self.client.get_server_metadata(headers=dict(self.headers))
        self.assertEqual(server["name"], "modelserve")
        self.assertIn("binary_tensor_data", server["extensions"])
        model = self.client.get_model_metadata("echo-fp32", headers=dict(self.headers))
        self.assertEqual(model["inputs"], [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}])
        self.assertEqual(model["versions"], ["1"])
        self.assertEqual(self.client.get_model_config("echo-fp32", headers=dict(self.headers))["name"], "echo-fp32")

    def test_json_and_binary_mixed(self):
        for model, (datatype, value) in VALUES.items():
            if datatype == "FP16" or model == "echo-fp32":  # this client writes neither FP16 nor infinities in JSON
                continue
            for binary in (True, False):
                for binary_out in (True, False):
                    with self.subTest(f"{model} in={binary} out={binary_out}"):
                        got = self.infer(model, datatype, value, binary=binary, binary_out=binary_out)
                        self.assertEqual(texts(got), texts(value.tolist()) if datatype == "BYTES" else value.tolist())

    def test_compression(self):
        value = np.zeros((64, 64), np.float32)
        for there in (None, "gzip", "deflate"):
            for back in (None, "gzip", "deflate"):
                with self.subTest(f"{there} {back}"):
                    got = self.infer("echo-fp32", "FP32", value, request_compression_algorithm=there, response_compression_algorithm=back)
                    self.assertEqual(got, value.tolist())

    def test_async(self):
        value = np.ones((1, 4), np.float32)
        given = thttp.InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(value)
        pending = [self.client.async_infer("echo-fp32", [given], headers=dict(self.headers)) for _ in range(16)]
        for p in pending:
            self.assertEqual(p.get_result().as_numpy("y").tolist(), value.tolist())

    def test_repository_and_statistics(self):
        rows = self.client.get_model_repository_index(headers=dict(self.headers))
        self.assertIn(("echo-fp32", "1", "READY"), [(r["name"], r["version"], r["state"]) for r in rows])
        self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32))
        stats = self.client.get_inference_statistics("echo-fp32", headers=dict(self.headers))["model_stats"]
        self.assertGreaterEqual(stats[0]["inference_stats"]["success"]["count"], 1)
        self.assertGreater(stats[0]["inference_count"], 0)

    def test_outside_the_protocol(self):
        for name, call in {
            "system shared memory": self.client.get_system_shared_memory_status,
            "cuda shared memory": self.client.get_cuda_shared_memory_status,
            "trace settings": self.client.get_trace_settings,
            "log settings": self.client.get_log_settings,
        }.items():
            with self.subTest(name), self.assertRaises(InferenceServerException) as caught:
                call(headers=dict(self.headers))
            self.assertEqual(caught.exception.status(), "404")


class GRPC(Calls, unittest.TestCase):
    def setUp(self):
        self.client = tgrpc.InferenceServerClient(ADDRESS)
        self.headers = {"x-api-key": KEY}
        self.addCleanup(self.client.close)

    def given(self, datatype, value, tensor="x"):
        given = tgrpc.InferInput(tensor, list(value.shape), datatype)
        given.set_data_from_numpy(value)
        return [given]

    def infer(self, model, datatype, value, tensor="x", whole=False, **options):
        result = self.client.infer(model, self.given(datatype, value, tensor), headers=dict(self.headers), **options)
        return result if whole else result.as_numpy("y").tolist()

    def id_of(self, result):
        return result.get_response().id

    def test_metadata(self):
        self.assertEqual(self.client.get_server_metadata(headers=dict(self.headers)).name, "modelserve")
        model = self.client.get_model_metadata("echo-fp32", headers=dict(self.headers))
        self.assertEqual([(t.name, t.datatype, list(t.shape)) for t in model.inputs], [("x", "FP32", [-1, -1])])
        self.assertEqual(self.client.get_model_config("echo-fp32", headers=dict(self.headers)).config.name, "echo-fp32")

    def test_repository_and_statistics(self):
        rows = self.client.get_model_repository_index(headers=dict(self.headers)).models
        self.assertIn(("echo-fp32", "1", "READY"), [(r.name, r.version, r.state) for r in rows])
        self.infer("echo-fp32", "FP32", np.zeros((1, 1), np.float32))
        stats = self.client.get_inference_statistics("echo-fp32", headers=dict(self.headers)).model_stats
        self.assertGreaterEqual(stats[0].inference_stats.success.count, 1)

    def test_compression(self):
        value = np.zeros((64, 64), np.float32)
        for algorithm in ("gzip", "deflate"):
            with self.subTest(algorithm):
                self.assertEqual(self.infer("echo-fp32", "FP32", value, compression_algorithm=algorithm), value.tolist())

    def test_async(self):
        answers = queue.Queue()
        value = np.ones((1, 4), np.float32)
        for _ in range(16):
            self.client.async_infer("echo-fp32", self.given("FP32", value), lambda result, error: answers.put((result, error)), headers=dict(self.headers))
        for _ in range(16):
            result, error = answers.get(timeout=60)
            self.assertIsNone(error)
            self.assertEqual(result.as_numpy("y").tolist(), value.tolist())

    def test_stream(self):
        answers = queue.Queue()
        self.client.start_stream(lambda result, error: answers.put((result, error)), headers=dict(self.headers))
        for i in range(8):
            model, shape = ("echo-fp32", (1, i + 1)) if i != 3 else ("never-heard-of", (1, 1))
            self.client.async_stream_infer(model, self.given("FP32", np.full(shape, i, np.float32)), request_id=str(i))
        for i in range(8):  # one bad request is answered in its turn, and the stream goes on
            result, error = answers.get(timeout=60)
            if i == 3:
                self.assertIn("never-heard-of", str(error))
                continue
            self.assertIsNone(error)
            self.assertEqual(result.get_response().id, str(i))
            self.assertEqual(result.as_numpy("y").shape, (1, i + 1))
        self.client.stop_stream()

    def test_outside_the_protocol(self):
        for name, call in {
            "system shared memory": self.client.get_system_shared_memory_status,
            "cuda shared memory": self.client.get_cuda_shared_memory_status,
            "trace settings": self.client.get_trace_settings,
            "log settings": self.client.get_log_settings,
        }.items():
            with self.subTest(name), self.assertRaises(InferenceServerException) as caught:
                call(headers=dict(self.headers))
            self.assertEqual(caught.exception.status(), "StatusCode.UNIMPLEMENTED")


if __name__ == "__main__":
    unittest.main(verbosity=1)

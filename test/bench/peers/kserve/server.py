"""KServe's Python server: V2 over REST, binary tensors where the client sends
them and asks for them, else JSON. It has no batching of its own: the agent
beside it does that, a Go program for its V1 protocol. WORKERS is its own
option.

It listens on every address and knows no option for another; a benchmark has no
business on the network, so that is replaced."""

import os

import uvicorn
from kserve import InferOutput, InferResponse
from kserve import Model as KServeModel
from kserve import ModelServer
from kserve.logging import KSERVE_LOG_CONFIG
from kserve.protocol.rest.multiprocess.server import RESTServerProcess
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid

from model import Model

# A line for each request is the access log's and the trace's; ours writes none.
for logger in KSERVE_LOG_CONFIG["loggers"].values():
    logger["level"] = "WARNING"


class ONNX(KServeModel):
    def __init__(self, model):
        super().__init__(model.name)
        self.model = model
        self.ready = True

    # A plain function would be called on the event loop just the same.
    async def predict(self, payload, headers=None, response_headers=None):
        by_name = {i.name: i for i in payload.inputs}
        arrays = [by_name[name].as_numpy() for name, _, _ in self.model.inputs]
        outputs = []
        for name, array in zip(self.model.outputs, self.model.run([arrays])[0]):
            output = InferOutput(name, list(array.shape), from_np_dtype(array.dtype))
            output.set_data_from_numpy(array, binary_data=bool(payload.use_binary_outputs))
            outputs.append(output)
        return InferResponse(payload.id or generate_uuid(), self.name, outputs, use_binary_outputs=payload.use_binary_outputs)


def patiently():
    """A worker that is still importing answers no ping: with the 5 s that it
    comes with, a busy machine restarts its workers for ever."""
    RESTServerProcess.is_alive.__defaults__ = (60,)


def on_loopback():
    original = uvicorn.Config.__init__

    def init(self, app, host="127.0.0.1", **more):
        del host
        original(self, app, host="127.0.0.1", **more)

    uvicorn.Config.__init__ = init


if __name__ == "__main__":
    on_loopback()
    patiently()
    ModelServer(
        http_port=int(os.environ["PORT"]), enable_grpc=False, workers=int(os.environ["WORKERS"]), enable_latency_logging=False
    ).start([ONNX(Model())])

"""MLServer's runtime: V2 over REST. It knows no binary tensors there, so where
FORMAT is not "json" each row is one base64 string, which costs it far less than
a number in JSON for each element."""

import base64
import os

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, Parameters, ResponseOutput

from model import Model

JSON = os.environ["FORMAT"] == "json"
DATATYPES = {"float32": "FP32", "int32": "INT32"}


class ONNX(MLModel):
    async def load(self):
        self.model = Model()
        return True

    async def predict(self, payload):
        outputs = self.numbers(payload) if JSON else self.strings(payload)
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def numbers(self, payload):
        by_name = {i.name: i for i in payload.inputs}
        arrays = [np.asarray(by_name[n].data.root, dtype).reshape(by_name[n].shape) for n, dtype, _ in self.model.inputs]
        outputs = self.model.run([arrays])[0]
        return [
            ResponseOutput(name=name, shape=list(o.shape), datatype=DATATYPES[str(o.dtype)], data=o.ravel().tolist())
            for name, o in zip(self.model.outputs, outputs)
        ]

    def strings(self, payload):
        """One input "rows", a string of base64 for each request that the batcher joined."""
        requests = [self.model.parse(base64.b64decode(text)) for text in payload.inputs[0].data.root]
        rows = [base64.b64encode(b"".join(o.tobytes() for o in answer)).decode("ascii") for answer in self.model.run(requests)]
        parameters = Parameters(content_type="base64")
        return [ResponseOutput(name="rows", shape=[len(rows), 1], datatype="BYTES", data=rows, parameters=parameters)]

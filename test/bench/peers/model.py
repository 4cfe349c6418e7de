"""A model in ONNX Runtime as the peers' handlers run it: one thread to a run,
which does not spin, as in our own functions.

SPEC, in the environment, is a JSON file:
  {"name", "path", "joins", "inputs": [{"name", "datatype", "shape"}]}
shape is that of a request of one row; where joins is true, requests are joined
along the first axis of every input and parted along that of every output.
"""

import json
import math
import os

import numpy as np
import onnxruntime

DTYPES = {"FP32": np.float32, "INT32": np.int32}


class Model:
    def __init__(self):
        with open(os.environ["SPEC"], encoding="utf-8") as f:
            spec = json.load(f)
        self.name, self.joins = spec["name"], spec["joins"]
        self.inputs = [(i["name"], np.dtype(DTYPES[i["datatype"]]), i["shape"]) for i in spec["inputs"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.run([[np.zeros(shape, dtype) for _, dtype, shape in self.inputs]])

    def __reduce__(self):
        return Model, ()  # a worker of its own process loads the model itself

    def run(self, requests):
        """Answer requests, each a list of arrays in the order of the inputs."""
        if len(requests) > 1 and not self.joins:
            return [self.run([one])[0] for one in requests]
        if len(requests) == 1:
            joined = requests[0]
        else:
            joined = [np.concatenate(parts) for parts in zip(*requests)]
        outputs = self.session.run(None, {name: x for (name, _, _), x in zip(self.inputs, joined)})
        if len(requests) == 1:
            return [outputs]
        at = np.cumsum([len(one[0]) for one in requests])[:-1]
        return [list(parts) for parts in zip(*(np.split(o, at) for o in outputs))]

    def parse(self, body):
        """The arrays of one request whose body is their bytes, one behind the other."""
        arrays, offset = [], 0
        for _, dtype, shape in self.inputs:
            count = math.prod(shape)
            arrays.append(np.frombuffer(body, dtype, count, offset).reshape(shape))
            offset += count * dtype.itemsize
        return arrays

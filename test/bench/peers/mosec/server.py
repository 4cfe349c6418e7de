"""mosec: raw bytes of the tensors in and out, the cheapest it has, or its own
JSON where FORMAT is "json". WORKERS processes run the model; BATCH is the most
requests in a batch, 1 for none."""

import os

import numpy as np
from mosec import Server, Worker

from model import Model

BATCH = int(os.environ["BATCH"])


class Raw(Worker):
    req_mime_type = resp_mime_type = "application/octet-stream"

    def __init__(self):
        super().__init__()
        self.model = Model()

    def deserialize(self, data):
        return self.model.parse(data)

    def serialize(self, data):
        return data[0].tobytes() if len(data) == 1 else b"".join(o.tobytes() for o in data)

    def forward(self, data):
        return self.model.run(data) if BATCH > 1 else self.model.run([data])[0]


class JSON(Worker):
    """{"x": [[…]]} in, {"y": [[…]]} out, by mosec's own (de)serializers."""

    def __init__(self):
        super().__init__()
        self.model = Model()

    def arrays(self, data):
        return [np.asarray(data[name], dtype) for name, dtype, _ in self.model.inputs]

    def forward(self, data):
        answers = self.model.run([self.arrays(d) for d in (data if BATCH > 1 else [data])])
        answers = [dict(zip(self.model.outputs, (o.tolist() for o in a))) for a in answers]
        return answers if BATCH > 1 else answers[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(JSON if os.environ["FORMAT"] == "json" else Raw, num=int(os.environ["WORKERS"]), max_batch_size=BATCH)
    server.run()

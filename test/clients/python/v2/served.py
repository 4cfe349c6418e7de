"""What the platform serves to the Python clients, and values of each data type.

The Go test publishes the models: of each data type one, "echo-fp32" and so on,
that answers x[-1,-1] as y; and "several", which doubles numbers[-1,2] and gives
counts[-1,3] and texts[-1,-1] back, as "doubled", "counted" and "said".
"""

import asyncio
import logging
import os
from importlib.metadata import version

import ml_dtypes
import numpy as np

ADDRESS = os.environ["CLIENTS_ADDRESS"]  # host:port
KEY = os.environ["CLIENTS_KEY"]
URL = "http://" + ADDRESS

AT_ONCE = 32
TIMES = 6  # an early refusal that breaks off does so now and then, not always
PATIENCE = 120  # seconds: the machine may be busy

MIB = 1 << 20


def integers(dtype):
    bounds = np.iinfo(dtype)
    return np.array([[0, 1, 2], [bounds.min, bounds.max, bounds.max // 3]], dtype)


def floats(dtype, most):
    return np.array([[0.0, -0.0, 1.5, -2.25], [most, -most, np.inf, -np.inf]], dtype)


VALUES = {
    "BOOL": np.array([[True, False, True], [False, False, True]]),
    "UINT8": integers(np.uint8),
    "UINT16": integers(np.uint16),
    "UINT32": integers(np.uint32),
    "UINT64": integers(np.uint64),
    "INT8": integers(np.int8),
    "INT16": integers(np.int16),
    "INT32": integers(np.int32),
    "INT64": integers(np.int64),
    "FP16": floats(np.float16, 65504),
    "BF16": floats(ml_dtypes.bfloat16, 3.3895314e38),
    "FP32": floats(np.float32, np.finfo(np.float32).max),
    "FP64": floats(np.float64, np.finfo(np.float64).max),
    "BYTES": np.array([["a", "", "zwölf"], ["\u3042", "x" * 1000, 'a "quoted"\n\\line']], object),
}


def model_of(datatype):
    return "echo-" + datatype.lower()


def plain(array):
    """An array as nested lists: BYTES as str, numbers and infinities as they are."""
    return [[v.decode() if isinstance(v, bytes) else v for v in row] for row in array.tolist()]


def exact(numbers, dtype):
    """Numbers from JSON, infinities among them, as a data type holds them."""
    return [v if isinstance(v, (bool, str)) and dtype.kind in "bO" else np.array(float(v) if dtype.kind in "fV" else v).astype(dtype).item() for v in numbers]


def rows(i):
    """The rows of caller i, like no other caller's, in a size of their own."""
    return np.arange(i * 1000, i * 1000 + 4 * (1 + i % 5), dtype=np.float32).reshape(-1, 4)


SEVERAL = {
    "numbers": np.array([[1.5, 2], [3, -4]], np.float32),
    "counts": np.array([[1, 2, 3], [4, 5, 2**62]], np.int64),
    "texts": np.array([["one"], ["zwei"]], object),
}
SEVERAL_TYPES = {"numbers": "FP32", "counts": "INT64", "texts": "BYTES"}
SEVERAL_ANSWER = {
    "doubled": [[3, 4], [6, -8]],
    "counted": [[1, 2, 3], [4, 5, 2**62]],
    "said": [["one"], ["zwei"]],
}

# Refused before the body is read: what is asked, with how large a body, and the
# answer. The path has the model's name; the key is left out where there is none.
EARLY = {
    "a body over the bound": ("/v2/models/echo-fp32/infer", 40 * MIB, True, 413),
    "an unknown model": ("/v2/models/never-heard-of/infer", 5 * MIB, True, 404),
    "no key": ("/v2/models/echo-fp32/infer", 5 * MIB, False, 401),
}


def large():
    """20 MB of float32, in a few long rows."""
    return np.arange(5_000_000, dtype=np.float32).reshape(5, -1)


BUSY = "memory for requests is in use"


async def patiently(call):
    """What call() gives, which comes again while others' large requests have all memory."""
    for _ in range(100):
        try:
            answer = await call()
        except Exception as e:
            if BUSY not in str(e):
                raise
        else:
            if BUSY not in str(getattr(answer, "text", "")[:300]):
                return answer
        await asyncio.sleep(1)  # as Retry-After says
    raise TimeoutError(BUSY)


def show(*packages):
    """Prints which versions run, and keeps asyncio from logging what takes long."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    print("versions:", ", ".join(f"{p} {version(p)}" for p in packages), flush=True)

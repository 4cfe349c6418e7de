# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "onnxruntime==1.31.1", "packaging", "typing_extensions", "soundfile==0.14.0", "silero-vad==6.2.3"]
# ///
"""Makes the inputs and the reference answers of speech-detect.

    test/golden/make.sh [--inputs]

It writes functions/speech-detect/testdata/*.wav, synthesised and generated,
so free of anyone's rights, and golden.json beside them with silero-vad's own
answers. The recordings are made once (the voice is eSpeak NG 1.51): with
--answers only golden.json is written again.

The decisions are silero_vad.get_speech_timestamps_sequence with its defaults.
Its probabilities are also checked against silero_vad.onnx, one window a run,
as the stock get_speech_timestamps calls it. PyTorch is not needed: silero-vad
imports it at its top, and uses it only for what is not used here; a stand-in
answers the import. Files of other rates are resampled as silero-vad's
read_audio does, by torchaudio.transforms.Resample, whose kernel is written out
below in numpy.
"""

import json
import math
import pathlib
import struct
import subprocess
import sys
import types

import numpy as np
import onnxruntime
import soundfile

RATE = 16000
HERE = pathlib.Path(__file__).resolve().parents[2] / "functions/speech-detect/testdata"


def stand_in_for_torch():
    torch = types.ModuleType("torch")
    torch.set_num_threads = lambda n: None
    torch.no_grad = lambda: lambda f: f
    torch.Tensor = torch.device = object
    torch.device = lambda name: name
    sys.modules["torch"] = torch


stand_in_for_torch()
import silero_vad  # noqa: E402
from silero_vad.sequence_vad import frame_blocks, get_speech_timestamps_sequence  # noqa: E402


def resample(x, orig, new):
    """torchaudio 2.11's _get_sinc_resample_kernel and _apply_sinc_resample_kernel."""
    gcd = math.gcd(orig, new)
    orig, new = orig // gcd, new // gcd
    width_zeros, rolloff = 6, 0.99
    base = min(orig, new) * rolloff
    width = math.ceil(width_zeros * orig / base)
    idx = np.arange(-width, width + orig)[None] / orig
    t = np.clip((np.arange(0, -new, -1)[:, None] / new + idx) * base, -width_zeros, width_zeros)
    window = np.cos(t * math.pi / width_zeros / 2) ** 2
    kernels = (np.sinc(t) * window * base / orig).astype(np.float32)
    padded = np.pad(x, (width, width + orig))
    frames = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::orig]
    return (frames @ kernels.T).reshape(-1)[: math.ceil(new * len(x) / orig)].astype(np.float32)


def say(text, voice, rate):
    """Speech of a synthetic voice, mono float at the rate."""
    out = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", "150", "--stdout", text], check=True, capture_output=True
    ).stdout
    pcm = np.frombuffer(out[44:], "<i2").astype(np.float32) / 32768
    return resample(pcm, 22050, rate)


def quiet(seconds, rate, level=0.0, seed=1):
    return (np.random.default_rng(seed).standard_normal(int(seconds * rate)) * level).astype(np.float32)


def wav(name, x, rate, kind, extensible=False, before=b"", streamed=False):
    """Writes x [frames] or [frames, channels] as a WAV; kind is u8, i16, i24, i32, f32 or f64."""
    x = x[:, None] if x.ndim == 1 else x
    x = np.clip(x, -1, 1 - 2**-23).astype(np.float64)
    bits = int(kind[1:])
    if kind == "u8":
        data = np.round(x * 127 + 128).astype("u1").tobytes()
    elif kind == "i24":
        data = (np.round(x * (2**23 - 1)).astype("<i4").reshape(-1, 1).view("u1").reshape(-1, 4)[:, :3]).tobytes()
    elif kind[0] == "i":
        data = np.round(x * (2 ** (bits - 1) - 1)).astype(f"<i{bits // 8}").tobytes()
    else:
        data = x.astype(f"<f{bits // 8}").tobytes()
    channels = x.shape[1]
    tag = 3 if kind[0] == "f" else 1
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * frame, frame, bits)
    if extensible:
        fmt += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", tag)
        fmt += bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + before
    size = 0xFFFFFFFF if streamed else len(data)
    body = chunks + b"data" + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)
    riff = 0xFFFFFFFF if streamed else len(body) + 4
    (HERE / name).write_bytes(b"RIFF" + struct.pack("<I", riff) + b"WAVE" + body)


def make_recordings():
    HERE.mkdir(parents=True, exist_ok=True)
    pause = lambda s, rate: quiet(s, rate, 0.001)  # noqa: E731
    speech = np.concatenate([
        pause(0.4, RATE), say("The kettle is on the stove.", "en-us", RATE),
        pause(0.7, RATE), say("Please bring two cups.", "en-gb", RATE), pause(0.5, RATE),
    ])
    wav("speech.wav", speech, RATE, "i16")

    left = np.concatenate([pause(0.3, 8000), say("Guten Morgen, wie geht es Ihnen?", "de", 8000), pause(0.4, 8000)])
    right = quiet(len(left) / 8000, 8000, 0.003, 2)[: len(left)]
    wav("stereo-8k.wav", np.stack([left, right], 1), 8000, "i16", before=b"LIST\x05\0\0\0INFO \0")

    wav("studio-44k-24bit.wav", np.concatenate([pause(0.2, 44100), say("One, two.", "en-us", 44100), pause(0.3, 44100)]), 44100, "i24")
    wav("float-22k-extensible.wav", np.concatenate([say("Bonjour tout le monde.", "fr", 22050), pause(0.3, 22050)]), 22050, "f32", extensible=True)
    wav("noise-8bit.wav", quiet(2, RATE, 0.1, 3), RATE, "u8")
    tones = sum(0.2 * np.sin(2 * np.pi * f * np.arange(RATE) / RATE) for f in (220.0, 440.0, 660.0))
    wav("tones-32bit.wav", tones, RATE, "i32")
    wav("silence-streamed.wav", quiet(1, RATE), RATE, "i16", streamed=True)
    noisy = np.concatenate([pause(0.5, RATE), say("Can you hear me?", "en-us", RATE) * 0.3, pause(0.3, RATE)])
    wav("noisy-double.wav", noisy[: RATE * 3 // 2] + quiet(1.5, RATE, 0.02, 4)[: len(noisy[: RATE * 3 // 2])], RATE, "f64")


def one_window_a_run(audio):
    path = pathlib.Path(silero_vad.__file__).parent / "data/silero_vad.onnx"
    session = onnxruntime.InferenceSession(str(path))
    state, found = np.zeros((2, 1, 128), np.float32), []
    for row in frame_blocks(audio, 512, 64, 1):
        p, state = session.run(None, {"input": row, "state": state, "sr": np.array(RATE)})
        found.append(p[0, 0])
    return np.array(found, np.float32)


def main():
    if "--answers" not in sys.argv:
        make_recordings()
    model = silero_vad.load_silero_vad(sequence=True)
    golden = {}
    for path in sorted(HERE.glob("*.wav")):
        x, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = x.mean(axis=1, dtype=np.float32)
        audio = mono if rate == RATE else resample(mono, rate, RATE)
        probabilities = model.audio_forward(audio)
        assert np.abs(probabilities - one_window_a_run(audio)).max() < 1e-6, path
        golden[path.name] = {
            "duration": len(x) / rate,
            "samples": len(audio),
            "probabilities": [round(float(p), 6) for p in probabilities],
            "segments": get_speech_timestamps_sequence(audio, model),
        }
        print(path.name, golden[path.name]["segments"])
    (HERE / "golden.json").write_text(
        "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n"
    )


if __name__ == "__main__":
    main()

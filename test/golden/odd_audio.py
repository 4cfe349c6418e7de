# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "soundfile==0.14.0"]
# ///
"""Makes WAVs as programs write them, and records how each is to be read.

    test/golden/make.sh --inputs

It writes codec/audio/testdata/odd/: short recordings by the
programs that people use (SoX, arecord, FFmpeg, libsndfile, Python), and the
same ones bent in the ways that public bug reports describe. golden.json has
for each the reading, libsndfile's: its rate, its frames, and every so many of
its samples, channels averaged. Or the words that our refusal has to hold.
Where libsndfile reads a file as silence that is not, or does not read it, the
file is to be read like another that it names. With --answers the files stay
and the readings are made again.
"""

import io
import json
import pathlib
import struct
import subprocess
import sys
import wave

import numpy as np
import soundfile

HERE = pathlib.Path(__file__).resolve().parents[2] / "codec/audio/testdata/odd"
RATE, FRAMES, SHOWN = 8000, 601, 40

made: dict[str, bytes] = {}
refused: dict[str, str] = {}
like: dict[str, str] = {}


def put(name, data, refuse=None, same=None):
    made[name] = bytes(data)
    if refuse:
        refused[name] = refuse
    if same:
        like[name] = same


def run(*command, data=None):
    return subprocess.run([str(c) for c in command], input=data, check=True, capture_output=True).stdout


def pcm(channels=1):
    t = np.arange(FRAMES) / RATE
    x = np.stack([np.sin(2 * np.pi * (300 + 170 * c) * t) * (0.7 - 0.1 * c) * (1 - t * 6) for c in range(channels)], 1)
    return np.round(x * 32767).astype("<i2")


def at_top(bits, width):
    """The samples in as many bytes, in the upper of their bits."""
    return [(int(v) << 16 >> 32 - bits << 8 * width - bits).to_bytes(width, "little", signed=True) for v in pcm()[:, 0]]


def fmt(channels=1, bits=16, tag=1, more=b"", frame=None):
    frame = channels * bits // 8 if frame is None else frame
    return struct.pack("<HHIIHH", tag, channels, RATE, RATE * frame, frame, bits) + more


def chunk(kind, data, size=None, pad=True):
    return kind + struct.pack("<I", len(data) if size is None else size) + data + (b"\0" * (len(data) % 2) if pad else b"")


def riff(*parts, size=None, form=b"RIFF", kind=b"WAVE"):
    body = kind + b"".join(parts)
    return form + struct.pack("<I", len(body) if size is None else size) + body


def by_programs():
    mono, stereo = pcm().tobytes(), pcm(2).tobytes()
    sox = ["sox", "-t", "raw", "-r", RATE, "-e", "signed", "-b", 16]
    for channels, data in ((1, mono), (2, stereo), (3, pcm(3).tobytes()), (6, pcm(6).tobytes())):
        put(f"sox-pipe-{channels}.wav", run(*sox, "-c", channels, "-", "-t", "wav", "-", data=data))
        for bits in (8, 24, 32):
            put(f"sox-pipe-{channels}x{bits}.wav", run(*sox, "-c", channels, "-", "-b", bits, "-t", "wav", "-", data=data))
    put("sox-float.wav", run(*sox, "-c", 1, "-", "-e", "float", "-b", 32, "-t", "wav", "-", data=mono))
    put("sox-double.wav", run(*sox, "-c", 2, "-", "-e", "float", "-b", 64, "-t", "wav", "-", data=stereo))
    put("sox-wavpcm.wav", run(*sox, "-c", 1, "-", "-b", 24, "-t", "wavpcm", "-", data=mono))
    put("sox-mu-law.wav", run(*sox, "-c", 1, "-", "-e", "mu-law", "-t", "wav", "-", data=mono), refuse="mu-law")
    put("sox-a-law.wav", run(*sox, "-c", 1, "-", "-e", "a-law", "-t", "wav", "-", data=mono), refuse="A-law")
    put("sox-ima.wav", run(*sox, "-c", 1, "-", "-e", "ima-adpcm", "-t", "wav", "-", data=mono), refuse="IMA ADPCM")
    put("sox-gsm.wav", run(*sox, "-c", 1, "-", "-e", "gsm", "-t", "wav", "-", data=mono), refuse="GSM 6.10")
    put("sox.aiff", run(*sox, "-c", 1, "-", "-t", "aiff", "-", data=mono), refuse="it is AIFF")
    put("sox.au", run(*sox, "-c", 1, "-", "-t", "au", "-", data=mono), refuse="it is AU")
    put("sox.w64", run(*sox, "-c", 1, "-", "-t", "w64", "-", data=mono), refuse="it is Wave64")

    plain = riff(chunk(b"fmt ", fmt()), chunk(b"data", mono))
    ffmpeg = ["ffmpeg", "-v", "error", "-f", "s16le", "-ar", RATE, "-i", "-"]
    for codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"):
        put(f"ffmpeg-pipe-{codec}.wav", run(*ffmpeg, "-c:a", codec, "-f", "wav", "-", data=mono))
    put("ffmpeg-tags.wav", run(*ffmpeg, "-metadata", "title=A title", "-metadata", "artist=x", "-f", "wav", "-", data=mono))
    put("ffmpeg-bext.wav", run(*ffmpeg, "-write_bext", "1", "-metadata", "description=odd", "-f", "wav", "-", data=mono))
    put("ffmpeg-exact.wav", run(*ffmpeg, "-bitexact", "-f", "wav", "-", data=mono))
    put("ffmpeg-rf64.wav", run(*ffmpeg, "-rf64", "always", "-f", "wav", "-", data=mono), same="plain.wav")
    put("ffmpeg-51.wav", run("ffmpeg", "-v", "error", "-f", "s16le", "-ar", RATE, "-ac", 6, "-i", "-", "-f", "wav", "-", data=pcm(6).tobytes()))
    for suffix, words in {"flac": "it is FLAC", "ogg": "it is Ogg", "mp3": "it is MP3"}.items():
        put(f"ffmpeg.{suffix}", run(*ffmpeg, "-f", suffix, "-", data=mono), refuse=words)
    put("ffmpeg.webm", run(*ffmpeg, "-ar", 48000, "-c:a", "libopus", "-f", "webm", "-", data=mono), refuse="it is WebM")
    put("ffmpeg-mp3.wav", run(*ffmpeg, "-c:a", "mp3", "-f", "wav", "-", data=mono), refuse="MP3")
    put("ffmpeg-adpcm.wav", run(*ffmpeg, "-c:a", "adpcm_ms", "-f", "wav", "-", data=mono), refuse="Microsoft ADPCM")

    # The null device records silence; a pipe shows what arecord puts in sizes.
    header = subprocess.run(["sh", "-c", f"arecord -q -D null -f S16_LE -r {RATE} -t wav 2>/dev/null | head -c 44"], capture_output=True, check=True).stdout
    put("arecord-pipe.wav", header + mono)
    header = subprocess.run(["sh", "-c", f"arecord -q -D null -f S24_3LE -c 2 -r {RATE} -t wav 2>/dev/null | head -c 44"], capture_output=True, check=True).stdout
    put("arecord-pipe-24.wav", header + made["sox-pipe-2x24.wav"][-FRAMES * 6 :])
    b = io.BytesIO()
    with wave.open(b, "wb") as w:
        w.setparams((1, 2, RATE, 0, "NONE", ""))
        w.writeframes(mono)
    put("python.wav", b.getvalue())
    for kind, subtype in {"WAV": "PCM_U8", "WAVEX": "PCM_24", "RF64": "PCM_16"}.items():
        b = io.BytesIO()
        soundfile.write(b, pcm(2), RATE, format=kind, subtype=subtype)
        put(f"libsndfile-{kind.lower()}.wav", b.getvalue())
    b = io.BytesIO()
    soundfile.write(b, pcm(), RATE, format="WAV", subtype="FLOAT")
    put("libsndfile-float-peak.wav", b.getvalue())
    put("plain.wav", plain)


def bent():
    mono = pcm().tobytes()
    plain, body = made["plain.wav"], chunk(b"fmt ", fmt())
    for name, (whole, data) in {
        "ffffffff": (0xFFFFFFFF, 0xFFFFFFFF), "header-off": (0xFFFFFFFF, 0xFFFFFFDB), "header-added": (35, 0xFFFFFFFF),
        "7fffffff": (0x7FFFFFFF, 0x7FFFFFFF), "7fffe000": (0x7FFFE024, 0x7FFFE000), "80000000": (0x80000024, 0x80000000),
        "data-only": (len(plain) - 8, 0xFFFFFFFF),
    }.items():
        put(f"sizes-{name}.wav", riff(body, chunk(b"data", mono, size=data), size=whole), same="plain.wav")
    for name, (whole, data) in {"zeros": (0, 0), "header-only": (36, 0), "streaming": (0xFFFFFFFF, 0), "riff-right": (len(plain) - 8, 0)}.items():
        put(f"sizes-{name}.wav", riff(body, chunk(b"data", mono, size=data), size=whole), same="plain.wav")
    for name, (whole, data) in {"cut-44": (44, 0xFFFFFFFF), "cut-500": (500, 0xFFFFFFFF), "cut-501": (501, 0x80000000), "cut-zero": (500, 0)}.items():
        put(f"riff-{name}.wav", riff(body, chunk(b"data", mono, size=data), size=whole), same="plain.wav")
    for name, whole in {"short": 40, "zero": 0, "long": 5000, "huge": 0x40000000}.items():
        put(f"riff-{name}.wav", riff(body, chunk(b"data", mono), size=whole))
    info = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60\0"))
    odd = chunk(b"note", b"odd")
    for name, before in {
        "list": info, "bext": chunk(b"bext", b"\0" * 602), "fact": chunk(b"fact", struct.pack("<I", FRAMES)), "junk": chunk(b"JUNK", b"\0" * 28),
        "odd": odd, "odd-unpadded": chunk(b"note", b"odd", pad=False), "cue": chunk(b"cue ", struct.pack("<I", 0)), "empty": chunk(b"ixml", b""), "id3": chunk(b"id3 ", b"ID3\4\0"),
    }.items():
        # libsndfile does not find the chunk behind one that is not padded.
        put(f"before-{name}.wav", riff(body, before, chunk(b"data", mono)), same="plain.wav" if name == "odd-unpadded" else None)
        put(f"behind-{name}.wav", riff(body, chunk(b"data", mono), before))
    put("before-all-id3.wav", b"ID3\4\0\0\0\0\1\2" + b"\0" * 130 + plain, same="plain.wav")  # libsndfile ends as much too soon
    put("before-fmt.wav", riff(info, body, chunk(b"data", mono)))
    put("behind-cut.wav", riff(body, chunk(b"data", mono), chunk(b"LIST", b"INFO", size=400)))
    put("behind-riff.wav", plain + b"TAG" + b"\0" * 125)
    tag = b"TAG" + b"\0" * 125
    for name, tail in {"list": info, "tag": tag}.items():  # libsndfile hears them as samples
        put(f"sizes-behind-{name}.wav", riff(body, chunk(b"data", mono, size=0xFFFFFFFF)) + tail, same="plain.wav")
    half, empty = chunk(b"data", mono[:600]), chunk(b"data", b"")
    rest, whole = chunk(b"data", mono[600:]), chunk(b"data", mono)
    for name, parts in {"two": [half, rest], "between": [half, info, rest], "three": [half, empty, rest], "again": [whole, whole], "cut": [half, whole[:-9]]}.items():
        put(f"data-{name}.wav", riff(body, *parts), refuse="in several data chunks")
    for name, parts in {"empty-first": [empty, whole], "empty-list": [empty, info, whole], "empty-last": [whole, empty], "empty-twice": [empty, empty, whole, odd]}.items():
        put(f"data-{name}.wav", riff(body, *parts), same="plain.wav")  # libsndfile reads none of these
    put("data-empty-all.wav", riff(body, empty, empty, info), same="empty.wav")
    put("fmt-18.wav", riff(chunk(b"fmt ", fmt(more=b"\0\0")), chunk(b"data", mono)))
    put("fmt-40-plain.wav", riff(chunk(b"fmt ", fmt(more=b"\0" * 24)), chunk(b"data", mono)))
    put("byte-rate-wrong.wav", riff(chunk(b"fmt ", fmt()[:8] + b"\0\0\0\0" + fmt()[12:]), chunk(b"data", mono)))
    three = made["sox-pipe-1x24.wav"][-FRAMES * 3 :]
    put("pad-counted.wav", riff(chunk(b"fmt ", fmt(bits=24)), chunk(b"data", three + b"\0", size=len(three) + 1)))
    put("pad-missing.wav", riff(chunk(b"fmt ", fmt(bits=24)), chunk(b"data", three, pad=False)))
    put("pad-counted-missing.wav", riff(chunk(b"fmt ", fmt(bits=24)), chunk(b"data", three, size=len(three) + 1, pad=False)))
    put("half-a-frame.wav", riff(body, chunk(b"data", mono + b"\1")))
    put("empty.wav", riff(body, chunk(b"data", b"")))
    put("empty-list.wav", riff(body, chunk(b"data", b""), info))
    for bits, frame in ((12, 2), (9, 2), (20, 3), (17, 3), (31, 4)):
        put(f"bits-{bits}.wav", riff(chunk(b"fmt ", fmt(bits=bits, frame=frame)), chunk(b"data", b"".join(at_top(bits, frame)))))
    for channels, name in ((1, "bits-24-in-32"), (2, "bits-24-in-32-stereo")):  # libsndfile takes steps of three bytes in most of these
        data = b"".join(channels * v for v in at_top(24, 4))
        put(f"{name}.wav", riff(chunk(b"fmt ", fmt(channels, bits=24, frame=4 * channels)), chunk(b"data", data)), same="extensible-1-32-24.wav")
    for bits in (8, 16, 24, 32):
        put(f"frame-zero-{bits}.wav", riff(chunk(b"fmt ", fmt(bits=bits, frame=0)), chunk(b"data", mono[: FRAMES // 3 * 6])))
    put("frame-zero-float.wav", riff(chunk(b"fmt ", fmt(bits=32, tag=3, frame=0)), chunk(b"data", (pcm() / 32768).astype("<f4").tobytes())))
    put("frame-odd.wav", riff(chunk(b"fmt ", fmt(frame=7)), chunk(b"data", mono)), refuse="frames of 7 bytes")
    put("bits-4.wav", riff(chunk(b"fmt ", fmt(bits=4, frame=1)), chunk(b"data", mono)), refuse="4 bits")
    guid = bytes.fromhex("000000001000800000aa00389b71")
    for bits, valid, tag in ((16, 16, 1), (24, 20, 1), (32, 24, 1), (32, 32, 3)):
        more = struct.pack("<HHIH", 22, valid, 4, tag) + guid
        x = pcm()[:, 0].astype(np.float64) / 32768
        data = x.astype("<f4").tobytes() if tag == 3 else b"".join(int(v * 2 ** (bits - 1)).to_bytes(bits // 8, "little", signed=True) for v in x)
        put(f"extensible-{tag}-{bits}-{valid}.wav", riff(chunk(b"fmt ", fmt(bits=bits, tag=0xFFFE, more=more)), chunk(b"data", data)))
    for name, subtype, words in (("ambisonic", "00002107d3118644c8c1ca000000", "Ambisonic B-format"), ("sub-format", "00002107d3118644c8c1ca000001", "sub-format")):
        more = struct.pack("<HHIH", 22, 16, 0, 1) + bytes.fromhex(subtype)
        put(f"{name}.wav", riff(chunk(b"fmt ", fmt(tag=0xFFFE, more=more)), chunk(b"data", mono)), refuse=words)
    ds64 = lambda n, m=mono: chunk(b"ds64", struct.pack("<QQQI", 0, n, FRAMES, 0))  # noqa: E731
    for name, n in {"rf64": len(mono), "rf64-unknown": 0xFFFFFFFFFFFFFFFF, "rf64-zero": 0}.items():
        put(f"{name}.wav", riff(ds64(n), body, chunk(b"data", mono, size=0xFFFFFFFF), size=0xFFFFFFFF, form=b"RF64"), same="plain.wav")
    put("bw64.wav", riff(ds64(len(mono)), body, chunk(b"data", mono, size=0xFFFFFFFF), size=0xFFFFFFFF, form=b"BW64"), same="plain.wav")
    put("rifx.wav", b"RIFX" + plain[4:], refuse="big-endian")
    put("cut.wav", plain[:-300], refuse="cut off")
    put("cut-in-header.wav", plain[:30], refuse="announces 16 bytes")
    put("cut-before-data.wav", plain[:36], refuse="cut off before its data chunk")
    put("avi.wav", riff(body, kind=b"AVI "), refuse="AVI")
    put("no-data.wav", riff(body, info), refuse="has no data chunk")


def reading(data):
    x, rate = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
    mono = x.mean(axis=1)
    return {"rate": rate, "frames": len(mono), "samples": [round(float(v), 6) for v in mono[:: max(1, len(mono) // SHOWN)]]}


def main():
    if "--answers" in sys.argv:
        for name, how in json.loads((HERE / "golden.json").read_text()).items():
            put(name, (HERE / name).read_bytes(), refuse=how.get("refused"), same=how.get("like"))
    else:
        by_programs()
        bent()
    HERE.mkdir(parents=True, exist_ok=True)
    golden = {}
    for name, data in sorted(made.items()):
        (HERE / name).write_bytes(data)
        if name in refused:
            golden[name] = {"refused": refused[name]}
        else:
            golden[name] = reading(made[like.get(name, name)]) | ({"like": like[name]} if name in like else {})
    (HERE / "golden.json").write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n")
    print(len(golden), "files,", sum(f.stat().st_size for f in HERE.iterdir()), "bytes")


if __name__ == "__main__":
    main()

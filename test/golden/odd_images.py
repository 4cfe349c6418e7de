# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "opencv-python-headless==5.0.0.93", "pillow==13.0.0"]
# ///
"""Makes image files as programs write them, and records how each is to be read.

    test/golden/make.sh --inputs

It writes codec/imaging/testdata/odd/: small files by the programs
that people use (libpng's and libjpeg's, ImageMagick, ExifTool, libtiff's,
libwebp's, FFmpeg, gifsicle, netpbm), and the same ones bent in the ways that
public bug reports describe. golden.json has for each file either the reading,
a lossless PNG beside it named after its content, or the words that our refusal
has to hold. The reading is Pillow's, upright by exif_transpose, with
transparency laid out as rapidocr does; OpenCV's where Pillow refuses what
libpng passes over. With --answers the files stay and the readings are made
again.
"""

import hashlib
import io
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFile, ImageOps

HERE = pathlib.Path(__file__).resolve().parents[2] / "codec/imaging/testdata/odd"
CONVERT = "/usr/bin/convert"
W, H = 40, 28

made: dict[str, bytes] = {}
refused: dict[str, str] = {}  # file: words of our refusal
by_opencv: set[str] = set()  # Pillow refuses these
like: dict[str, str] = {}  # neither reads these: they are to be read like another


def put(name, data, refuse=None, opencv=False, same=None):
    made[name] = bytes(data)
    if refuse:
        refused[name] = refuse
    if opencv:
        by_opencv.add(name)
    if same:
        like[name] = same


def run(*command, data=None):
    return subprocess.run([str(c) for c in command], input=data, check=True, capture_output=True).stdout


class Folder:
    """A place for the programs that need files."""

    def __enter__(self):
        self.of = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.of.name)
        return self

    def __exit__(self, *_):
        self.of.cleanup()

    def write(self, name, data):
        (self.path / name).write_bytes(data)
        return self.path / name

    def by(self, name, *command):
        """Runs a command in which OUT is the file to write, and reads that."""
        out = self.path / name
        run(*[out if c == "OUT" else c for c in command])
        return out.read_bytes()


def picture(mode="RGB"):
    """A picture that no turn or mirror leaves as it is."""
    y, x = np.mgrid[0:H, 0:W].astype(np.float32)
    rgb = np.stack([40 + 150 * x / W, 60 + 150 * y / H, 180 - 90 * x / W], -1)
    img = Image.fromarray(rgb.astype(np.uint8))
    d = ImageDraw.Draw(img)
    d.rectangle((4, 4, 16, 9), fill=(20, 20, 30))
    d.ellipse((24, 12, 36, 24), fill=(230, 60, 50))
    d.line((2, 25, 20, 14), fill=(250, 250, 240), width=2)
    return img.convert(mode)


def saved(img, kind, **options):
    b = io.BytesIO()
    img.save(b, kind, **options)
    return b.getvalue()


def glass():
    """The picture's left is there, its right fades."""
    img = picture("RGBA")
    x = np.mgrid[0:H, 0:W][1]
    img.putalpha(Image.fromarray(np.clip(255 - (x - 16) * 14, 0, 255).astype(np.uint8)))
    return img


def exif(value=6, kind=3, order="<", count=1, before=(), after=(), raw=None, offset=None):
    """A TIFF structure whose first directory has an orientation."""
    codes = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
    entries = [*before, (0x112, kind, count, value if raw is None else raw), *after]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body, extra = b"", b""
    place = 8 + 2 + 12 * len(entries) + 4
    for tag, k, n, v in entries:
        if not isinstance(v, bytes):
            v = v if isinstance(v, tuple) else (v,)
            v = struct.pack(order + codes[k] * (len(v) // len(codes[k])), *v)
        if len(v) > 4:
            at = place + len(extra) if offset is None else offset
            extra, v = extra + v, struct.pack(order + "I", at)
        body += struct.pack(order + "HHI", tag, k, n) + v.ljust(4, b"\0")
    return head + struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", 0) + extra


XMP = ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"%s</rdf:RDF></x:xmpmeta>')
XMP_ATTRIBUTE = (XMP % ' tiff:Orientation="6"/>').encode()
XMP_ELEMENT = (XMP % '><tiff:Orientation>8</tiff:Orientation></rdf:Description>').encode()


# --- EXIF, in each container ------------------------------------------------

def orientations():
    """name: (TIFF structure, XMP or None)"""
    odd = {
        "short-le": exif(), "short-be": exif(order=">"), "long-le": exif(kind=4), "long-be": exif(kind=4, order=">"),
        "ifd": exif(kind=13), "sbyte": exif(kind=6), "sshort-be": exif(kind=8, order=">"), "slong": exif(kind=9),
        "rational": exif(kind=5, value=(6, 1)), "half": exif(kind=5, value=(13, 2)), "srational-be": exif(kind=10, value=(6, 1), order=">"),
        "by-zero": exif(kind=5, value=(6, 0)), "float": exif(kind=11, value=6.0), "double-be": exif(kind=12, value=6.0, order=">"),
        "byte": exif(kind=1), "ascii": exif(kind=2, raw=b"6\0", count=2), "undefined": exif(kind=7, raw=b"\x06"),
        "zero": exif(value=0), "nine": exif(value=9), "large": exif(kind=4, value=0x60006), "negative": exif(kind=9, value=-6),
        "two-values": exif(value=(6, 6), count=2), "three-values": exif(value=(6, 6, 6), count=3), "no-values": exif(count=0),
        "unknown-kind": exif(kind=99, raw=b"\x06\0"), "count-huge": exif(count=0x40000000),
        "long8": exif(kind=16, raw=struct.pack("<Q", 6)), "long8-be": exif(kind=16, raw=struct.pack(">Q", 8), order=">"), "kind-17": exif(kind=17, raw=struct.pack("<q", 6)),
        "twice": exif(value=6, after=[(0x112, 3, 1, 8)]), "twice-first-bad": exif(kind=99, raw=b"\x06\0", after=[(0x112, 3, 1, 8)]),
        "unsorted": exif(before=[(0x132, 2, 20, b"2026:01:01 00:00:00\0"), (0x10F, 2, 6, b"Phone\0")]),
        "elsewhere-bad": exif(before=[(0x10F, 2, 90, b"x" * 90)], offset=0xFFFFF0),
        "entries-cut": exif()[:-6], "counts-too-many": exif()[:8] + b"\x40\0" + exif()[10:],
    }
    for o in range(1, 9):
        odd[f"o{o}-le"], odd[f"o{o}-be"] = exif(o), exif(o, order=">")
    return odd


def jpeg_with(base, *segments):
    """Segments (marker, content) behind the start of a JPEG."""
    return base[:2] + b"".join(bytes([0xFF, m]) + struct.pack(">H", len(c) + 2) + c for m, c in segments) + base[2:]


def metadata():
    head = b"Exif\0\0"
    xap = b"http://ns.adobe.com/xap/1.0/\0"
    jpg = saved(picture(), "JPEG", quality=92, subsampling=0)
    for name, tiff in orientations().items():
        put(f"exif-{name}.jpg", jpeg_with(jpg, (0xE1, head + tiff)))
    for name in ("long-be", "short-le", "rational", "nine", "o5-be", "two-values"):
        tiff = orientations()[name]
        put(f"exif-{name}.png", png_with(PNG, (b"eXIf", tiff)))
        put(f"exif-{name}.webp", webp_with(WEBP, (b"EXIF", tiff)))
    six = exif()
    for name, segments in {
        "exif-behind-xmp": [(0xE1, xap + XMP_ELEMENT), (0xE1, head + six)],
        "exif-before-xmp": [(0xE1, head + six), (0xE1, xap + XMP_ELEMENT)],
        "xmp-attribute": [(0xE1, xap + XMP_ATTRIBUTE)],
        "xmp-element": [(0xE1, xap + XMP_ELEMENT)],
        "xmp-twice": [(0xE1, xap + XMP_ATTRIBUTE), (0xE1, xap + XMP_ELEMENT)],
        "xmp-behind-bad-exif": [(0xE1, head + exif(value=0)), (0xE1, xap + XMP_ATTRIBUTE)],
        "xmp-behind-other-exif": [(0xE1, head + exif(kind=99, raw=b"\0")), (0xE1, xap + XMP_ATTRIBUTE)],
        "exif-in-two": [(0xE1, head + six[:20]), (0xE1, head + six[20:])],
        "exif-twice": [(0xE1, head + six), (0xE1, head + exif(8))],
        "exif-headed-twice": [(0xE1, head + head + six)],
        "exif-before-jfif": [(0xE1, head + six), (0xEE, b"nonsense"), (0xE2, b"ICC_PROFILE\0\1\1" + b"\0" * 9)],
        "app1-of-others": [(0xE1, b"QVCI\0nonsense"), (0xE1, b""), (0xE1, head + six)],
    }.items():
        put(f"{name}.jpg", jpeg_with(jpg, *segments))
    for name, content in {"exif": head + six, "xmp": xap + XMP_ATTRIBUTE}.items():
        put(f"{name}-before-eoi.jpg", jpg[:-2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpg[-2:])
    put("xmp.png", png_with(PNG, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_ATTRIBUTE)))
    put("xmp-compressed.png", png_with(PNG, (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP_ELEMENT))))
    profile = f"\nexif\n{len(head + six):8}\n{(head + six).hex()}\n".encode()
    put("raw-profile.png", png_with(PNG, (b"tEXt", b"Raw profile type exif\0" + profile)))
    put("raw-profile-compressed.png", png_with(PNG, (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))))
    put("raw-profile-itxt.png", png_with(PNG, (b"iTXt", b"Raw profile type exif\0\0\0\0\0" + profile)))
    put("raw-profile-itxt-compressed.png", png_with(PNG, (b"iTXt", b"Raw profile type exif\0\1\0\0\0" + zlib.compress(profile))))
    put("xmp-text.png", png_with(PNG, (b"tEXt", b"XML:com.adobe.xmp\0" + XMP_ATTRIBUTE)))
    put("xmp-ztxt.png", png_with(PNG, (b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(XMP_ELEMENT))))
    put("xmp-kinds.png", png_with(PNG, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_ATTRIBUTE), (b"tEXt", b"XML:com.adobe.xmp\0" + XMP_ELEMENT)))
    put("exif-behind-pixels.png", png_with(PNG, (b"eXIf", six), before=b"IEND"))
    put("exif-headed.webp", webp_with(WEBP, (b"EXIF", head + six)))
    put("xmp.webp", webp_with(WEBP, (b"XMP ", XMP_ATTRIBUTE)))
    with Folder() as at:
        plain = at.write("plain.jpg", jpg)
        for name, arguments in {
            "exiftool-6": ["-Orientation#=6", "-Make=Phone", "-Model=A phone", "-GPSLatitude=50.9", "-GPSLatitudeRef=N"],
            "exiftool-be-8": ["-ExifByteOrder=MM", "-Orientation#=8", "-UserComment=hello"],
            "exiftool-xmp-5": ["-XMP-tiff:Orientation#=5"],
            "exiftool-all-3": ["-Orientation#=3", "-XMP-tiff:Orientation#=3", "-IPTC:Keywords=a", "-Comment=b", "-JFIF:XResolution=72"],
        }.items():
            put(f"{name}.jpg", at.by(f"{name}.jpg", "exiftool", "-q", *arguments, "-o", "OUT", plain))
        turned = at.write("turned.jpg", jpeg_with(jpg, (0xE1, head + six)))
        put("imagemagick-6.png", at.by("im.png", CONVERT, turned, "OUT"))
        put("imagemagick-6.webp", at.by("im.webp", CONVERT, turned, "-define", "webp:lossless=true", "OUT"))
        put("imagemagick-6.tif", at.by("im.tif", CONVERT, turned, "OUT"))
        png = at.write("plain.png", PNG)
        put("exiftool-6.png", at.by("e.png", "exiftool", "-q", "-Orientation#=6", "-XMP:Title=a", "-o", "OUT", png))


# --- PNG --------------------------------------------------------------------

def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def chunks(png):
    at = 8
    while at < len(png):
        size = struct.unpack(">I", png[at : at + 4])[0]
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size


def png_with(png, *new, before=b"IDAT", crc=None):
    out, done = png[:8], False
    for kind, data in chunks(png):
        if kind == before and not done:
            out += b"".join(chunk(k, d, crc) for k, d in new)
            done = True
        out += chunk(kind, data)
    return out


def long_palette(png):
    """The palette grown to 256 colours, which two bits cannot distinguish."""
    return png[:8] + b"".join(chunk(k, d.ljust(768, b"\x09") if k == b"PLTE" else d) for k, d in chunks(png))


def pngs():
    put("plain.png", PNG)
    bad = {
        "text": (b"tEXt", b"Comment\0Created with GIMP"), "iccp": (b"iCCP", b"icc\0\0" + zlib.compress(b"p" * 200)),
        "exif": (b"eXIf", exif()), "time": (b"tIME", b"\x07\xea\1\1\1\1\1"), "phys": (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        "gama": (b"gAMA", struct.pack(">I", 45455)), "unknown": (b"prVt", b"anything"),
    }
    for name, c in bad.items():
        put(f"crc-{name}.png", png_with(PNG, c, crc=0xDEADBEEF), opencv=True)
    palette = saved(picture().quantize(16), "PNG", optimize=True)
    put("crc-trns.png", png_with(palette, (b"tRNS", b"\0\0\0"), crc=1), opencv=True)
    for name, c in {
        "iccp-broken": (b"iCCP", b"GIMP built-in sRGB\0\0not a profile"), "text-broken": (b"tEXt", b"no end of the key"),
        "time-short": (b"tIME", b"\x07"), "gama-short": (b"gAMA", b"\0"), "chrm-short": (b"cHRM", b"\0\0"),
    }.items():
        put(f"{name}.png", png_with(PNG, c), opencv=True)
    for name, c in {"exif-garbage": (b"eXIf", b"not a TIFF at all"), "ztxt-broken": (b"zTXt", b"key\0\0not zlib")}.items():
        put(f"{name}.png", png_with(PNG, c), opencv=True)
    put("unknown.png", png_with(PNG, (b"vpAg", b"\0" * 9), (b"caNv", b"\0" * 16), (b"orNT", b"\1"), (b"iDOT", b"\0" * 28)))
    put("behind-iend.png", PNG + b"garbage that a camera, or a virus scanner, put there" * 3)
    put("no-iend.png", PNG[:-12])
    put("no-last-checksum.png", PNG[:-16], same="plain.png")
    put("palette-suggested.png", png_with(PNG, (b"PLTE", bytes(range(48)))))
    put("palette-too-long.png", long_palette(saved(picture().quantize(4), "PNG", bits=2)))
    put("trns-too-long.png", png_with(palette, (b"tRNS", b"\xff" * 40)), opencv=True)
    put("trns-of-grey.png", png_with(saved(picture("L"), "PNG"), (b"tRNS", b"\0\x50")))
    put("trns-of-grey-odd.png", png_with(saved(picture("L"), "PNG"), (b"tRNS", b"\0\x50\0")), opencv=True)
    split = b"".join(d for k, d in chunks(PNG) if k == b"IDAT")
    out = PNG[:8]
    for kind, data in chunks(PNG):
        out += b"".join(chunk(b"IDAT", split[i : i + 7]) for i in range(0, len(split), 7)) if kind == b"IDAT" else chunk(kind, data)
    put("many-idat.png", out)
    put("empty-idat.png", png_with(PNG, (b"IDAT", b"")))
    put("pixels-empty.png", PNG[:8] + b"".join(chunk(k, b"" if k == b"IDAT" else d) for k, d in chunks(PNG)), refuse="without pixels")
    put("no-idat.png", PNG[:8] + b"".join(chunk(k, d) for k, d in chunks(PNG) if k != b"IDAT"), refuse="without pixels")
    put("cut.png", PNG[: len(PNG) // 2], refuse="cut off")
    put("cut-in-header.png", PNG[:20], refuse="cut off")
    put("apple.png", PNG[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + PNG[8:], refuse="CgBI")
    put("needed-unknown.png", png_with(PNG, (b"ABCD", b"")), refuse="ABCD")
    put("crc-idat.png", PNG[:8] + b"".join(chunk(k, d, 7 if k == b"IDAT" else None) for k, d in chunks(PNG)), refuse="checksum")
    pixels = zlib.decompress(split)
    for name, stream in {
        "pixels-too-many": zlib.compress(pixels + b"\0" * 500), "pixels-and-more": split + b"junk", "no-pixels-checksum": split[:-4],
    }.items():
        put(f"{name}.png", PNG[:8] + b"".join(chunk(k, stream if k == b"IDAT" else d) for k, d in chunks(PNG)))
    laced = saved(picture(), "PNG")
    with Folder() as at:
        laced = at.by("o.png", "optipng", "-quiet", "-i1", "-out", "OUT", at.write("p.png", laced))
    stream = zlib.compress(zlib.decompress(b"".join(d for k, d in chunks(laced) if k == b"IDAT")) + b"more")
    put("pixels-too-many-interlaced.png", laced[:8] + b"".join(chunk(k, stream if k == b"IDAT" else d) for k, d in chunks(laced)))
    put("crc-pixels.png", PNG[:8] + b"".join(chunk(k, split[:-4] + b"\0\0\0\0" if k == b"IDAT" else d) for k, d in chunks(PNG)), refuse="checksum")
    put("two-frames.png", saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(180)]))
    with Folder() as at:
        plain, clear = at.write("plain.png", PNG), at.write("glass.png", saved(glass(), "PNG"))
        tools = {
            "pngcrush": ["pngcrush", "-q", plain, "OUT"], "optipng": ["optipng", "-quiet", "-out", "OUT", plain],
            "optipng-interlaced": ["optipng", "-quiet", "-i1", "-out", "OUT", plain],
            "pngquant": ["pngquant", "16", "--output", "OUT", plain], "pngquant-glass": ["pngquant", "32", "--output", "OUT", clear],
            "ffmpeg": ["ffmpeg", "-v", "error", "-i", plain, "OUT"], "ffmpeg-16": ["ffmpeg", "-v", "error", "-i", plain, "-pix_fmt", "rgb48be", "OUT"],
            "ffmpeg-glass-16": ["ffmpeg", "-v", "error", "-i", clear, "-pix_fmt", "rgba64be", "OUT"],
            "ffmpeg-grey-alpha": ["ffmpeg", "-v", "error", "-i", clear, "-pix_fmt", "ya8", "OUT"],
            "ffmpeg-grey-alpha-16": ["ffmpeg", "-v", "error", "-i", clear, "-pix_fmt", "ya16be", "OUT"],
            "ffmpeg-grey-16": ["ffmpeg", "-v", "error", "-i", plain, "-pix_fmt", "gray16be", "OUT"],
            "imagemagick-clear-colour": [CONVERT, plain, "-transparent", "rgb(20,20,30)", "-define", "png:color-type=2", "OUT"],
            "imagemagick-clear-palette-1": [CONVERT, plain, "-monochrome", "-transparent", "white", "-define", "png:color-type=3", "-define", "png:bit-depth=1", "OUT"],
            "ffmpeg-bit": ["ffmpeg", "-v", "error", "-i", plain, "-pix_fmt", "monob", "OUT"],
            "imagemagick": [CONVERT, plain, "-set", "comment", "Created with GIMP", "-density", "300", "OUT"],
            "imagemagick-grey-2": [CONVERT, plain, "-colorspace", "Gray", "-depth", "2", "-define", "png:bit-depth=2", "-define", "png:color-type=0", "OUT"],
            "imagemagick-palette-4": [CONVERT, plain, "-colors", "12", "-define", "png:bit-depth=4", "-define", "png:color-type=3", "OUT"],
            "imagemagick-interlaced": [CONVERT, clear, "-interlace", "PNG", "OUT"],
        }
        for name, command in tools.items():
            put(f"{name}.png", at.by(f"{name}.png", *command))
        ppm = run("pngtopnm", plain)
        put("netpbm.png", run("pnmtopng", "-interlace", "-gamma", "0.45", data=ppm))


# --- JPEG -------------------------------------------------------------------

def segments(jpg):
    """(marker, content) up to the first scan; the rest comes last, under None."""
    at = 2
    while jpg[at + 1] != 0xDA:
        size = struct.unpack(">H", jpg[at + 2 : at + 4])[0]
        yield jpg[at + 1], jpg[at + 4 : at + 2 + size]
        at += 2 + size
    yield None, jpg[at:]


def joined(parts):
    return b"\xff\xd8" + b"".join(c if m is None else bytes([0xFF, m]) + struct.pack(">H", len(c) + 2) + c for m, c in parts)


def named(jpg, ids, transform, jfif=False):
    """A JPEG whose components have these names, and what Adobe's segment says of their colours."""
    parts = [(0xEE, b"Adobe\0d\0\0\0\0" + bytes([transform]))] if transform is not None else []
    for marker, content in segments(jpg):
        c = bytearray(content)
        for i, name in enumerate(ids):
            if marker in (0xC0, None):
                c[6 + 3 * i if marker else 5 + 2 * i] = name
        if marker != 0xE0 or jfif:
            parts.append((marker, bytes(c)))
    return joined(parts)


def jpegs():
    jpg = saved(picture(), "JPEG", quality=90, subsampling=2)
    parts = list(segments(jpg))
    put("plain.jpg", jpg)
    put("tables-last-first.jpg", joined(sorted(parts, key=lambda p: (p[0] is None, -(p[0] or 0)))))
    put("tables-behind-frame.jpg", joined([p for p in parts if p[0] in (0xE0, 0xC0)] + [p for p in parts if p[0] not in (0xE0, 0xC0)]))
    put("tables-in-one.jpg", joined([p for p in parts if p[0] not in (0xC4, None)] + [(0xC4, b"".join(c for m, c in parts if m == 0xC4)), parts[-1]]))
    put("tables-empty.jpg", joined([*parts[:-1], (0xC4, b"\x03" + b"\0" * 16), (0xC4, b"\x13" + b"\0" * 16 + next(c for m, c in parts if m == 0xC4)), parts[-1]]))
    put("comment-before-jfif.jpg", jpeg_with(jpg, (0xFE, b"a comment"), (0xFE, b"")))
    put("apps.jpg", jpeg_with(jpg, *[(m, b"anything" * (m - 0xE0)) for m in range(0xE2, 0xF0)], (0xE0, b"JFXX\0\x13"), (0xE0, b"")))
    put("icc-broken.jpg", jpeg_with(jpg, (0xE2, b"ICC_PROFILE\0\x05\x02" + b"x" * 40)))
    put("exif-garbage.jpg", jpeg_with(jpg, (0xE1, b"Exif\0\0")))
    put("fill-bytes.jpg", jpg[:2] + b"\xff\xff\xff" + jpg[2:])
    put("between-segments.jpg", joined([parts[0]]) + b"\0\0\0" + joined(parts[1:])[2:])
    put("behind-eoi.jpg", jpg + b"\0" * 400 + b"\xff\xda trailing")
    put("two-in-one.jpg", jpg + saved(picture().rotate(180), "JPEG"))
    put("no-eoi.jpg", jpg[:-2], same="plain.jpg")
    put("no-tables.jpg", joined([p for p in list(segments(saved(picture(), "JPEG", quality=90, subsampling=0))) if p[0] != 0xC4]))
    put("cut.jpg", jpg[: len(jpg) - 120], refuse="cut off")
    put("cut-in-tables.jpg", jpg[:200], refuse="cut off")
    put("cmyk.jpg", saved(picture("CMYK"), "JPEG", quality=95))
    put("cmyk-no-adobe.jpg", joined([p for p in segments(saved(picture("CMYK"), "JPEG", quality=95)) if p[0] != 0xEE]))
    put("rgb-adobe.jpg", saved(picture(), "JPEG", quality=90, keep_rgb=True))
    full = saved(picture(), "JPEG", quality=90, subsampling=0)
    for ids in (b"RGB", b"\1\2\3", b"abc"):
        for transform in (None, 0, 1, 2):
            put(f"ids-{ids.hex()}-{transform}.jpg", named(full, ids, transform))
    put("ids-jfif.jpg", named(full, b"RGB", 0, jfif=True))
    for marker, words in {0xC3: "lossless", 0xC5: "hierarchical", 0xC9: "arithmetic coding"}.items():
        put(f"sof-{marker:x}.jpg", joined([(marker if m == 0xC0 else m, c) for m, c in parts]), refuse=words)
    put("bits-12.jpg", joined([(m, b"\x0c" + c[1:] if m == 0xC0 else c) for m, c in parts]), refuse="12 bits")
    slim = picture().crop((2, 3, 5, 24))
    for name, subsampling in (("slim-420", 2), ("slim-422", 1)):
        put(f"{name}.jpg", saved(slim, "JPEG", quality=90, subsampling=subsampling))
    with Folder() as at:
        ppm = at.write("plain.ppm", saved(picture(), "PPM"))
        wide = at.write("wide.jpg", at.by("w.jpg", "cjpeg", "-quality", "90", "-sample", "2x1", "-outfile", "OUT", ppm))
        at.write("scans.txt", b"0;\n1;\n2;\n")
        tools = {
            "cjpeg-progressive": ["cjpeg", "-progressive", "-outfile", "OUT", ppm],
            "cjpeg-restarts": ["cjpeg", "-restart", "1B", "-outfile", "OUT", ppm],
            "cjpeg-grey": ["cjpeg", "-grayscale", "-outfile", "OUT", ppm],
            "cjpeg-grey-2x2": ["cjpeg", "-grayscale", "-sample", "2x2", "-outfile", "OUT", ppm],
            "cjpeg-scans": ["cjpeg", "-scans", at.path / "scans.txt", "-outfile", "OUT", ppm],
            "cjpeg-1x2": ["cjpeg", "-quality", "90", "-sample", "1x2", "-outfile", "OUT", ppm],
            "cjpeg-2x1": ["cjpeg", "-quality", "90", "-sample", "2x1", "-outfile", "OUT", ppm],
            "cjpeg-4x1": ["cjpeg", "-quality", "90", "-sample", "4x1", "-outfile", "OUT", ppm],
            "jpegtran-turned": ["jpegtran", "-rotate", "90", "-outfile", "OUT", wide],
            "jpegtran-optimised": ["jpegtran", "-optimize", "-copy", "none", "-outfile", "OUT", wide],
            "imagemagick": [CONVERT, ppm, "-quality", "88", "-interlace", "JPEG", "-set", "comment", "x", "OUT"],
            "ffmpeg": ["ffmpeg", "-v", "error", "-i", ppm, "-q:v", "2", "OUT"],
        }
        for name, command in tools.items():
            put(f"{name}.jpg", at.by(f"{name}.jpg", *command))
        put("cjpeg-2x4.jpg", at.by("s.jpg", "cjpeg", "-sample", "2x4", "-outfile", "OUT", ppm), refuse="sampled 2x4,1x1,1x1")
        for sampling in ("1x4", "3x1", "2x2,1x2,1x1", "2x1,2x1,1x1"):
            put(f"cjpeg-{sampling.replace(',', '-')}.jpg", at.by("s.jpg", "cjpeg", "-sample", sampling, "-outfile", "OUT", ppm), refuse=f"sampled {sampling}")
        put("cjpeg-4x1-2x1-2x1.jpg", at.by("s.jpg", "cjpeg", "-quality", "90", "-sample", "4x1,2x1,2x1", "-outfile", "OUT", ppm))
        put("cjpeg-4x1-2x1-2x1-scans.jpg", at.by("s.jpg", "cjpeg", "-sample", "4x1,2x1,2x1", "-progressive", "-outfile", "OUT", ppm), refuse="in scans of their own")
        restarted = ["cjpeg", "-quality", "90", "-outfile", "OUT"]
        for sampling in ("1x1", "2x1", "1x2", "2x2", "4x2"):
            for restart in ("1", "1B", "7B"):
                for name, how in {"progressive": ["-progressive"], "scans": ["-scans", at.path / "scans.txt"]}.items():
                    put(f"restarts-{name}-{sampling}-{restart}.jpg", at.by("r.jpg", *restarted, *how, "-sample", sampling, "-restart", restart, ppm))
        put("restarts-mixed.jpg", at.by("r.jpg", *restarted, "-scans", at.write("mixed.txt", b"0;\n1 2;\n"), "-restart", "3B", ppm))
        put("restarts-grey.jpg", at.by("r.jpg", *restarted, "-progressive", "-grayscale", "-sample", "2x2", "-restart", "3B", ppm))
        for sampling in ("3x1", "4x4"):
            put(f"cjpeg-grey-{sampling}.jpg", at.by("s.jpg", "cjpeg", "-grayscale", "-sample", sampling, "-outfile", "OUT", ppm))
        put("restarts-cmyk.jpg", run("jpegtran", "-progressive", "-restart", "2B", data=saved(picture("CMYK"), "JPEG", quality=95)))
        first = made["restarts-progressive-2x2-1B.jpg"]
        put("restarts-cut.jpg", first[: len(first) * 2 // 3], refuse="cut off")
        put("cjpeg-arithmetic.jpg", at.by("a.jpg", "cjpeg", "-arithmetic", "-outfile", "OUT", ppm), refuse="arithmetic coding")


# --- GIF --------------------------------------------------------------------

def gifs():
    img = picture().quantize(32)
    gif = saved(img, "GIF")
    table = 13 + (3 << (gif[10] & 7) + 1)
    head, rest = gif[:table], gif[table:]
    put("plain.gif", gif)
    for name, block in {
        "comment": b"\x21\xfe\x05hello\x00", "application": b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",
        "xmp": b"\x21\xff\x0bXMP DataXMP" + b"<x/>" + bytes([1]) + bytes(range(255, -1, -1)) + b"\0\0",
        "text": b"\x21\x01\x0c" + b"\0" * 12 + b"\x02hi\0", "unknown": b"\x21\x42\x03abc\0", "application-odd": b"\x21\xff\x03abc\0",
        "control-odd": b"\x21\xf9\x05\0\0\0\0\0\0", "between": b"\0\0\0",
    }.items():
        put(f"{name}.gif", head + block + rest)
    put("no-trailer.gif", gif[:-1])
    put("behind-trailer.gif", gif + b"garbage")
    put("screen-of-nothing.gif", gif[:6] + b"\0\0\0\0" + gif[10:])
    put("screen-too-small.gif", gif[:6] + struct.pack("<HH", W - 9, H - 5) + gif[10:])
    small(img, gif, table)
    put("old.gif", b"GIF87a" + gif[6:])
    put("no-picture.gif", head + b";", refuse="without a picture")
    put("cut.gif", gif[: len(gif) * 2 // 3], refuse="cut off")
    with Folder() as at:
        plain, glassy, other = at.write("plain.gif", gif), at.write("glass.png", saved(glass(), "PNG")), at.write("b.gif", saved(img.rotate(180), "GIF"))
        tools = {
            "gifsicle": ["gifsicle", "-O3", "--interlace", plain, "-o", "OUT"],
            "gifsicle-moving": ["gifsicle", "--delay", "10", "--loop", plain, other, "-o", "OUT"],
            "imagemagick": [CONVERT, plain, "-set", "comment", "hello", "OUT"],
            "ffmpeg": ["ffmpeg", "-v", "error", "-i", glassy, "OUT"],
        }
        for name, command in tools.items():
            put(f"{name}.gif", at.by(f"{name}.gif", *command))


def small(img, gif, table):
    """Frames that are smaller than the screen, and pictures without colours of their own."""
    screen = gif[:6] + struct.pack("<HH", W + 9, H + 5)
    frame = gif.index(b"\x2c", table)
    control = lambda index: b"\x21\xf9\x04" + bytes([1, 0, 0, index]) + b"\0"  # noqa: E731
    first = gif[table:].index(b"\x2c") + table
    assert first == frame and not gif[frame + 9] & 0x80
    local = gif[frame : frame + 9] + bytes([gif[10] & 0x87]) + gif[13:table] + gif[frame + 10 :]
    moved = gif[frame : frame + 1] + struct.pack("<HH", 6, 4) + gif[frame + 5 :]
    for name, colour in {"dark": b"\x10\x20\x60", "light": b"\xf0\xe0\xa0"}.items():
        put(f"small-{name}.gif", screen + gif[10:13] + colour + gif[16:])
        put(f"small-{name}-moved.gif", screen + gif[10:13] + colour + gif[16:table] + moved)
        put(f"small-{name}-clear.gif", screen + gif[10:13] + colour + gif[16:table] + control(5) + moved)
        put(f"small-{name}-clear-first.gif", screen + gif[10:13] + colour + gif[16:table] + control(0) + moved)
        put(f"small-{name}-background.gif", screen + gif[10:11] + b"\x07" + gif[12:13] + colour + gif[16:])
    put("small-local.gif", screen + bytes([gif[10] & 0x7F]) + gif[11:13] + local)
    put("small-both.gif", screen + gif[10:13] + b"\xff\0\0" + gif[16:table] + local)
    put("small-clear-unused.gif", screen + gif[10:table] + control(31) + moved)
    put("small-control-opaque.gif", screen + gif[10:table] + b"\x21\xf9\x04\0\0\0\5\0" + moved)
    few = bytes([gif[10] & 0xF8 | 2]) + gif[11:37]  # eight colours
    put("few-colours.gif", gif[:10] + few + gif[table:])
    put("few-colours-local.gif", gif[:table] + gif[frame : frame + 9] + b"\x82" + gif[13:37] + gif[frame + 10 :])
    put("few-colours-clear.gif", gif[:10] + few + control(20) + moved)
    put("few-greys.gif", gif[:10] + few[:3] + bytes(v for v in range(8) for _ in range(3)) + gif[table:])
    bare = bytes([gif[10] & 0x7F]) + gif[11:13] + gif[frame:]
    put("no-colours.gif", gif[:10] + bare)
    put("no-colours-small.gif", screen + bare)
    put("no-colours-clear.gif", screen + bare[:3] + control(0) + bare[3:])


# --- BMP --------------------------------------------------------------------

def bmps():
    img = picture()
    bmp = saved(img, "BMP")
    put("plain.bmp", bmp)
    put("gap.bmp", bmp[:10] + struct.pack("<I", 54 + 18) + bmp[14:54] + b"\0" * 18 + bmp[54:])
    put("reserved.bmp", bmp[:6] + b"abcd" + bmp[10:])
    put("size-wrong.bmp", bmp[:2] + b"\0\0\0\0" + bmp[6:34] + b"\0\0\0\0" + bmp[38:])
    put("behind.bmp", bmp + b"garbage")
    put("cut.bmp", bmp[: len(bmp) // 2], refuse="cut off")
    top = bytearray(bmp[:54])
    top[22:26] = struct.pack("<i", -H)
    stride = (W * 3 + 3) // 4 * 4
    put("top-down.bmp", bytes(top) + b"".join(bmp[54 + i * stride :][:stride] for i in reversed(range(H))))
    put("cmyk.bmp", bmp[:30] + struct.pack("<I", 11) + bmp[34:], refuse="compression 11")
    put("bits-5.bmp", bmp[:28] + b"\x05\0" + bmp[30:], refuse="5 bits")
    put("header-99.bmp", bmp[:14] + struct.pack("<I", 99) + bmp[18:], refuse="header of 99 bytes")
    eight = saved(img.quantize(20), "BMP")
    put("palette-short.bmp", eight)
    with Folder() as at:
        png, ppm, clear = at.write("p.png", PNG), at.write("p.ppm", saved(img, "PPM")), at.write("g.png", saved(glass(), "PNG"))
        small = at.write("s.ppm", saved(img.quantize(12).convert("RGB"), "PPM"))
        tools = {
            "imagemagick": [CONVERT, png, "OUT"], "imagemagick-glass": [CONVERT, clear, "OUT"], "imagemagick-3": [CONVERT, png, "bmp3:OUT"],
            "imagemagick-2": [CONVERT, png, "bmp2:OUT"], "imagemagick-rle8": [CONVERT, png, "-colors", "40", "-compress", "RLE", "bmp3:OUT"],
            "imagemagick-bit": [CONVERT, png, "-monochrome", "bmp3:OUT"], "imagemagick-565": [CONVERT, png, "-define", "bmp:subtype=RGB565", "OUT"],
            "imagemagick-4": [CONVERT, png, "-colors", "12", "-type", "palette", "bmp3:OUT"],
        }
        for fmt in ("bgr24", "bgra", "rgb565le", "rgb555le", "pal8", "gray", "monob"):
            tools[f"ffmpeg-{fmt}"] = ["ffmpeg", "-v", "error", "-i", clear if fmt == "bgra" else png, "-pix_fmt", fmt, "OUT"]
        for name, command in tools.items():
            out = at.path / f"{name}.bmp"
            run(*[str(c).replace("OUT", str(out)) for c in command])
            put(f"{name}.bmp", out.read_bytes())
        put("netpbm-os2.bmp", run("ppmtobmp", "-os2", data=small.read_bytes()))
        put("netpbm-windows-4.bmp", run("ppmtobmp", "-windows", "-bpp=4", data=small.read_bytes()))
        put("netpbm-os2-24.bmp", run("ppmtobmp", "-os2", "-bpp=24", data=ppm.read_bytes()))


# --- TIFF -------------------------------------------------------------------

def tiffs():
    img = picture()
    with Folder() as at:
        def tif(name, image, **options):
            return at.write(name, saved(image, "TIFF", **options))

        rgb, grey, bit = tif("rgb.tif", img), tif("grey.tif", img.convert("L")), tif("bit.tif", img.convert("1"))
        put("plain.tif", rgb.read_bytes())
        copies = {
            "none": [], "lzw": ["-c", "lzw"], "lzw-2": ["-c", "lzw:2"], "zip": ["-c", "zip"], "zip-2": ["-c", "zip:2"], "packbits": ["-c", "packbits"],
            "strips": ["-r", "5"], "tiles": ["-t", "-w", "16", "-l", "16"], "tiles-lzw": ["-t", "-w", "32", "-l", "16", "-c", "lzw:2"],
            "big-endian": ["-B", "-r", "9"], "big-endian-lzw-2": ["-B", "-c", "lzw:2"], "planes-1": ["-p", "contig", "-c", "zip"],
        }
        for name, options in copies.items():
            put(f"tiffcp-{name}.tif", at.by("o.tif", "tiffcp", *options, rgb, "OUT"))
        put("tiffcp-planes.tif", at.by("o.tif", "tiffcp", "-p", "separate", rgb, "OUT"), refuse="PlanarConfiguration 2")
        put("tiffcp-planes-lzw.tif", at.by("o.tif", "tiffcp", "-p", "separate", "-c", "lzw", rgb, "OUT"), refuse="PlanarConfiguration 2")
        put("tiffcp-planes-grey.tif", at.by("o.tif", "tiffcp", "-p", "separate", grey, "OUT"))
        put("tiffcp-jpeg.tif", at.by("o.tif", "tiffcp", "-c", "jpeg", rgb, "OUT"), refuse="as JPEG")
        put("tiffcp-lzma.tif", at.by("o.tif", "tiffcp", "-c", "lzma", rgb, "OUT"), refuse="LZMA")
        put("tiffcp-zstd.tif", at.by("o.tif", "tiffcp", "-c", "zstd", rgb, "OUT"), refuse="Zstandard")
        put("tiffcp-big.tif", at.by("o.tif", "tiffcp", "-8", rgb, "OUT"), refuse="BigTIFF")
        put("tiffcp-reversed.tif", at.by("o.tif", "tiffcp", "-f", "lsb2msb", rgb, "OUT"), refuse="FillOrder 2")
        for name, options in {
            "g4": ["-c", "g4"], "g4-lsb": ["-c", "g4", "-f", "lsb2msb"], "g4-strips": ["-c", "g4", "-r", "7"], "g3": ["-c", "g3:1d"],
            "g3-lsb": ["-c", "g3:1d", "-f", "lsb2msb"], "bit-none": [], "bit-packbits": ["-c", "packbits"], "bit-lzw": ["-c", "lzw"],
        }.items():
            put(f"tiffcp-{name}.tif", at.by("o.tif", "tiffcp", *options, bit, "OUT"))
        put("tiffcp-g3-2d.tif", at.by("o.tif", "tiffcp", "-c", "g3:2d", bit, "OUT"), refuse="in two dimensions")
        put("tiffcp-g3-fill.tif", at.by("o.tif", "tiffcp", "-c", "g3:1d:fill", bit, "OUT"), refuse="filled up to bytes")
        put("imagemagick-fax.tif", at.by("o.tif", CONVERT, at.write("f.png", PNG), "-monochrome", "-compress", "Fax", "OUT"), refuse="filled up to bytes")
        put("tiffcp-pages.tif", at.by("o.tif", "tiffcp", rgb, grey, "OUT"))
        fax = at.write("page.g3", run("pbmtog3", data=saved(img.convert("1"), "PPM")))
        put("fax2tiff.tif", at.by("o.tif", "fax2tiff", "-M", "-X", str(W), "-o", "OUT", fax))
        png, clear = at.write("p.png", PNG), at.write("g.png", saved(glass(), "PNG"))
        for name, command in {
            "grey-4": [png, "-colorspace", "Gray", "-depth", "4"], "grey-2": [png, "-colorspace", "Gray", "-depth", "2"],
            "palette-4": [png, "-colors", "12", "-type", "palette", "-depth", "4"], "palette-8": [png, "-colors", "40", "-type", "palette"],
            "white-is-zero": [png, "-colorspace", "Gray", "-define", "quantum:polarity=min-is-white"],
            "bit": [png, "-monochrome", "-compress", "Group4"],
            "glass": [clear, "-compress", "LZW"], "glass-associated": [clear, "-alpha", "associate"], "cmyk": [png, "-colorspace", "CMYK"],
            "grey-16": [png, "-colorspace", "Gray", "-depth", "16"], "16": [png, "-depth", "16", "-endian", "MSB"],
            "grey-4-lzw-tiles": [png, "-colorspace", "Gray", "-depth", "4", "-define", "tiff:tile-geometry=16x16", "-compress", "LZW"],
        }.items():
            put(f"imagemagick-{name}.tif", at.by("o.tif", CONVERT, *command, "OUT"))
        put("imagemagick-jpeg.tif", at.by("o.tif", CONVERT, png, "-compress", "JPEG", "OUT"), refuse="as JPEG")
        put("imagemagick-float.tif", at.by("o.tif", CONVERT, png, "-depth", "32", "-define", "quantum:format=floating-point", "OUT"), refuse="floats")
        put("imagemagick-lab.tif", at.by("o.tif", CONVERT, png, "-colorspace", "Lab", "OUT"), refuse="L*a*b*")
        put("pillow-grey-alpha.tif", tif("la.tif", glass().convert("LA")).read_bytes())
        put("pillow-grey-alpha-lzw.tif", tif("la.tif", glass().convert("LA"), compression="tiff_lzw").read_bytes())
        put("imagemagick-grey-alpha.tif", at.by("o.tif", CONVERT, clear, "-colorspace", "Gray", "-compress", "LZW", "OUT"))
        put("imagemagick-grey-alpha-tiles.tif", at.by("o.tif", CONVERT, clear, "-colorspace", "Gray", "-define", "tiff:tile-geometry=16x16", "-compress", "Zip", "OUT"))
        for o in (2, 3, 5, 6, 8):
            put(f"tiffset-{o}.tif", retagged(rgb.read_bytes(), set_={274: (3, o)}))
        put("exiftool-6.tif", at.by("e.tif", "exiftool", "-q", "-Orientation#=6", "-Artist=someone", "-GPSLatitude=1", "-XMP:Title=a", "-o", "OUT", rgb))
    plain = made["tiffcp-none.tif"]
    put("orientation-long.tif", retagged(plain, set_={274: (4, 6)}))
    put("unsorted.tif", retagged(plain, order=reversed))
    put("unknown-tags.tif", retagged(plain, set_={65000: (3, 7), 50: (99, 1), 34675: (7, 9)}))
    put("no-strip-sizes.tif", retagged(plain, drop=[279]))
    put("strip-sizes-zero.tif", retagged(plain, set_={279: (4, 0)}))
    put("no-rows-per-strip.tif", retagged(plain, drop=[278]))
    put("no-compression.tif", retagged(plain, drop=[259]))
    put("rgbx.tif", retagged(saved(glass(), "TIFF"), set_={338: (3, 0)}))
    put("cut.tif", plain[:1500], refuse="cut off")
    put("cut-in-directory.tif", plain[:-40], refuse="cut off")
    put("sample-format-4.tif", retagged(made["tiffcp-none.tif"], set_={339: (3, 4)}), same="plain.tif")


def retagged(data, set_=(), drop=(), order=None):
    """A little-endian TIFF with its directory written again at its end."""
    at = struct.unpack("<I", data[4:8])[0]
    n = struct.unpack("<H", data[at : at + 2])[0]
    entries = {struct.unpack("<H", data[at + 2 + 12 * i :][:2])[0]: data[at + 2 + 12 * i :][:12] for i in range(n)}
    for tag, (kind, value) in dict(set_).items():
        entries[tag] = struct.pack("<HHII", tag, kind, 1, value)
    kept = [entries[t] for t in sorted(entries) if t not in drop]
    if order:
        kept = list(order(kept))
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", len(kept)) + b"".join(kept) + b"\0\0\0\0"


# --- WebP -------------------------------------------------------------------

def webp_chunks(data):
    at = 12
    while at + 8 <= len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def riff(parts):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for k, d in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_with(data, *new, flags=0, first=False):
    """An extended WebP with chunks behind the picture, or before it."""
    parts = [p for p in webp_chunks(data) if p[0] != b"VP8X"]
    flags |= sum({b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}.get(k, 0) for k, _ in new) | (16 if any(k == b"ALPH" for k, _ in parts) else 0)
    canvas = bytes([flags, 0, 0, 0]) + struct.pack("<I", W - 1)[:3] + struct.pack("<I", H - 1)[:3]
    return riff([(b"VP8X", canvas), *(new if first else ()), *parts, *(() if first else new)])


def webps():
    lossy, clear = saved(picture(), "WEBP", quality=90), saved(glass(), "WEBP", quality=90)
    put("plain.webp", lossy)
    put("lossless.webp", WEBP)
    put("glass.webp", clear)
    put("glass-lossless.webp", saved(glass(), "WEBP", lossless=True))
    put("unknown-chunks.webp", webp_with(lossy, (b"ABCD", b"odd"), (b"iccp", b"x")))
    put("unknown-chunks-first.webp", webp_with(lossy, (b"ABCD", b"odd"), first=True))
    put("icc-broken.webp", webp_with(lossy, (b"ICCP", b"not a profile"), first=True))
    put("exif-garbage.webp", webp_with(lossy, (b"EXIF", b"")))
    put("alpha-flag-alone.webp", webp_with(lossy, flags=16))
    put("behind.webp", lossy + b"garbage")
    put("cut.webp", lossy[: len(lossy) // 2], refuse="cut off")
    put("moving.webp", saved(picture(), "WEBP", save_all=True, append_images=[picture().rotate(180)], duration=100), refuse="animated")
    with Folder() as at:
        png, clearpng = at.write("p.png", PNG), at.write("g.png", saved(glass(), "PNG"))
        still, six = at.write("s.webp", lossy), at.write("six.exif", exif())
        at.write("a.xmp", XMP_ATTRIBUTE)
        at.write("a.icc", b"\0" * 128)
        put("cwebp.webp", at.by("o.webp", "cwebp", "-quiet", "-q", "90", png, "-o", "OUT"))
        put("cwebp-metadata.webp", at.by("o.webp", "cwebp", "-quiet", "-metadata", "all", "-lossless", png, "-o", "OUT"))
        put("cwebp-glass.webp", at.by("o.webp", "cwebp", "-quiet", "-q", "80", "-alpha_method", "0", clearpng, "-o", "OUT"))
        put("webpmux-exif.webp", at.by("o.webp", "webpmux", "-set", "exif", six, still, "-o", "OUT"))
        put("webpmux-xmp.webp", at.by("o.webp", "webpmux", "-set", "xmp", at.path / "a.xmp", still, "-o", "OUT"))
        put("webpmux-icc.webp", at.by("o.webp", "webpmux", "-set", "icc", at.path / "a.icc", still, "-o", "OUT"))


# --- readings ---------------------------------------------------------------

def pillow(data):
    img = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if img.mode in ("I;16", "I;16B", "I;16L"):
        return cv2.cvtColor((np.asarray(img) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    if img.mode in ("RGBA", "LA", "PA") or "transparency" in img.info:
        return laid_out(np.asarray(img.convert("RGBA")))
    return np.asarray(img.convert("RGB"))[..., ::-1]


def laid_out(rgba):
    """rapidocr's cvt_four_to_three, in BGR."""
    bgr, alpha = rgba[..., 2::-1].astype(np.float32), rgba[..., 3:].astype(np.float32) / 255
    seen = rgba[..., 3] > 0
    grey = (rgba[..., :3].astype(np.float64) @ [0.299, 0.587, 0.114])[seen]
    back = 255 if not len(grey) or grey.mean() < 128 else 0
    return (bgr * alpha + back * (1 - alpha)).astype(np.uint8)


def opencv(data):
    img = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert img is not None
    return img


def main():
    global PNG, WEBP
    warnings.simplefilter("ignore")
    PNG, WEBP = saved(picture(), "PNG"), saved(picture(), "WEBP", lossless=True)
    if "--answers" in sys.argv:
        old = json.loads((HERE / "golden.json").read_text())
        for name, how in old.items():
            put(name, (HERE / name).read_bytes(), refuse=how.get("refused"), opencv=how.get("opencv", False), same=how.get("like"))
    else:
        for make in (metadata, pngs, jpegs, gifs, bmps, tiffs, webps):
            make()
    HERE.mkdir(parents=True, exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    golden = {}
    for name, data in sorted(made.items()):
        (HERE / name).write_bytes(data)
        if name in refused:
            golden[name] = {"refused": refused[name]}
            continue
        bgr = (opencv if name in by_opencv else pillow)(made[like.get(name, name)])
        reading = hashlib.sha256(bgr.tobytes() + bytes(bgr.shape[:2])).hexdigest()[:10] + ".read.png"
        (HERE / reading).write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        golden[name] = {"reading": reading} | ({"opencv": True} if name in by_opencv else {"like": like[name]} if name in like else {})
    (HERE / "golden.json").write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n")
    print(len(golden), "files,", sum(f.stat().st_size for f in HERE.iterdir()), "bytes")


if __name__ == "__main__":
    main()

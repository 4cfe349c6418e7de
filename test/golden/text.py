# /// script
# requires-python = ">=3.11"
# dependencies = ["rapidocr==3.10.0", "onnxruntime==1.31.1", "numpy==2.4.6", "opencv-python-headless==5.0.0.93", "pillow==13.0.0"]
# ///
"""Makes the inputs and the reference answers of the three text functions.

    python3 -m venv /tmp/golden && . /tmp/golden/bin/activate
    pip install --no-deps rapidocr==3.10.0
    pip install onnxruntime==1.31.1 numpy==2.4.6 opencv-python-headless==5.0.0.93 pillow==13.0.0 \
        omegaconf==2.4.0 pyclipper==1.4.0 shapely==2.2.0 colorlog==6.12.0 requests==2.34.2 tqdm==4.70.1 six==1.17.0
    apt-get install fonts-dejavu-core fonts-noto-cjk
    python test/golden/text.py

It draws the pages into functions/text-*/testdata with fonts that may be used
freely (DejaVu's licence, SIL OFL), and writes golden.json beside them. The
pages are drawn once: with --answers only the golden.json files are written
again.

The answers are rapidocr's own, step by step with its defaults, with three
repairs: scores are sorted together with their boxes (TextDetector sorts the
boxes alone), palette images reach it as RGB (LoadImage takes a palette's
indices for grey), and lines are read one at a time (in a batch each is padded
to the widest one, which changes what is read: "Total: $1" became "Total:$1"). Lines are cropped from the whole image, also where rapidocr
would shrink it first.
"""

import argparse
import json
import pathlib

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from rapidocr import RapidOCR
from rapidocr.utils.process_img import (
    apply_vertical_padding,
    get_rotate_crop_image,
    map_boxes_to_original,
    resize_image_within_bounds,
)

ROOT = pathlib.Path(__file__).resolve().parents[2] / "functions"
DETECT, ORIENT, RECOGNIZE = (ROOT / f"text-{n}" / "testdata" for n in ("detect", "orient", "recognize"))
IMAGING = ROOT.parent / "codec/imaging/testdata"
DEJAVU = "/usr/share/fonts/truetype/dejavu/"
NOTO = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


def font(name, size):
    return ImageFont.truetype(NOTO if name == "NotoSansCJK" else f"{DEJAVU}{name}.ttf", size)


class Page:
    """A page and the text that stands on it, in reading order."""

    def __init__(self, width, height, back="white"):
        self.image = Image.new("RGB", (width, height), back)
        self.lines = []

    def write(self, x, y, text, face="DejaVuSans", size=24, fill="black", angle=0):
        f = font(face, size)
        if angle == 0:
            ImageDraw.Draw(self.image).text((x, y), text, font=f, fill=fill)
        else:
            box = f.getbbox(text)
            layer = Image.new("L", (box[2] + 8, box[3] + 8), 0)
            ImageDraw.Draw(layer).text((4, 4), text, font=f, fill=255)
            layer = layer.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
            self.image.paste(Image.new("RGB", layer.size, fill), (x, y), layer)
        self.lines.append(text)
        return self


def printed():
    page = Page(1000, 700)
    page.write(60, 40, "ModelServe reads this page", "DejaVuSans-Bold", 40)
    page.write(60, 120, "Serverless functions for machine learning models.")
    page.write(60, 165, "They cost nothing while nobody calls them.", "DejaVuSerif", 24)
    page.write(60, 220, "Invoice No. 2026-0417", "DejaVuSansMono", 22)
    page.write(640, 220, "Total: $1,284.50", "DejaVuSansMono", 22)
    page.write(60, 270, "The quick brown fox jumps over the lazy dog", "DejaVuSerif-Bold", 20)
    page.write(60, 315, "Pack my box with five dozen liquor jugs 0123456789", "DejaVuSans", 16)
    page.write(60, 360, "Grüße aus Köln, café crème, señor Núñez", "DejaVuSans", 26)
    page.write(60, 420, "jane.doe@example.com", "DejaVuSans", 28, "#1040a0")
    page.write(560, 420, "+49 221 555-0199", "DejaVuSans", 28, "#a01020")
    page.write(60, 490, "LARGE LETTERS", "DejaVuSans-Bold", 64, "#206030")
    page.write(60, 600, "A small note at the foot of the page, set in twelve pixels.", "DejaVuSans", 13)
    return page


def slanted():
    page = Page(900, 700, "#f4f1e8")
    page.write(80, 30, "This line climbs ten degrees", "DejaVuSans-Bold", 30, angle=10)
    page.write(120, 180, "and this one falls by fifteen", "DejaVuSerif", 30, angle=-15)
    page.write(40, 360, "standing upright", "DejaVuSans-Bold", 34, angle=90)
    page.write(420, 330, "steeply up", "DejaVuSans", 32, angle=40)
    page.write(200, 590, "level again", "DejaVuSans", 36)
    return page


def photo():
    """A page under uneven light, out of focus and noisy."""
    page = Page(960, 640)
    page.write(90, 80, "Harbour Street 12", "DejaVuSans-Bold", 46, "#f0e8d0")
    page.write(90, 170, "Open Monday to Friday", "DejaVuSerif", 34, "#f0e8d0")
    page.write(90, 240, "9:00 - 17:30", "DejaVuSansMono", 34, "#ffd060")
    page.write(120, 360, "Please ring the bell twice", "DejaVuSans", 30, "#e0f0ff", angle=4)
    page.write(420, 520, "EXIT", "DejaVuSans-Bold", 70, "#ff9070")
    ink = np.asarray(page.image).astype(np.float32)
    mask = (ink.min(2, keepdims=True) < 255).astype(np.float32)
    y, x = np.mgrid[0:640, 0:960].astype(np.float32)
    light = (40 + 60 * x / 960 + 30 * np.sin(y / 90) + 20 * np.cos(x / 140))[..., None] * np.array([0.8, 0.9, 1.0])
    shade = 1 - 0.35 * (y / 640)[..., None]
    mixed = mask * ink * shade + (1 - mask) * light
    blurred = cv2.GaussianBlur(mixed, (0, 0), 0.9) + np.random.default_rng(7).normal(0, 6, mixed.shape)
    page.image = Image.fromarray(np.clip(blurred, 0, 255).astype(np.uint8))
    return page


def upside_down():
    page = Page(800, 360)
    page.write(60, 60, "One line stands as it should", "DejaVuSans", 32)
    page.write(60, 150, "this one was turned around", "DejaVuSans-Bold", 32, angle=180)
    page.write(60, 240, "and here all is well again", "DejaVuSerif", 32)
    return page


def chinese():
    page = Page(800, 420)
    page.write(60, 50, "无服务器机器学习平台", "NotoSansCJK", 44)
    page.write(60, 150, "读取图片、语音和文件", "NotoSansCJK", 32)
    page.write(60, 230, "合计:人民币 1,284.50 元", "NotoSansCJK", 30)
    page.write(60, 310, "こんにちは世界 カタカナ", "NotoSansCJK", 34)
    return page


def small(width=420, height=150):
    page = Page(width, height)
    page.write(20, 20, "Same words,", "DejaVuSans", 34)
    page.write(20, 80, "another format", "DejaVuSans", 34)
    return page


def transparent():
    page = Page(460, 140)
    page.write(20, 40, "Ink on glass", "DejaVuSans-Bold", 44)
    rgba = page.image.convert("RGBA")
    rgba.putalpha(ImageOps.invert(page.image.convert("L")))
    page.image = rgba
    return page


def draw_pages():
    """Every page of text-detect: (file, page, how it is saved)."""
    p, s = printed(), small()
    large = Page(2600, 1500)
    for i, line in enumerate(["Larger than the network looks at", "so it is shrunk on the way in", "and its boxes grown on the way out"]):
        large.write(160, 200 + 400 * i, line, "DejaVuSans", 90)
    wide = Page(900, 60).write(20, 12, "one wide line gets black bands above and below it", size=28)
    thin = Page(360, 24).write(6, 1, "thinner than thirty pixels", size=18)
    column = Page(130, 900)
    for i, c in enumerate("COLUMN"):
        column.write(40, 30 + 140 * i, c, "DejaVuSans-Bold", 44)
    turned = small()
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = turned.image.rotate(90, expand=True)
    quality = {"quality": 90}
    blank = Page(320, 240)
    return [
        ("page.png", p, p.image, {"optimize": True}),
        ("slanted.png", q := slanted(), q.image, {"optimize": True}),
        ("photo.jpg", q := photo(), q.image, quality),
        ("upside-down.png", q := upside_down(), q.image, {"optimize": True}),
        ("chinese.png", q := chinese(), q.image, {"optimize": True}),
        ("large.png", large, large.image.convert("L"), {"optimize": True}),
        ("wide.png", wide, wide.image, {"optimize": True}),
        ("thin.png", thin, thin.image, {"optimize": True}),
        ("column.png", column, column.image, {"optimize": True}),
        ("blank.png", blank, blank.image, {"optimize": True}),
        ("transparent.png", q := transparent(), q.image, {"optimize": True}),
        ("exif-6.jpg", turned, sideways, quality | {"exif": exif}),
        ("small.webp", s, s.image, {"quality": 85}),
        ("small-lossless.webp", s, s.image, {"lossless": True}),
        ("small.gif", s, s.image.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        ("small.bmp", s, s.image.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        ("small.tiff", s, s.image, {"compression": "tiff_lzw"}),
        ("small-444.jpg", s, s.image, quality | {"subsampling": 0, "progressive": True}),
    ]


def draw_lines():
    """Images of one line each for text-orient and text-recognize."""
    def line(text, face="DejaVuSans", size=36, pad=10, **kw):
        box = font(face, size).getbbox(text)
        return Page(box[2] + 2 * pad, box[3] + 2 * pad, kw.get("back", "white")).write(pad, pad, text, face, size, kw.get("fill", "black"))

    plain = line("Hello from ModelServe")
    turned = line("turned on its head")
    turned.image = turned.image.rotate(180)
    recognize = [
        ("line.png", plain), ("short.png", line("42")), ("long.png", line("a line that runs on for rather longer than most lines of text do", size=22)),
        ("chinese.png", line("机器学习 2026", "NotoSansCJK")), ("inverse.png", line("white on black", back="black", fill="white")),
        ("symbols.png", line("{a: [1, 2.5], b: \"x@y\"} 100% #7", "DejaVuSansMono", 26)), ("thin.png", line("tiny", size=12, pad=2)),
    ]
    orient = [("line.png", plain), ("turned.png", turned), ("long.png", recognize[2][1])]
    return orient, recognize


def load(path):
    """An image as LoadImage gives it, BGR and upright."""
    img = ImageOps.exif_transpose(Image.open(path))
    if img.mode == "P":
        img = img.convert("RGB")
    return engine.load_img.convert_img(engine.load_img.img_to_ndarray(img), Image.Image)


def detect(img):
    page, op = engine.preprocess_img(img)
    page, op = apply_vertical_padding(page, op, engine.width_height_ratio, engine.min_height)
    det = engine._load_det_model()
    boxes, scores = det.postprocess_op(det.session(det.get_preprocess()(page)), page.shape[:2])
    if len(boxes) < 1:
        return []
    score_of = {tuple(b.ravel()): s for b, s in zip(boxes, scores, strict=True)}
    boxes = det.sorted_boxes(boxes)
    scores = [score_of[tuple(b.ravel())] for b in boxes]
    boxes = map_boxes_to_original(boxes.copy(), op, *img.shape[:2])
    return [
        {"polygon": [[round(float(v), 5) for v in c] for c in b], "score": round(float(s), 5)}
        for b, s in zip(boxes, scores, strict=True)
    ]


def crops(img, polygons):
    return [get_rotate_crop_image(img, np.array(p, dtype=np.float32)) for p in polygons]


def orient(images):
    out = engine._load_cls_model()(images)
    return out.img_list, [{"label": int(label), "score": round(float(score), 5)} for label, score in out.cls_res]


def recognize(images):
    from rapidocr.ch_ppocr_rec import TextRecInput

    out = engine._load_rec_model()(TextRecInput(img=images, return_word_box=False))
    return [{"text": t, "score": s} for t, s in zip(out.txts, out.scores, strict=True)]


SIZES = [(200, 150), (71, 48), (320, 48), (60, 40)]
QUADS = [
    [(10, 10), (110, 10), (110, 40), (10, 40)],
    [(12, 13), (120, 40), (110, 70), (5, 44)],
    [(-10, -5), (150, 0), (142, 96), (0, 90)],
    [(60, 5), (100, 80), (70, 90), (40, 20)],
]


def opencv():
    """What OpenCV itself makes of one picture, for the imaging package."""
    noise = np.random.default_rng(1).integers(0, 256, (97, 143, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(noise, (3, 3), 0)
    IMAGING.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(IMAGING / "texture.png"), texture)
    for w, h in SIZES:
        cv2.imwrite(str(IMAGING / f"resized-{w}x{h}.png"), cv2.resize(texture, (w, h)))
    for i, quad in enumerate(QUADS):
        cv2.imwrite(str(IMAGING / f"cropped-{i}.png"), crops(texture, [quad])[0])
    (IMAGING / "quads.json").write_text(json.dumps(QUADS) + "\n")


def save(folder, golden):
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (folder / "golden.json").write_text(text + "\n")


def draw():
    """Writes every image, and truth.json beside them: what each one says."""
    orient_lines, recognize_lines = draw_lines()
    for folder, pages in (
        (DETECT, draw_pages()),
        (ORIENT, [(n, p, p.image, {"optimize": True}) for n, p in orient_lines]),
        (RECOGNIZE, [(n, p, p.image, {"optimize": True}) for n, p in recognize_lines]),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for name, _, image, options in pages:
            image.save(folder / name, **options)
        said = {name: page.lines for name, page, _, _ in pages}
        (folder / "truth.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    opencv()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--answers", action="store_true", help="keep the images, write golden.json again")
    answers_only = args.parse_args().answers

    if not answers_only:
        draw()
    truth = {f: json.loads((f / "truth.json").read_text()) for f in (DETECT, ORIENT, RECOGNIZE)}

    detected, oriented, recognized = {}, {}, {}
    for name, lines in truth[DETECT].items():
        img = load(DETECT / name)
        boxes = detect(img)
        detected[name] = {"width": img.shape[1], "height": img.shape[0], "boxes": boxes}
        if not boxes:
            continue
        polygons = [b["polygon"] for b in boxes]
        turned, directions = orient(crops(img, polygons))
        oriented[name] = {"polygons": polygons, "lines": directions}
        angles = [180 if d["label"] == 180 and d["score"] > 0.9 else 0 for d in directions]
        recognized[name] = {"polygons": polygons, "orientations": angles, "lines": recognize(turned), "truth": lines}

    save(DETECT, detected)
    save(ORIENT, {"pages": oriented, "lines": {n: orient([load(ORIENT / n)])[1][0] for n in truth[ORIENT]}})
    save(RECOGNIZE, {
        "pages": recognized,
        "lines": {n: recognize([load(RECOGNIZE / n)])[0] | {"truth": t[0]} for n, t in truth[RECOGNIZE].items()},
    })


if __name__ == "__main__":
    engine = RapidOCR(params={"Global.log_level": "error", "Rec.rec_batch_num": 1})
    main()

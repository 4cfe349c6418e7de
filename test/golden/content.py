# /// script
# requires-python = ">=3.11"
# dependencies = ["magika==1.0.3", "onnxruntime==1.31.1", "numpy==2.4.6"]
# ///
"""Makes the inputs and the reference answers of content-detect.

    test/golden/make.sh

It writes functions/content-detect/testdata/files/*, all generated here, and
testdata/golden.json with what magika's Python package makes of them.
"""

import base64
import bz2
import gzip
import io
import json
import lzma
import marshal
import pathlib
import pickle
import random
import sqlite3
import struct
import tarfile
import wave
import zipfile
import zlib

import magika
import numpy as np

HERE = pathlib.Path(__file__).resolve().parents[2] / "functions/content-detect/testdata"

# Written for this file; each has enough of its language to be recognised, or
# too little on purpose.
TEXTS = {
    "go": 'package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\n// Greeter greets.\ntype Greeter struct{ name string }\n\nfunc (g Greeter) Greet() error {\n\tif g.name == "" {\n\t\treturn fmt.Errorf("nobody to greet")\n\t}\n\tfmt.Println("hello", g.name)\n\treturn nil\n}\n\nfunc main() {\n\tif err := (Greeter{os.Args[1]}).Greet(); err != nil {\n\t\tos.Exit(1)\n\t}\n}\n',
    "python": 'import os\nimport sys\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Point:\n    x: float\n    y: float = 0.0\n\n    def norm(self) -> float:\n        return (self.x ** 2 + self.y ** 2) ** 0.5\n\n\nif __name__ == "__main__":\n    print([Point(float(a)).norm() for a in sys.argv[1:]], os.getcwd())\n',
    "rust": 'use std::collections::HashMap;\n\n#[derive(Debug, Clone)]\npub struct Cache<V> {\n    entries: HashMap<String, V>,\n}\n\nimpl<V: Clone> Cache<V> {\n    pub fn get(&self, key: &str) -> Option<V> {\n        self.entries.get(key).cloned()\n    }\n}\n\nfn main() {\n    let mut c = Cache { entries: HashMap::new() };\n    c.entries.insert("a".to_string(), 1);\n    println!("{:?}", c.get("a").unwrap());\n}\n',
    "c": '#include <stdio.h>\n#include <stdlib.h>\n\nstatic int compare(const void *a, const void *b)\n{\n\treturn *(const int *)a - *(const int *)b;\n}\n\nint main(int argc, char **argv)\n{\n\tint v[] = {3, 1, 2};\n\tqsort(v, 3, sizeof(*v), compare);\n\tfor (size_t i = 0; i < 3; i++)\n\t\tprintf("%d\\n", v[i]);\n\treturn EXIT_SUCCESS;\n}\n',
    "cpp": '#include <iostream>\n#include <vector>\n#include <memory>\n\nnamespace shapes {\ntemplate <typename T>\nclass Box final : public Shape {\n public:\n  explicit Box(T side) : side_(std::move(side)) {}\n  auto area() const noexcept -> T override { return side_ * side_; }\n private:\n  T side_;\n};\n}  // namespace shapes\n\nint main() {\n  auto b = std::make_unique<shapes::Box<double>>(2.0);\n  std::cout << b->area() << std::endl;\n}\n',
    "java": 'package dev.example.app;\n\nimport java.util.List;\nimport java.util.stream.Collectors;\n\npublic final class Main {\n    private final List<String> names;\n\n    public Main(List<String> names) {\n        this.names = names;\n    }\n\n    @Override\n    public String toString() {\n        return names.stream().map(String::trim).collect(Collectors.joining(", "));\n    }\n\n    public static void main(String[] args) {\n        System.out.println(new Main(List.of(args)));\n    }\n}\n',
    "javascript": "'use strict';\nconst fs = require('fs');\n\nasync function read(path) {\n  const text = await fs.promises.readFile(path, 'utf8');\n  return text.split('\\n').filter((line) => line !== '');\n}\n\nmodule.exports = { read };\nread(process.argv[2]).then((lines) => console.log(`${lines.length} lines`)).catch((e) => { console.error(e); });\n",
    "typescript": "import { Injectable } from '@angular/core';\n\nexport interface User {\n  readonly id: number;\n  name?: string;\n}\n\n@Injectable()\nexport class UserService {\n  private users: Map<number, User> = new Map();\n\n  find(id: number): User | undefined {\n    return this.users.get(id);\n  }\n\n  async all<T extends User>(filter: (u: User) => u is T): Promise<T[]> {\n    return [...this.users.values()].filter(filter);\n  }\n}\n",
    "ruby": "require 'set'\n\nmodule Shop\n  class Basket\n    attr_reader :items\n\n    def initialize\n      @items = Set.new\n    end\n\n    def total\n      items.map(&:price).reduce(0) { |sum, p| sum + p }\n    end\n  end\nend\n\nputs Shop::Basket.new.total unless ARGV.empty?\n",
    "php": "<?php\ndeclare(strict_types=1);\n\nnamespace App\\Http;\n\nuse App\\Model\\User;\n\nfinal class Controller\n{\n    public function __construct(private User $user) {}\n\n    public function show(int $id): array\n    {\n        foreach ($this->user->find($id) as $key => $value) {\n            echo \"$key: $value\\n\";\n        }\n        return ['id' => $id];\n    }\n}\n",
    "shell": '#!/bin/sh\nset -eu\n\nfor f in "$@"; do\n  if [ -f "$f" ]; then\n    echo "copying $f" >&2\n    cp -- "$f" "${DEST:-/tmp}/$(basename "$f")"\n  fi\ndone\n\ncase "${1:-}" in\n  -h|--help) usage; exit 0 ;;\nesac\n',
    "sql": "CREATE TABLE orders (\n  id BIGINT PRIMARY KEY,\n  customer_id BIGINT NOT NULL REFERENCES customers (id),\n  placed_at TIMESTAMPTZ DEFAULT now()\n);\n\nINSERT INTO orders (id, customer_id) VALUES (1, 7), (2, 9);\n\nSELECT c.name, count(*) AS n\nFROM orders o JOIN customers c ON c.id = o.customer_id\nWHERE o.placed_at > '2024-01-01'\nGROUP BY c.name HAVING count(*) > 1 ORDER BY n DESC LIMIT 10;\n",
    "html": '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>A page</title>\n<link rel="stylesheet" href="style.css">\n</head>\n<body>\n<h1>Heading</h1>\n<p>Some <em>text</em> and a <a href="/x">link</a>.</p>\n<script>console.log("hi");</script>\n</body>\n</html>\n',
    "css": "body {\n  margin: 0;\n  font-family: sans-serif;\n}\n\n.card > .title:hover {\n  color: #336699;\n  transition: color 0.2s ease-in;\n}\n\n@media (max-width: 600px) {\n  .card { display: flex; flex-direction: column; }\n}\n",
    "xml": '<?xml version="1.0" encoding="UTF-8"?>\n<catalog xmlns="http://example.org/catalog">\n  <book id="b1" lang="en">\n    <title>On Growth</title>\n    <price currency="EUR">12.50</price>\n  </book>\n  <book id="b2"><title>Second</title></book>\n</catalog>\n',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100" viewBox="0 0 100 100">\n  <circle cx="50" cy="50" r="40" fill="none" stroke="black" stroke-width="2"/>\n  <path d="M10 10 L 90 90 Z"/>\n</svg>\n',
    "json": '{\n  "name": "example",\n  "version": "1.2.3",\n  "private": true,\n  "tags": ["a", "b"],\n  "nested": {"count": 3, "ratio": 0.5, "nothing": null}\n}\n',
    "jsonl": '{"time": "2024-05-01T10:00:00Z", "level": "info", "msg": "started"}\n{"time": "2024-05-01T10:00:01Z", "level": "warn", "msg": "slow", "ms": 812}\n{"time": "2024-05-01T10:00:02Z", "level": "info", "msg": "done"}\n',
    "yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  labels:\n    app: web\nspec:\n  ports:\n    - port: 80\n      targetPort: 8080\n  selector:\n    app: web\n",
    "toml": '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nserde = { version = "1.0", features = ["derive"] }\n\n[[bin]]\nname = "demo"\npath = "src/main.rs"\n',
    "ini": "; settings\n[server]\nhost = 127.0.0.1\nport = 8080\n\n[log]\nlevel=debug\nfile=/var/log/app.log\n",
    "markdown": "# A project\n\nIt does *something* useful. See [the docs](docs/index.md).\n\n## Install\n\n```sh\nmake install\n```\n\n- first\n- second\n  1. nested\n\n> A quotation.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n",
    "rst": "Title\n=====\n\n.. note:: This is important.\n\nSection\n-------\n\nSome ``literal`` text and a `link <https://example.org>`_.\n\n.. code-block:: python\n\n   print('x')\n\n* item\n* item\n",
    "latex": "\\documentclass[11pt]{article}\n\\usepackage{amsmath}\n\\title{On Sums}\n\\begin{document}\n\\maketitle\n\\section{Introduction}\nWe have\n\\begin{equation}\n  \\sum_{i=1}^n i = \\frac{n(n+1)}{2}. \\label{eq:sum}\n\\end{equation}\nSee \\cite{gauss}.\n\\end{document}\n",
    "csv": "id,name,price,stock\n1,apple,0.50,120\n2,pear,0.65,80\n3,\"plum, dried\",2.10,15\n4,quince,1.20,7\n5,fig,0.90,33\n",
    "tsv": "id\tname\tprice\n1\tapple\t0.50\n2\tpear\t0.65\n3\tplum\t2.10\n4\tquince\t1.20\n",
    "dockerfile": 'FROM golang:1.26 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /out/app ./cmd/app\n\nFROM gcr.io/distroless/base\nCOPY --from=build /out/app /app\nEXPOSE 8080\nENTRYPOINT ["/app"]\n',
    "makefile": "CC ?= gcc\nOBJS := main.o util.o\n\n.PHONY: all clean\nall: app\n\napp: $(OBJS)\n\t$(CC) -o $@ $^\n\n%.o: %.c\n\t$(CC) -c -Wall $< -o $@\n\nclean:\n\trm -f app $(OBJS)\n",
    "diff": "--- a/main.c\n+++ b/main.c\n@@ -1,4 +1,5 @@\n #include <stdio.h>\n+#include <stdlib.h>\n \n int main(void)\n {\n-\treturn 0;\n+\treturn EXIT_SUCCESS;\n",
    "proto": 'syntax = "proto3";\n\npackage shop.v1;\n\nimport "google/protobuf/timestamp.proto";\n\nmessage Order {\n  string id = 1;\n  repeated Item items = 2;\n  google.protobuf.Timestamp placed_at = 3;\n}\n\nservice Orders {\n  rpc Get(GetRequest) returns (Order);\n}\n',
    "hcl": 'terraform {\n  required_version = ">= 1.5"\n}\n\nresource "aws_s3_bucket" "models" {\n  bucket = var.bucket\n  tags = {\n    env = "dev"\n  }\n}\n\nvariable "bucket" {\n  type    = string\n  default = "models"\n}\n',
    "kotlin": 'package app\n\nimport kotlinx.coroutines.*\n\ndata class User(val id: Int, val name: String?)\n\nfun main(args: Array<String>) = runBlocking {\n    val users = listOf(User(1, "a"), User(2, null))\n    users.filter { it.name != null }.forEach { println("${it.id}: ${it.name?.uppercase()}") }\n}\n',
    "swift": 'import Foundation\n\nprotocol Shape { var area: Double { get } }\n\nstruct Circle: Shape {\n    let radius: Double\n    var area: Double { .pi * radius * radius }\n}\n\nguard let c = Optional(Circle(radius: 2)) else { fatalError() }\nprint("area \\(c.area)")\n',
    "haskell": 'module Main where\n\nimport qualified Data.Map as M\nimport Data.Maybe (fromMaybe)\n\ncount :: Ord a => [a] -> M.Map a Int\ncount = foldr (\\x -> M.insertWith (+) x 1) M.empty\n\nmain :: IO ()\nmain = do\n  text <- getContents\n  print . M.toList $ count (words text)\n',
    "lua": 'local M = {}\n\nfunction M.new(name)\n  local self = setmetatable({}, { __index = M })\n  self.name = name or "nobody"\n  return self\nend\n\nfor i, v in ipairs({1, 2, 3}) do\n  print(i .. ": " .. v)\nend\n\nreturn M\n',
    "perl": '#!/usr/bin/perl\nuse strict;\nuse warnings;\n\nmy %count;\nwhile (my $line = <STDIN>) {\n    chomp $line;\n    $count{$_}++ for split /\\s+/, $line;\n}\nfor my $w (sort { $count{$b} <=> $count{$a} } keys %count) {\n    printf "%s %d\\n", $w, $count{$w};\n}\n',
    "powershell": 'param(\n    [Parameter(Mandatory=$true)][string]$Path\n)\n$ErrorActionPreference = "Stop"\nGet-ChildItem -Path $Path -Recurse | Where-Object { $_.Length -gt 1MB } | ForEach-Object {\n    Write-Host "$($_.FullName): $($_.Length)"\n}\n',
    "batch": "@echo off\r\nsetlocal\r\nif \"%1\"==\"\" goto usage\r\nfor %%f in (*.txt) do (\r\n  echo copying %%f\r\n  copy \"%%f\" \"%1\"\r\n)\r\ngoto :eof\r\n:usage\r\necho usage: copy.bat DEST\r\n",
    "eml": "From: A <a@example.org>\r\nTo: B <b@example.org>\r\nSubject: Hello\r\nDate: Wed, 1 May 2024 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello B,\r\n\r\nsee you tomorrow.\r\n\r\nA\r\n",
    "ics": "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//EN\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\nDTSTART:20240501T100000Z\r\nSUMMARY:Meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    "srt": "1\n00:00:01,000 --> 00:00:03,500\nGood morning.\n\n2\n00:00:04,000 --> 00:00:06,000\nIs there any tea?\n\n3\n00:00:07,250 --> 00:00:09,000\nAlways.\n",
    "vtt": "WEBVTT\n\n00:01.000 --> 00:03.500\nGood morning.\n\n00:04.000 --> 00:06.000\nIs there any tea?\n",
    "postscript": "%!PS-Adobe-3.0\n%%BoundingBox: 0 0 100 100\n/Helvetica findfont 12 scalefont setfont\nnewpath 10 10 moveto 90 90 lineto stroke\n10 50 moveto (hello) show\nshowpage\n%%EOF\n",
    "prose": "It was late when the last of them left the hall. The lamps had burned low, and nobody had thought to bring more oil. Outside, the rain went on as it had all week, and the road to the mill was under water again.\n",
    "prose-greek": "Ήταν αργά όταν έφυγε και ο τελευταίος από την αίθουσα. Τα λυχνάρια είχαν χαμηλώσει, και κανείς δεν είχε σκεφτεί να φέρει κι άλλο λάδι.\n",
    "html-fragment": "<div class=x><p>only a bit</p>",
    "short-number": "3.14159265",
    "ambiguous": "a = b;\nc = d;\n",
    "handlebars": '<ul class="people">\n  {{#each people}}\n    <li>{{this.name}} {{> badge}}</li>\n  {{else}}\n    <li>nobody</li>\n  {{/each}}\n</ul>\n',
    "zig": 'const std = @import("std");\n\npub fn main() !void {\n    const stdout = std.io.getStdOut().writer();\n    var i: usize = 0;\n    while (i < 3) : (i += 1) {\n        try stdout.print("{d}\\n", .{i});\n    }\n}\n',
    "ocaml": 'let rec fact n = if n <= 1 then 1 else n * fact (n - 1)\n\ntype tree = Leaf | Node of tree * int * tree\n\nlet () =\n  match Sys.argv with\n  | [| _; n |] -> Printf.printf "%d\\n" (fact (int_of_string n))\n  | _ -> prerr_endline "usage"\n',
    "r": 'library(ggplot2)\n\ndf <- data.frame(x = 1:10, y = rnorm(10))\nfit <- lm(y ~ x, data = df)\nsummary(fit)\nggplot(df, aes(x, y)) + geom_point() + geom_smooth(method = "lm")\n',
    "gitignore": "*.o\n/build/\n!keep.o\nnode_modules/\n.env\n",
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png():
    rows = b"".join(b"\0" + b"".join(bytes((x * 15, y * 15, 128)) for x in range(16)) for y in range(16))
    head = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def zipped(names, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, text in names.items():
            z.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def tarred():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name in ("a.txt", "b.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(TEXTS["prose"])
            t.addfile(info, io.BytesIO(TEXTS["prose"].encode()))
    return out.getvalue()


def pdf():
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        b"<< /Length 44 >>\nstream\nBT /F1 24 Tf 20 100 Td (Hello, world) Tj ET \nendstream",
    ]
    out, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for i, o in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % i + o + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % o for o in offsets)
    return out + b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def sqlite():
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id integer primary key, name text)")
    db.executemany("insert into t (name) values (?)", [("a",), ("b",)])
    db.commit()
    return db.serialize()


def wave_file():
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setparams((1, 2, 8000, 0, "NONE", ""))
        w.writeframes(struct.pack("<400h", *(i * 37 % 2000 for i in range(400))))
    return out.getvalue()


def numpy_file():
    out = io.BytesIO()
    np.save(out, np.arange(100, dtype=np.float32).reshape(10, 10))
    return out.getvalue()


def binaries():
    rng = random.Random(7)
    words = TEXTS["prose"].encode()
    yield "zip", zipped({"a.txt": words, "b/c.txt": words})
    yield "jar", zipped({"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\nMain-Class: dev.example.Main\r\n\r\n", "dev/example/Main.class": b"\xca\xfe\xba\xbe\0\0\0\x34" + rng.randbytes(200)})
    yield "docx", zipped({"[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>', "_rels/.rels": "<Relationships/>", "word/document.xml": "<w:document/>", "word/styles.xml": "<w:styles/>"})
    yield "epub", zipped({"mimetype": "application/epub+zip", "META-INF/container.xml": "<container/>", "OEBPS/content.opf": "<package/>"}, zipfile.ZIP_STORED)
    yield "gzip", gzip.compress(words, mtime=0)
    yield "bzip", bz2.compress(words)
    yield "xz", lzma.compress(words)
    yield "zlib", zlib.compress(words * 3)
    yield "tar", tarred()
    yield "png", png()
    yield "gif", base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
    yield "bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54 + 192, 0, 0, 54, 40, 8, 8, 1, 24, 0, 192, 2835, 2835, 0, 0) + bytes(range(192))
    yield "pdf", pdf()
    yield "sqlite", sqlite()
    yield "wav", wave_file()
    yield "npy", numpy_file()
    yield "pickle", pickle.dumps({"a": [1, 2, 3], "b": ("x", 1.5), "c": words}, protocol=4)
    yield "pyc", b"\xa7\r\r\n" + b"\0" * 12 + marshal.dumps(compile(TEXTS["python"], "p.py", "exec"))
    yield "wasm", b"\0asm\x01\0\0\0" + bytes.fromhex("0107016002 7f7f017f03020100070701036164640000 0a09010700200020016a0b".replace(" ", ""))
    yield "elf-header", b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x401000, 64, 0, 0, 64, 56, 1, 64, 0, 0) + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 512, 512, 4096) + b"\x90" * 300
    yield "random-bytes", rng.randbytes(3000)
    yield "random-letters", "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(3000)).encode()
    yield "zeros", bytes(2000)


def edges():
    prose = TEXTS["prose"]
    yield "empty", b""
    yield "one-byte", b"x"
    yield "one-odd-byte", b"\xff"
    yield "seven-bytes", b"abcdefg"
    yield "seven-odd-bytes", b"\x80abcdef"
    yield "eight-bytes", b"abcdefgh"
    yield "newline", b"\n"
    yield "whitespace", b" \t\r\n\v\f" * 20
    yield "whitespace-two-blocks", b" \n" * 5000
    yield "whitespace-then-code", b"\n" * 3000 + TEXTS["go"].encode()
    yield "whitespace-block-then-code", b" " * 4096 + TEXTS["go"].encode()
    yield "code-then-whitespace-block", TEXTS["rust"].encode() + b" " * 5000
    yield "few-bytes-in-whitespace", b"   ab\n cd   "
    yield "few-greek-in-whitespace", "   αβγ   ".encode()
    yield "whitespace-block-cut-in-a-character", b" " * 4089 + "éééé".encode()
    yield "seven-bytes-then-whitespace", b"abcdefg" + b" " * 20
    yield "utf-8-bom", b"\xef\xbb\xbf" + prose.encode()
    yield "utf-16-le", b"\xff\xfe" + prose.encode("utf-16-le")
    yield "utf-16-be", b"\xfe\xff" + prose.encode("utf-16-be")
    yield "latin-1", ("Über die Brücke führt kein Weg zurück, sagte er. " * 6).encode("latin-1")
    yield "exactly-1024", (prose * 10).encode()[:1024]
    yield "exactly-4096", (TEXTS["python"] * 20).encode()[:4096]
    yield "just-over-a-block", (TEXTS["python"] * 20).encode()[:4097]
    yield "head-one-type-tail-another", TEXTS["html"].encode() * 20 + TEXTS["python"].encode() * 20
    yield "no-break-space", "  \u00a0\u00a0".encode() + TEXTS["yaml"].encode()
    yield "file-separators", b"\x1c\x1d\x1e\x1f" + TEXTS["yaml"].encode()
    yield "surrogate", b"\xed\xa0\x80abc"


def main():
    files = HERE / "files"
    files.mkdir(parents=True, exist_ok=True)
    for old in files.iterdir():
        old.unlink()
    inputs = {f"text-{name}": text.encode() for name, text in TEXTS.items()}
    inputs |= dict(binaries()) | dict(edges())
    detector = magika.Magika()
    golden = {}
    for name, content in sorted(inputs.items()):
        (files / name).write_bytes(content)
        result = detector.identify_bytes(content)
        out = result.output
        golden[name] = {
            "label": str(out.label),
            "mime_type": out.mime_type,
            "group": out.group,
            "description": out.description,
            "is_text": out.is_text,
            "score": result.score,
        }
        print(f"{name:40} {out.label!s:14} {result.score:.3f} (model: {result.dl.label})")
    (HERE / "golden.json").write_text(
        "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n"
    )


if __name__ == "__main__":
    main()

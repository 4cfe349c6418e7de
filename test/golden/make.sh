#!/usr/bin/env bash
# Writes the codecs' golden files again with the reference implementations, in
# a Python environment of their own that is thrown away.
#
#   test/golden/make.sh            the answers; pages, recordings and odd files stay as they are
#   test/golden/make.sh --inputs   these, too: needs fonts, a voice, and the programs whose files they are
#
# Nothing may change but what should: it ends by showing what git sees.
set -euo pipefail
cd "$(dirname "$0")/../.."

answers=--answers
case "${1-}" in
  "") ;;
  --inputs) answers= ;;
  *) echo "golden: expected nothing or --inputs, got \"$1\"" >&2; exit 2 ;;
esac

# Each tool or file that is needed, and the Debian package that has it.
missing=()
need() { [ -e "$1" ] || command -v "$1" >/dev/null || missing+=("$2"); }
need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ -z "$answers" ]; then
  need espeak-ng espeak-ng
  need /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
  need /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc fonts-noto-cjk
  while read -r program package; do need "/usr/bin/$program" "$package"; done <<'PROGRAMS'
sox sox
ffmpeg ffmpeg
arecord alsa-utils
pngcrush pngcrush
optipng optipng
pngquant pngquant
convert imagemagick
cjpeg libjpeg-turbo-progs
exiftool libimage-exiftool-perl
tiffcp libtiff-tools
cwebp webp
gifsicle gifsicle
pnmtopng netpbm
PROGRAMS
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "golden: install what is missing first: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi

export ORT_DISABLE_TELEMETRY=1

env=$(mktemp -d)
trap 'rm -rf "$env"' EXIT
python3 -m venv "$env"
echo "golden: fetch the reference implementations"
"$env/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: -r test/golden/requirements.txt

for of in text speech content odd_images odd_audio; do
  echo "golden: $of"
  # content.py generates its inputs, the same ones each time.
  if [ "$of" = content ]; then set --; else set -- $answers; fi
  "$env/bin/python" "test/golden/$of.py" "$@" >"$env/log" || { cat "$env/log" >&2; exit 1; }
done
changed=$(git status --short -- functions codec)
echo "golden: ${changed:-nothing has changed}"

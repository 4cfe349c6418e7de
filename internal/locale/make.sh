#!/usr/bin/env bash
# Makes the files of data/ again, on Debian 12 with its packages locales and
# libc-bin (2.36), and holds that C.UTF-8, whose name leads to them too, has the
# same upper and lower case and the same classes of characters.
#
#   internal/locale/make.sh
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
localedef --no-archive --little-endian -i en_US -f UTF-8 "$work/en_US.utf8"
cp /usr/lib/locale/C.utf8/LC_COLLATE "$work/en_US.utf8/LC_COLLATE" # by code point
cat >"$work/same.c" <<'C'
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <wctype.h>
int main(int n, char **dir) {
  setenv("LOCPATH", dir[1], 1);
  locale_t ours = newlocale(LC_ALL_MASK, "en_US.UTF-8", 0);
  setenv("LOCPATH", dir[2], 1);
  locale_t c = newlocale(LC_ALL_MASK, "C.UTF-8", 0);
  if (n != 3 || !ours || !c) return 1;
  const char *classes[] = {"alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"};
  for (wint_t w = 0; w < 0x110000; w++) {
    int same = towlower_l(w, ours) == towlower_l(w, c) && towupper_l(w, ours) == towupper_l(w, c);
    for (int i = 0; i < 12; i++)
      same = same && !iswctype_l(w, wctype_l(classes[i], ours), ours) == !iswctype_l(w, wctype_l(classes[i], c), c);
    if (!same) return printf("U+%04X differs\n", w), 1;
  }
}
C
cc -O2 -o "$work/same" "$work/same.c"
"$work/same" "$work" /usr/lib/locale
rm -rf data
mkdir data
cp -r "$work/en_US.utf8" data/
find data -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +

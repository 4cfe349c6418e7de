#!/usr/bin/env bash
# Fetches packages of Debian 12 that are pinned by sha256, or pins what it has now.
#
#   debian.sh fetch DIR ARCH MIRROR <FILE.sha256   into DIR/packages, what is not there
#   debian.sh pin DIR ARCH MIRROR NAME...          prints the lines of FILE.sha256
#
# MIRROR has debian/ and debian-security/ below it; "" is the machine's own. ARCH is
# any, as amd64. apt runs on a root folder of its own, DIR/apt/ARCH: nothing of the
# machine's apt is read but its proxies and its mirror, nothing of it is changed. No
# package is installed and none of its scripts runs.
set -euo pipefail
export LC_ALL=C
what=$1 dir=$(realpath -m "$2") arch=$3 mirror=${4:-}
shift 4
root=$dir/apt/$arch packages=$dir/packages
for tool in apt-get apt-config dpkg-deb; do
  command -v $tool >/dev/null || {
    echo "$tool is not here, and Debian's packages need it. Elsewhere than on Debian and Ubuntu run this in a container of debian:bookworm; the images come out the same" >&2
    exit 1
  }
done

# update has apt read what the archive holds, with its keys from the package
# debian-archive-keyring.
update() {
  echo "  apt          $arch: read what the archive holds" >&2
  umask 077 # proxies and mirrors may have passwords in their URLs
  rm -f "$root"/{apt.conf,sources.list}
  mkdir -p "$root"/{state/lists,cache/archives}/partial
  : >"$root/status"
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' | sed -n 's|/debian/$||p' | sort -u | head -1)
  mirror=${mirror:-http://deb.debian.org}
  local options="arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
  [ "$what" = pin ] || options+=" check-valid-until=no" # a mirror of a day that is past; sha256 holds
  for suite in debian\ bookworm{,-updates} 'debian-security bookworm-security'; do
    echo "deb [$options] ${mirror%/}/$suite main"
  done >"$root/sources.list"
  { # The first lines switch off the machine's own configuration, which is read after.
    printf 'Dir::Etc::%s "/dev/null";\n' parts main sourceparts preferences preferencesparts
    echo "Dir::Etc::sourcelist \"$root/sources.list\"; Dir::State \"$root/state\"; Dir::State::status \"$root/status\";"
    echo "Dir::Cache \"$root/cache\"; APT::Architecture \"$arch\"; APT::Architectures { \"$arch\"; };"
    echo 'APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Retries "3";'
    apt-config dump | grep '^Acquire::http' || :
  } >"$root/apt.conf"
  export APT_CONFIG=$root/apt.conf
  apt-get -qq -o APT::Update::Error-Mode=any update
}

mkdir -p "$packages"
cd "$packages"
case $what in
pin)
  update
  cd "$root" # apt describes no file that is there
  lines=$(apt-get -qq download --print-uris -- "$@" | sed -nE "s/^'.*' (\S+) [0-9]+ SHA256:(\S+)\s*$/\2  \1/p")
  [ "$(wc -l <<<"$lines")" = $# ] || {
    echo "of $# packages apt describes these alone: $lines" >&2
    exit 1
  }
  echo "$lines"
  ;;
fetch)
  sums=$(cat) missing=()
  while read -r sum file; do
    echo "$sum  $file" | sha256sum --check --status 2>/dev/null && continue
    rm -f "$file"
    version=${file#*_} && version=${version%_*}
    missing+=("${file%%_*}=${version//%3a/:}")
  done <<<"$sums"
  [ ${#missing[@]} != 0 ] || exit 0
  update
  apt-get -qq download -- "${missing[@]}" || {
    echo "Debian keeps the newest version alone: \`go run ./cmd/images -pin\` pins it (for recipes of your own with -spec FILE,…); review the difference and commit it" >&2
    exit 1
  }
  sha256sum --check --strict --quiet <<<"$sums" || {
    echo "what was fetched is not what is pinned" >&2
    exit 1
  }
  ;;
esac

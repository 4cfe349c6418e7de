# Sourced by the scripts that bring what tests need.

# debian installs a package: by itself as root on Debian, else it prints how.
debian() { # package, what for
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test: install $1"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
  else
    echo "$2 Install it first: sudo apt-get install $1" >&2
    exit 1
  fi
}

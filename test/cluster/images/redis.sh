#!/bin/sh
# Starts Redis on every address, with the password and its data in /data. The
# configuration goes in by standard input, where no list of processes shows it.
set -eu
: "${REDIS_PASSWORD:?the environment must have it}"
case $REDIS_PASSWORD in *[!A-Za-z0-9_-]*)
  echo "REDIS_PASSWORD: expected letters, digits, _ and - alone" >&2
  exit 2 ;;
esac
exec redis-server - <<END
bind * -::*
port 6379
dir /data
appendonly yes
requirepass $REDIS_PASSWORD
END

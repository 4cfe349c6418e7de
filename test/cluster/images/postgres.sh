#!/bin/sh
# Starts PostgreSQL on every address with its data in /data/pgdata, which is made
# the first time: beside its place, so that a half-made one is never started. The
# gateway's database is postgres; the pipelines service has one of its own.
set -eu
: "${POSTGRES_PASSWORD:?the environment must have it}"
data=/data/pgdata
umask 077
if [ ! -e "$data" ]; then
  rm -rf "$data.new"
  printf '%s\n' "$POSTGRES_PASSWORD" |
    initdb --pgdata "$data.new" --username postgres --pwfile /dev/stdin \
      --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8
  echo 'host all all all scram-sha-256' >>"$data.new/pg_hba.conf"
  mv "$data.new" "$data"
fi
unset POSTGRES_PASSWORD
# In single-user mode, so that nobody connects before it is there; once it is, this is an
# error that changes nothing.
echo 'CREATE DATABASE pipelines' | postgres --single -D "$data" postgres >/dev/null
# Gateways have twelve connections each, and a pipelines service thirty: during a rollout
# there are twice as many of each.
exec postgres -D "$data" -c max_connections=300 -c listen_addresses='*' -c unix_socket_directories=/tmp

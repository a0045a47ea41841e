#!/bin/sh
# Prepares the database of a PostgreSQL container: run by the image once, when its data directory is new.
# Mounted into /docker-entrypoint-initdb.d with roles.sql at /etc/tmws/roles.sql. It may be run again at
# any time, after an upgrade or a change of passwords.
set -eu

# A password with blanks or backslashes would end its option; hexadecimal ones never do.
options=
for role in task workflow persona memory gateway; do
  name=DATABASE_PASSWORD_$(echo "$role" | tr '[:lower:]' '[:upper:]')
  eval "password=\${$name:-}"
  case $password in
    *[!A-Za-z0-9_.~-]* | '') echo "$name is missing or has other characters than A-Z a-z 0-9 _ . ~ -" >&2; exit 1 ;;
  esac
  options="$options -c tmws.${role}_password=$password"
done

run() { psql -X -q --no-password --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"; }

PGOPTIONS="$options -c client_min_messages=warning" run --file=/etc/tmws/roles.sql >/dev/null

# TLS with a certificate of its own: enough for sslmode=require. Bring your own for verify-full.
data=$(run --tuples-only --no-align --command='SHOW data_directory')
[ ! -e "$data/server.key" ] || exit 0
if (umask 077 && openssl req -new -x509 -days 3650 -nodes -subj /CN=postgres -addext subjectAltName=DNS:postgres \
  -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout "$data/server.key" -out "$data/server.crt") 2>/dev/null &&
  run --command='ALTER SYSTEM SET ssl = on' 2>/dev/null; then
  echo "connections to this PostgreSQL are encrypted from its next start on"
else
  rm -f "$data/server.key" "$data/server.crt"
  echo "connections are not encrypted: this image has no openssl, or a PostgreSQL without TLS" >&2
fi

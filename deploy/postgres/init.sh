#!/bin/sh
# Makes the schemas and roles of TMWS, with the passwords in DATABASE_PASSWORD_TASK and so on.
#
# The image of PostgreSQL runs it when its data directory is new. It may be run again at any time: after an
# upgrade, after a change of passwords. For a server elsewhere:
#
#   set -a; . ./secrets.env; PGHOST=… PGSSLMODE=… PGPASSWORD=… POSTGRES_USER=admin POSTGRES_DB=tmws \
#     ROLES_SQL=deploy/postgres/roles.sql sh deploy/postgres/init.sh
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

PGOPTIONS="$options -c client_min_messages=warning" run --file="${ROLES_SQL:-/etc/tmws/roles.sql}" >/dev/null

# In the container itself: TLS with a certificate of its own, enough for sslmode=require.
[ -z "${ROLES_SQL:-}" ] || exit 0
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

#!/bin/sh
# Adds the secrets that compose.yaml (and Kubernetes) need to a file, .env by default; those already there stay.
#
#   sh deploy/docker/secrets.sh                                       for compose.yaml
#   sh deploy/docker/secrets.sh deploy/k8s/overlays/prod/secrets.env  for Kubernetes
set -eu

file=${1:-.env}
umask 077
touch "$file"
# A last line without its newline must not swallow the first one added.
[ -z "$(tail -c 1 "$file")" ] || echo >>"$file"

for name in TMWS_SECRET_KEY POSTGRES_PASSWORD REDIS_PASSWORD DATABASE_PASSWORD_TASK DATABASE_PASSWORD_WORKFLOW \
  DATABASE_PASSWORD_PERSONA DATABASE_PASSWORD_MEMORY DATABASE_PASSWORD_GATEWAY; do
  grep -q "^$name=." "$file" && continue
  # Hexadecimal, since passwords become parts of URLs.
  value=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  [ "${#value}" -eq 64 ] || { echo "no randomness could be read from /dev/urandom" >&2; exit 1; }
  echo "$name=$value" >>"$file"
  echo "made $name"
done
echo "$file has every secret; keep a copy where your backups are"

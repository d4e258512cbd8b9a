#!/bin/sh
# The application: reads its secret at the start and at each SIGHUP. The kernel calls the process by this file's name.
read_secret() {
  cat /run/secrets/db.json >> /tmp/read-by-billing
  echo >> /tmp/read-by-billing
}
trap read_secret HUP
read_secret
while :; do
  sleep infinity &
  wait "$!" || :
done

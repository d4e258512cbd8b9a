# Becomes a container of a pod, in a mount namespace of its own, as a container runtime would start it.
#   container.sh DIRECTORY IMAGE NAME UID VOLUME:PATH:ro|rw... -- VARIABLE=VALUE... PROGRAM ARGUMENT...
# IMAGE says what /var/run is: `linked` to /run, as in images of Debian, or a `directory`, as in images from scratch.
set -eu
directory=$1 image=$2 name=$3 uid=$4
shift 4
# What is needed of the pod is below /tmp from here on: the rest is about to be covered.
mount --rbind "$directory" /tmp
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=0755 var /var
case "$image" in
  linked) ln -s /run /var/run ;;
  directory) mkdir /var/run ;;
esac
mkdir /run/dev
mount -t tmpfs -o mode=0755 dev /run/dev
for device in null zero full random urandom; do
  : > "/run/dev/$device"
  mount --bind "/dev/$device" "/run/dev/$device"
done
: > /run/dev/termination-log
mount --bind "/tmp/termination/$name" /run/dev/termination-log
mount --move /run/dev /dev
rmdir /run/dev
while [ "$1" != -- ]; do
  volume=${1%%:*} rest=${1#*:}
  path=${rest%:*}
  # Inside a volume that is mounted read-only this is what fails on a real node, too.
  mkdir -p "$path"
  mount --bind "/tmp/volumes/$volume" "$path"
  if [ "${rest##*:}" = ro ]; then
    mount -o remount,bind,ro "$path"
  fi
  shift
done
shift
# What this process ignores (SIGHUP, where the tests run below `nohup`) its child would ignore, too.
set -- env --ignore-environment --default-signal=HUP "$@"
if [ "$uid" != 0 ]; then
  set -- setpriv --reuid="$uid" --regid="$uid" --clear-groups "$@"
fi
exec "$@"

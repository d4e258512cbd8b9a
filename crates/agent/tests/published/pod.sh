# The first process of a pod, as `pause` is: makes the volumes in memory, then lives until its standard input ends.
#   pod.sh DIRECTORY AGENT VOLUME...
set -eu
cd "$1"
mount --bind "$2" scaivault-agent
shift 2
for volume in "$@"; do
  # As the kubelet makes an emptyDir: everybody may write there.
  mount -t tmpfs -o mode=0777 "$volume" "volumes/$volume"
done
echo ready
exec cat

#!/usr/bin/env bash
# Makes a Redis Cluster of the hosts that are named: half of them masters, a replica each. Does nothing where there is one.
set -euo pipefail

addresses=()
for host in "$@"; do
  until redis-cli -h "$host" ping >/dev/null 2>&1; do sleep 1; done
  # Nodes meet by address, not by name.
  addresses+=("$(getent hosts "$host" | awk '{ print $1; exit }'):6379")
done
if redis-cli -h "$1" cluster info | grep -q 'cluster_state:ok'; then
  echo "there is a cluster already"
  exit
fi
exec redis-cli --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes

#!/usr/bin/env bash
# Starts a Sentinel for the master `main`, which is the host `redis` to begin with. Listens on 26379.
set -euo pipefail

config=/tmp/sentinel.conf
if [[ ! -e $config ]]; then
  cat >"$config" <<'END'
port 26379
protected-mode no
dir /tmp
sentinel resolve-hostnames yes
sentinel monitor main redis 6379 2
sentinel down-after-milliseconds main 5000
sentinel failover-timeout main 30000
END
fi
# A host that can't be resolved is an error at the start: the master's container may be a moment behind.
until getent hosts redis >/dev/null; do sleep 1; done
exec redis-server "$config" --sentinel

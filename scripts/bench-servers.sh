# shellcheck shell=bash
# shellcheck disable=SC2034  # used where this is sourced
# The servers that scripts/bench measures: how each is built, started and stopped, around a Redis of their own. Sourced, never run.
# Whoever sources it has made the directory $work, and arguments are those it was called with.

PEERS=$ROOT/crates/loadtest/peers
LOADTEST=${CARGO_TARGET_DIR:-$ROOT/target}/release/trunkline-loadtest
SOCKETIOXIDE=$ROOT/target/peers/socketioxide/release/trunkline-loadtest-socketioxide-peer
PYTHON_PEER=$ROOT/target/peers/python

# In the order in which they are measured. The first is what the others are compared with.
ALL_SERVERS=(trunkline trunkline-1ms trunkline-socketioxide node socketioxide python)

# What a node of ours is started with, besides its address, name, Redis and lane. Its threads are as many as a node of Node.js has,
# since the nodes share the cores.
TRUNKLINE_FLAGS=(--workers 1 --auth insecure-query --presence-broadcast off --rate-limit off --log-level 'warn,trunkline_gateway::app=info' --log-format json)

redis_pid='' redis_port='' server_pids=() urls=()
work=${work:?} arguments=${arguments-}

# build_servers SERVER...: each is pinned by a lock file.
build_servers() {
  local server
  "$ROOT/scripts/build" --loadtest
  for server in "$@"; do
    case $server in
      node) npm --prefix "$PEERS/node" ci --silent --no-audit --no-fund </dev/null || fail "npm could not install the Node.js server" ;;
      socketioxide) cargo build --release --locked --manifest-path "$PEERS/socketioxide/Cargo.toml" --target-dir "$ROOT/target/peers/socketioxide" || fail "the socketioxide server does not build" ;;
      python) build_python ;;
    esac
  done
}

build_python() {
  python3 -c "import ensurepip, venv" 2>/dev/null || apt_install python3 python3-venv
  [ -x "$PYTHON_PEER/bin/pip" ] || python3 -m venv "$PYTHON_PEER"
  "$PYTHON_PEER/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$PEERS/python/requirements.txt" || fail "pip could not install the Python server"
}

start_redis() {
  redis_port=$(random_port)
  redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --dir "$work" >"$work/redis.log" 2>&1 &
  redis_pid=$!
  redis_url=redis://127.0.0.1:$redis_port
  eventually 10 redis-cli -p "$redis_port" ping >/dev/null 2>&1 || fail "Redis does not start"
}

# start_servers SERVER COUNT: their processes are in server_pids, their addresses in urls.
start_servers() {
  local flags=() number
  server_pids=() urls=()
  redis-cli -p "$redis_port" flushall >/dev/null
  for number in $(seq "$2"); do
    case $1 in
      node) start "$number" env REDIS_URL="$redis_url" node "$PEERS/node/server.mjs" ;;
      socketioxide) start "$number" env REDIS_URL="$redis_url" "$SOCKETIOXIDE" ;;
      python) start "$number" env REDIS_URL="$redis_url" "$PYTHON_PEER/bin/python" "$PEERS/python/server.py" ;;
      trunkline*)
        case $1 in
          trunkline) flags=() ;;
          trunkline-1ms) flags=(--flush-delay 1) ;;
          trunkline-socketioxide) flags=(--websocket-lane off) ;;
        esac
        start "$number" "$(binary_for release)" serve --listen 127.0.0.1:0 --redis-url "$redis_url" --node-id "bench-$number" "${TRUNKLINE_FLAGS[@]}" "${flags[@]}"
        ;;
    esac
  done
  for number in $(seq "$2"); do
    eventually 20 port_of "$number" >/dev/null || fail "a server does not start: $(cat "$work/server-$number.log")"
    urls+=(--url "ws://127.0.0.1:$(port_of "$number")")
  done
  [[ $1 == trunkline* ]] || return 0
  for number in $(seq "$2"); do
    eventually 20 curl -sf "http://127.0.0.1:$(port_of "$number")/health/ready" >/dev/null || fail "a node does not get ready"
  done
}

# start NUMBER COMMAND...
start() {
  local log=$work/server-$1.log
  : >"$log"
  "${@:2}" >"$log" 2>&1 &
  server_pids+=($!)
}

# A node's first line names its address, the other servers' is their port.
port_of() { sed -n 's/.*"address":"127.0.0.1:\([0-9]*\)".*/\1/p;s/^\([0-9][0-9]*\)$/\1/p' "$work/server-$1.log" | grep -m1 .; }

stop_servers() {
  local pid
  for pid in "${server_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${server_pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  server_pids=()
}

stop_all() {
  stop_servers
  [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
  rm -rf "$work"
}

# What a report begins with: what ran on what, and how to do it again.
preface() {
  local commit dirty='' cpu
  commit=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || say unknown)
  [ -z "$(git -C "$ROOT" status --porcelain 2>/dev/null)" ] || dirty=' with changes'
  cpu=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
  cat <<END
# Benchmark of $(date +%F)

Made by \`scripts/bench${arguments:+ $arguments}\` at commit $commit$dirty. The load generator and Redis run on the same cores as the servers, so rates and
times say more about this machine than about the servers; CPU seconds (user and system, as the kernel counts them) do not. Servers
take turns within each round; a figure is the median of the rounds, with the least and the most. "Times" is the ratio to the first
server in the same round; where something grows, to its first point. What the load generator itself spent is in the last column, in the same unit.

| | |
|---|---|
| machine | ${cpu:-unknown}, $(nproc) cores, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo) |
| system | $(. /etc/os-release && say "$PRETTY_NAME"), Linux $(uname -r | cut -d - -f 1) |
| Redis | $(redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/'), nothing saved |
| Trunkline | $("$(binary_for release)" --version | cut -d ' ' -f 2), $(rustc --version), release profile |
| node | Node.js $(node --version), socket.io $(locked_npm socket.io), @socket.io/redis-adapter $(locked_npm @socket.io/redis-adapter) |
| socketioxide | socketioxide $(locked_cargo socketioxide), socketioxide-redis $(locked_cargo socketioxide-redis), TCP_NODELAY on |
| python | python-socketio $(locked_pip python-socketio), aiohttp $(locked_pip aiohttp), uvloop $(locked_pip uvloop), $(python3 --version) |

\`trunkline\` is the WebSocket lane, \`trunkline-1ms\` the same with \`--flush-delay 1\`, \`trunkline-socketioxide\` the lane that also serves
polling. Nodes are started with \`${TRUNKLINE_FLAGS[*]}\`. The other servers store nothing, number nothing and check nobody: the
comparison is in their favour.

END
  [ ! -f "$work/commands" ] || { say "Each workload, against all servers of the run (\`--url\` and \`--server-pid\` of each, and \`--redis-pid\`, left out):"; say; say '```sh'; sort -u "$work/commands"; say '```'; say; }
}

locked_npm() { sed -n "/\"node_modules\/${1//\//\\/}\": {/,/version/s/.*\"version\": \"\(.*\)\".*/\1/p" "$PEERS/node/package-lock.json"; }
locked_cargo() { sed -n "/^name = \"$1\"$/{n;s/version = \"\(.*\)\"/\1/p}" "$PEERS/socketioxide/Cargo.lock"; }
locked_pip() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "$PEERS/python/requirements.txt"; }

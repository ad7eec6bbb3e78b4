# shellcheck shell=bash
# What the scripts share: messages, installing what is missing, and finding things. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Vite, which builds the pages, needs it; Debian 12 and Ubuntu 24.04 still ship Node.js 18.
NODE_MINIMUM=20.19.0
NODE_FALLBACK=22

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
fail() {
  warn "error: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# usage FILE: the comment at the top of a script is its help.
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$1"; }

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    fail "this needs root and there is no sudo: $*"
  fi
}

apt_updated=no
# apt_install PACKAGE...: the index of a fresh machine or container is empty or old, so it is read first, once.
apt_install() {
  have apt-get || fail "missing: $*. Install it with your system's package manager (only apt-get is known here)."
  if [ "$apt_updated" = no ]; then
    say "reading the package index (apt-get update)"
    as_root apt-get update -qq </dev/null || fail "apt-get update failed"
    apt_updated=yes
  fi
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null \
    || fail "apt-get could not install: $*"
}

# need COMMAND PACKAGE...
need() {
  local command=$1
  shift
  have "$command" || apt_install "$@"
  have "$command" || fail "$command is still missing after installing $*"
}

# A package of a server also starts the system's own copy of it. Nobody asked for that one here.
need_server() {
  local command=$1 package=$2 policy=/usr/sbin/policy-rc.d
  have "$command" && return
  if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    (apt_install "$package") || { rm -f "$policy"; exit 1; }
    rm -f "$policy"
    have "$command" || fail "$command is still missing after installing $package"
  else
    need "$command" "$package"
  fi
}

need_rust() {
  local wanted cargo_home=${CARGO_HOME:-$HOME/.cargo}
  have cargo || PATH=$cargo_home/bin:$PATH
  have cargo || fail "Rust is missing. Install it from https://rustup.rs, open a new shell, and start this again."
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
  version_at_least "$(rustc --version | cut -d ' ' -f 2)" "$wanted" \
    || fail "Rust $wanted or newer is needed, this is $(rustc --version). Try: rustup update stable"
  need cc gcc libc6-dev
  need make make # the allocator is C
}

node_is_new_enough() { have node && version_at_least "$(node --version | tr -d v)" "$NODE_MINIMUM"; }

need_node() {
  local tools=$ROOT/target/tools
  [ ! -x "$tools/node_modules/.bin/node" ] || node_is_new_enough || PATH=$tools/node_modules/.bin:$PATH
  have node || apt_install nodejs npm
  have npm || apt_install npm
  if ! node_is_new_enough; then
    say "Node.js $(node --version) is too old for the pages ($NODE_MINIMUM is needed): installing node@$NODE_FALLBACK from npm into target/tools"
    npm install --silent --no-audit --no-fund --prefix "$tools" "node@$NODE_FALLBACK" </dev/null || fail "npm could not install node@$NODE_FALLBACK"
    PATH=$tools/node_modules/.bin:$PATH
    hash -r
  fi
  node_is_new_enough || fail "Node.js $NODE_MINIMUM or newer is needed, this is $(node --version)"
}

# All that scripts/build needs. Asks for a password, if at all, before the long part starts.
need_build_tools() {
  need_rust
  need_node
}

need_cluster_tools() {
  need curl curl ca-certificates
  need flock util-linux
  need setpriv util-linux
  need_server redis-server redis-server
  # Debian keeps haproxy where only root's PATH looks.
  PATH=$PATH:/usr/sbin:/sbin
  need_server haproxy haproxy
}

# binary_for PROFILE: where cargo leaves the program.
binary_for() {
  local target=${CARGO_TARGET_DIR:-$ROOT/target}
  case $1 in
    release) say "$target/release/trunkline" ;;
    dev) say "$target/debug/trunkline" ;;
  esac
}

# Answers whether something listens on 127.0.0.1:PORT.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on now. Somebody may take it before you do: try again with another then.
# Below 32768, where Linux begins to hand out ports by itself.
random_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    port_taken "$port" || break
  done
  say "$port"
}

# eventually SECONDS COMMAND...: polls until the command succeeds; fails at the deadline.
eventually() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# ended PID: the process is gone, or a zombie whose parent has yet to collect it.
ended() {
  local state
  state=$(sed -n 's/^State:\s*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
  [ -z "$state" ] || [ "$state" = Z ]
}

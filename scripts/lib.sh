# What the scripts share; sourced, never run.
# shellcheck shell=bash

# Says what is being done, beside what a script prints as its result.
say() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

fail() {
  say "$*"
  exit 1
}

# Some programs of servers stand where only root looks.
have() {
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    PATH=$PATH:/usr/sbin:/sbin "$@"
  elif have sudo; then
    sudo --preserve-env=http_proxy,https_proxy,no_proxy "$@"
  else
    fail "this needs root or sudo: $*"
  fi
}

# Installs Debian packages whose programs are missing; each argument is PROGRAM=PACKAGE.
install_packages() {
  local pair missing=()
  for pair in "$@"; do
    have "${pair%%=*}" || missing+=("${pair#*=}")
  done
  if ((${#missing[@]} > 0)); then
    apt_install "${missing[@]}"
  fi
}

# Installs packages without starting the services that some of them bring.
apt_install() {
  have apt-get || fail "please install: $*"
  say "installing $*"
  local log policy=/usr/sbin/policy-rc.d code=0
  log=$(mktemp)
  if [[ -e $policy ]]; then
    policy=
  else
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  {
    as_root apt-get update &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || code=$?
  if [[ -n $policy ]]; then
    as_root rm -f "$policy"
  fi
  if ((code != 0)); then
    tail -n 20 "$log" >&2
    fail "apt-get failed; its whole log is $log"
  fi
  rm -f "$log"
}

# Compiles from source, which takes minutes, once.
cargo_install() {
  if have "$1"; then
    return
  fi
  say "compiling $1"
  # Outside the workspace, whose target folder and settings are not meant for it.
  (cd / && cargo install --locked --quiet "$1")
}

# Prints which crates are to be published, each as an option of cargo.
published_crates() {
  cargo metadata --format-version 1 --no-deps | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] is None:
        print("--package=" + package["name"])
'
}

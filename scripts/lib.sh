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

have() {
  # Some programs of servers stand where only root looks.
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
  if ((${#missing[@]} == 0)); then
    return
  fi
  have apt-get || fail "please install: ${missing[*]}"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  {
    as_root apt-get update &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    fail "apt-get failed; its log is $log"
  }
  rm -f "$log"
}

#!/bin/sh
# Installs what the NAT lab runs, where this is Debian and we are root; else says what is missing.
# Fails when something is still missing, and the tests that need it then skip.

missing() {
    command -v ip >/dev/null || echo iproute2
    command -v nft >/dev/null || echo nftables
    command -v conntrack >/dev/null || echo conntrack
    command -v turnserver >/dev/null || echo coturn
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing" $packages
    # RUNLEVEL=1: a package's daemon is not started.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    timeout 300 sh -c "apt-get update -qq; apt-get install -qq --no-install-recommends $(echo $packages)" \
        >/dev/null 2>&1
    packages=$(missing)
fi
[ -z "$packages" ] || { echo "missing for the NAT lab, please install:" $packages; exit 1; }

#!/bin/sh
# Installs the real parts that the tests start: PostgreSQL, Prometheus, Alertmanager, a UPS server,
# an MQTT broker, a D-Bus, a browser, the tracer, a wall clock that jumps and the file systems
# under which the power fails.
# Only as root on Debian; elsewhere the tests that need a missing part say so and are skipped,
# but never in CI.
set -eu

missing=""
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v prometheus-alertmanager >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
[ -x /lib/nut/upsd ] || missing="$missing nut-server"
[ -x /lib/nut/upsmon ] || missing="$missing nut-client"
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
command -v dbus-daemon >/dev/null 2>&1 || missing="$missing dbus"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
command -v mkfs.ext4 >/dev/null 2>&1 || [ -x /sbin/mkfs.ext4 ] || missing="$missing e2fsprogs"
command -v mkfs.xfs >/dev/null 2>&1 || [ -x /sbin/mkfs.xfs ] || missing="$missing xfsprogs"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "homerun: installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "homerun: MISSING, their tests are skipped:$missing" >&2
    echo "homerun: on Debian: sudo apt-get install --no-install-recommends$missing" >&2
fi

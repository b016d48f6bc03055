#!/bin/sh
# The guest's first process. It makes the system that the end-to-end tests
# expect, runs them, and ends. What it says on the second serial port is read by
# `cargo xtask vm`: its own lines start with `vm:`, the others are the tests'.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mkdir -p /proc /sys /run /tmp /root
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
# The root is a tmpfs already; another one could hide the repository's path.
chmod 1777 /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs -o nosuid,nodev,noexec tracefs /sys/kernel/tracing
ip link set lo up
ulimit -n 65536

# No carriage returns, no echo.
stty -F /dev/ttyS1 raw -echo
# Through a pipe: what is started shall not take the port for a terminal.
mkfifo /vm/said
cat </vm/said >/dev/ttyS1 &
exec >/vm/said 2>&1
echo "vm: release $(uname -r)"
echo "vm: build $(uname -v)"

case $(cat /vm/fault) in
    panic) echo c >/proc/sysrq-trigger ;;
    hang) sleep 1000000 ;;
esac

. /vm/environment
cd "$CARGO_MANIFEST_DIR" || exit

# The tests of one module at a time: why one fails is said at the end of its module.
run() {
    # shellcheck disable=SC2086 # one word for each name
    [ -z "$names" ] || TCPLEAK_PLAN=$plan /vm/e2e --exact "$threads" $names </dev/null || code=$?
}

while read -r plan threads arguments; do
    echo "vm: plan $plan"
    if doctor=$("$TCPLEAK_BIN" doctor --plan "$plan" 2>&1); then
        # Something else in place of what the plan wants: the tests may well pass.
        echo "$doctor" | while read -r kind hook status found; do
            [ "$kind $status" != "hook degraded" ] || echo "vm: degraded hook $hook: $found"
        done
        # shellcheck disable=SC2086 # one word for each argument
        /vm/e2e --list --format terse $arguments >/vm/list
        code=0 module='' names=''
        while read -r name _; do
            name=${name%:}
            if [ "${name%%::*}" != "$module" ]; then
                run
                module=${name%%::*} names=''
            fi
            names="$names $name"
        done </vm/list
        run
        echo "vm: ended $code"
    else
        code=$?
        echo "$doctor"
        echo "vm: refused $code"
    fi
done </vm/suite
echo "vm: done"
# Whoever reads that ends the machine. The first process may not.
sleep 1000000

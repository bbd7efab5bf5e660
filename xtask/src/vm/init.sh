#!/bin/sh
# The first process of a guest: mounts what the recorder looks at, runs /command
# on the second serial line, ends with its status as that line's last words.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
# Not over /tmp: the stimuli have their paths from the host, where that can be anywhere.
mkdir -p /scratch
for directory in /dev/shm /scratch; do
    mount -t tmpfs -o mode=1777 tmpfs $directory
done
chmod 1777 /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
export TMPDIR=/scratch AGENT_RECORDER_BIN=/bin/agent-recorder

if [ -e /command ]; then
    exec 3<>/dev/ttyS1
    # Otherwise each end of line grows a carriage return.
    stty raw -echo <&3
    cd /root
    sh /command </dev/null >&3 2>&3 3>&-
    printf '\n@status %d\n' $? >&3
    # Closing waits until all of it was sent.
    exec 3>&-
else
    cd /root
    setsid cttyhack sh
fi
poweroff -f

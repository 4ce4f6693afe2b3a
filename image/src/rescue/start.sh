#!/bin/sh
# Lets people in by SSH, and prints the server's public key: nothing, where it does not run.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
key=/etc/dropbear/dropbear_ed25519_host_key
mkdir -p /dev/pts /etc/dropbear /tmp /var/run /mnt
grep -q ' /dev/pts ' /proc/mounts || mount -t devpts devpts /dev/pts
[ -s $key ] || dropbearkey -t ed25519 -f $key >/dev/null || exit 1
pidof dropbear >/dev/null || dropbear -r $key </dev/null >/dev/null || exit 1
dropbearkey -y -f $key | grep '^ssh-'

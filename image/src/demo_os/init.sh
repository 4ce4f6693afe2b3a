#!/bin/busybox sh
# The demo operating system's only program: finds its disk and its config drive, says who it is, and waits for the power
# button. Nobody can log in.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

# What the devices ask for; a new bus (virtio, SCSI) brings devices of its own. Three are stacked at most: PCI, virtio, SCSI.
load_drivers() {
    cat /sys/bus/*/devices/*/modalias 2>/dev/null | sort -u | xargs modprobe -a -q 2>/dev/null
}
load_drivers
load_drivers
load_drivers
modprobe -a -q button evdev vfat nls_cp437 nls_ascii

# The partition of that name, as /sys/class/block calls it.
partition() {
    grep -lx "PARTNAME=$1" /sys/class/block/*/uevent 2>/dev/null | head -n 1 | cut -d / -f 5
}

# By its partition's name, or by its file system's label. 30 s for slow disks; but where our own disk is there, its config
# drive is too, and one of its own hardly later: 0.2 s.
tries=300
while [ $tries -gt 0 ]; do
    drive=$(partition config-2)
    [ -z "$drive" ] && drive=$(findfs LABEL=config-2 2>/dev/null) && drive=${drive#/dev/}
    [ -n "$drive" ] && break
    [ $tries -gt 2 ] && [ -n "$(partition ironbeat-demo)" ] && tries=2
    sleep 0.1
    tries=$((tries - 1))
done

# One word of the metadata, or a dash.
meta() {
    word=$(sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" /mnt/openstack/latest/meta_data.json 2>/dev/null | head -n 1)
    echo "${word:--}"
}
if [ -n "$drive" ]; then
    mount -t vfat -o ro "/dev/$drive" /mnt 2>/dev/null || {
        modprobe -q isofs
        mount -t iso9660 -o ro "/dev/$drive" /mnt
    }
fi
name=$(meta hostname)
hostname "$name"

# The disk is the one with the config drive, or else the one with our system partition.
at=${drive:-$(partition ironbeat-demo)}
disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/$at")")")
[ -z "$at" ] && disk=-
firmware=bios
[ -d /sys/firmware/efi ] && firmware=uefi
said="DEPLOYED-OK hostname=$(hostname) uuid=$(meta uuid) root=$disk firmware=$firmware"
user_data=/mnt/openstack/latest/user_data
[ -f "$user_data" ] && said="$said
USER-DATA $(head -n 1 "$user_data" | cut -c 1-200)"

# The power button ends it, cleanly: PWRF is the button's event. Whoever reads that we are up may press it at once, so the
# listener comes first: 2 s, for machines without a button.
acpid -f -d -c /etc/acpi > /dev/null 2>&1 &
tries=20
while [ $tries -gt 0 ] && ! ls -l "/proc/$!/fd" 2>/dev/null | grep -q /dev/input/; do
    sleep 0.1
    tries=$((tries - 1))
done

# One write, so that no other line comes between; on a line of its own, behind whatever the firmware left there.
echo "
$said" > /dev/console
while :; do sleep 3600; done

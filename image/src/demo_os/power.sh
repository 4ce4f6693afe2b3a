#!/bin/sh
# Run by acpid when the power button is pressed.
umount /mnt
sync
poweroff -f

//! What the agent does to disks: images written, boot entries set, old metadata erased.
//! Which disk, and when, is decided by the conductor.

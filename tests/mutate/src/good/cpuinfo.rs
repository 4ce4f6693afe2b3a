//! `/proc/cpuinfo` of two architectures.
//! What is read from it is for its reader to say.

/// Two processors in two sockets.
pub const X86: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz\n\
        cpu MHz\t\t: 2793.438\nphysical id\t: 0\nflags\t\t: fpu vme sha_ni\n\nprocessor\t: 1\nmodel name\t: other\n\
        physical id\t: 1\nflags\t\t: fpu\n\n";
/// Two processors; it names no sockets.
pub const ARM: &str = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n\n";

//! Values in sysfs files: numbers, text, and the names of PCI functions.
//! Which files matter is known in `collect` and `net`.
use std::fs;
use std::path::Path;

/// Longest text kept, in characters; VPD pages and NVMe identify fields are shorter.
const MAX_TEXT_CHARS: usize = 256;

/// `0000:00:03.0`: the name of a PCI function.
pub fn is_pci_address(name: &str) -> bool {
    let hex = |s: &str, digits| s.len() == digits && s.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = name.split([':', '.']).collect();
    matches!(parts[..], [domain, bus, slot, function]
        if domain.len() >= 4 && hex(domain, domain.len()) && hex(bus, 2) && hex(slot, 2) && hex(function, 1))
        && name.contains('.')
}

/// What a file says, parsed.
pub fn number<T: std::str::FromStr>(dir: &Path, file: &str) -> Option<T> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// The text in a file, tidied.
pub fn text(dir: &Path, file: &str) -> Option<String> {
    tidy(&String::from_utf8_lossy(&fs::read(dir.join(file)).ok()?))
}

/// Without control characters and surrounding blanks; `None` when nothing is left.
pub fn tidy(text: &str) -> Option<String> {
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT_CHARS)
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

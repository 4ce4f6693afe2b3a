//! UEFI variables by way of efivarfs: boot options and their order, read, written and deleted.
//! What they should be is decided in `efi`. The folder is a parameter: a plain one works too.
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, for boot services, for the running system.
const ATTRIBUTES: u32 = 7;
const ATTRIBUTE_BYTES: usize = 4;
/// Boot options read at most; firmware has about ten, and slows down with hundreds.
const MAX_OPTIONS: usize = 512;

pub struct EfiVars<'a> {
    folder: &'a Path,
}

impl<'a> EfiVars<'a> {
    /// # Errors
    /// There are no variables: the machine booted by BIOS, or efivarfs is not mounted.
    pub fn open(folder: &'a Path) -> io::Result<Self> {
        match fs::read_dir(folder)?.next() {
            Some(_) => Ok(Self { folder }),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there are no UEFI variables",
            )),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = fs::read(self.path(name))?;
        Ok(bytes.split_off(ATTRIBUTE_BYTES.min(bytes.len())))
    }

    fn write(&self, name: &str, value: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        make_mutable(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // One write is one SetVariable.
        let bytes = [&ATTRIBUTES.to_le_bytes(), value].concat();
        file.write_all(&bytes)?;
        // efivarfs has set the size; a plain file keeps an older, longer tail.
        if file.metadata()?.len() > bytes.len() as u64 {
            file.set_len(bytes.len() as u64)?;
        }
        Ok(())
    }

    /// All boot options, by number. One that cannot be read is left out: it is not ours.
    pub fn options(&self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut options = Vec::new();
        for entry in fs::read_dir(self.folder)?.flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let digits = name
                .strip_prefix("Boot")
                .and_then(|rest| rest.strip_suffix(GLOBAL)?.strip_suffix('-'));
            let number = digits
                .filter(|digits| digits.len() == 4)
                .and_then(|digits| u16::from_str_radix(digits, 16).ok());
            let Some(number) = number else { continue };
            if let Ok(option) = self.read(&format!("Boot{}", digits.unwrap_or_default())) {
                options.push((number, option));
            }
            if options.len() == MAX_OPTIONS {
                break;
            }
        }
        options.sort();
        Ok(options)
    }

    pub fn set_option(&self, number: u16, option: &[u8]) -> io::Result<()> {
        self.write(&format!("Boot{number:04X}"), option)
    }

    pub fn delete_option(&self, number: u16) -> io::Result<()> {
        let path = self.path(&format!("Boot{number:04X}"));
        make_mutable(&path);
        fs::remove_file(path)
    }

    /// Empty when there is none.
    pub fn order(&self) -> io::Result<Vec<u16>> {
        match self.read("BootOrder") {
            Ok(bytes) => Ok(bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_le_bytes(*pair))
                .collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    pub fn set_order(&self, order: &[u16]) -> io::Result<()> {
        let bytes: Vec<u8> = order
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        self.write("BootOrder", &bytes)
    }

    /// What is booted next, once, before the order counts (`BootNext`).
    pub fn set_next(&self, number: u16) -> io::Result<()> {
        self.write("BootNext", &number.to_le_bytes())
    }
}

/// efivarfs protects variables from a careless `rm` by the immutable flag. If it cannot be cleared, the write that follows
/// fails and says so.
fn make_mutable(path: &Path) {
    if let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        let _ = ioctl_setflags(&file, flags.difference(IFlags::IMMUTABLE));
    }
}

//! depmod's text tables: which module a device asks for, where its file is, and what it needs before it.
//! Loading is left to `load`.
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The files of `/lib/modules/<release>`, as depmod writes them.
pub struct Tables {
    pub alias: String,
    pub dep: String,
    pub softdep: String,
}

impl Tables {
    /// # Errors
    /// When the list of files is missing; the others may be.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let optional = |name| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        Ok(Self {
            alias: optional("modules.alias"),
            dep: std::fs::read_to_string(dir.join("modules.dep"))?,
            softdep: optional("modules.softdep"),
        })
    }
}

pub struct Index<'a> {
    /// By the bus: pattern and module.
    aliases: BTreeMap<&'a str, Vec<(String, &'a str)>>,
    files: BTreeMap<String, Module<'a>>,
}

struct Module<'a> {
    file: &'a str,
    /// In the order in which they must be loaded.
    needs: Vec<String>,
}

impl<'a> Index<'a> {
    pub fn new(tables: &'a Tables) -> Self {
        let mut aliases: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
        for line in tables.alias.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                aliases
                    .entry(bus_of(pattern))
                    .or_default()
                    .push((underscores(pattern), module));
            }
        }
        let mut files = BTreeMap::new();
        for (file, needs) in tables.dep.lines().filter_map(|line| line.split_once(':')) {
            // depmod lists direct dependencies first: load from the end.
            let needs = needs.split_ascii_whitespace().rev().map(name_of).collect();
            files.insert(name_of(file), Module { file, needs });
        }
        for line in tables.softdep.lines() {
            let mut words = line
                .split_ascii_whitespace()
                .skip_while(|word| *word != "softdep")
                .skip(1);
            let Some(module) = words
                .next()
                .map(normal)
                .and_then(|name| files.get_mut(&name))
            else {
                continue;
            };
            let before = words
                .skip_while(|word| *word != "pre:")
                .skip(1)
                .take_while(|word| *word != "post:");
            let before: Vec<String> = before.map(normal).collect();
            module.needs.splice(0..0, before);
        }
        Self { aliases, files }
    }

    /// The modules for these devices, in the devices' order, each once.
    pub fn wanted(&self, modaliases: &[String]) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for modalias in modaliases {
            let Some(aliases) = self.aliases.get(bus_of(modalias)) else {
                continue;
            };
            let modalias = underscores(modalias);
            for (pattern, module) in aliases {
                let module = normal(module);
                if matches(pattern.as_bytes(), modalias.as_bytes()) && !wanted.contains(&module) {
                    wanted.push(module);
                }
            }
        }
        wanted
    }

    /// A module's dependencies and then the module, each as name and file; empty when the image lacks it or the kernel has it
    /// built in.
    pub fn in_order(&self, name: &str) -> Vec<(String, &'a str)> {
        let mut order = Vec::new();
        self.collect(name, &mut order, &mut Vec::new());
        order
    }

    /// `above` holds the modules being resolved, which ends a circle.
    fn collect(&self, name: &str, order: &mut Vec<(String, &'a str)>, above: &mut Vec<String>) {
        let Some(module) = self.files.get(name) else {
            return;
        };
        if above.iter().any(|known| known == name) || order.iter().any(|(known, _)| known == name) {
            return;
        }
        above.push(name.to_string());
        for need in &module.needs {
            self.collect(need, order, above);
        }
        above.pop();
        order.push((name.to_string(), module.file));
    }
}

/// The bus, which a pattern may go on from with a star: `acpi*:IPI0001:*`.
fn bus_of(alias: &str) -> &str {
    alias
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .unwrap_or(alias)
}

/// One spelling: the kernel takes `-` and `_` in a module's name for the same.
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/drivers/net/virtio_net.ko.xz` is the module `virtio_net`.
pub fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split(".ko").next().unwrap_or(base))
}

/// The same for aliases, but `[a-z]` is a range.
fn underscores(pattern: &str) -> String {
    let mut in_range = false;
    let one = |c| {
        match c {
            '[' => in_range = true,
            ']' => in_range = false,
            '-' if !in_range => return '_',
            _ => {}
        }
        c
    };
    pattern.chars().map(one).collect()
}

/// Shell patterns as fnmatch(3) knows them: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. Takes at most |pattern| × |text| steps.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume after the last star when the rest does not match here.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        let step = if t < text.len() {
            one(&pattern[p..], text[t])
        } else {
            None
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after_star, from))) if from < text.len() => {
                (p, t) = (after_star, from + 1);
                retry = Some((after_star, from + 1));
            }
            (None, _) => return false,
        }
    }
}

/// The length of the first piece of `pattern`, if `byte` fits it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => {
            let (negated, set_start) = if matches!(rest, [b'!' | b'^', ..]) {
                (true, 1)
            } else {
                (false, 0)
            };
            let end = rest.iter().skip(set_start + 1).position(|b| *b == b']')? + set_start + 1;
            let mut set = &rest[set_start..end];
            let mut found = false;
            while let [first, others @ ..] = set {
                (found, set) = match others {
                    [b'-', last, others @ ..] => {
                        (found || (*first..=*last).contains(&byte), others)
                    }
                    _ => (found || *first == byte, others),
                };
            }
            (found != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_mutate::mutants;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(
            matches(pattern.as_bytes(), text.as_bytes()),
            expected,
            "{pattern} on {text}"
        );
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("*", "abc", true);
        check("a*c", "abbbc", true);
        check("a*c", "abbbd", false);
        check("a*b*c", "aXbYbZc", true);
        check("?", "", false);
        check("a?c", "abc", true);
        check("[abc]x", "bx", true);
        check("[a-c]x", "dx", false);
        check("[!a-c]x", "dx", true);
        check("[]a]x", "]x", true);
        check("[abc", "a", false);
        check("usb:v*d02[1-3]*", "usb:v1234d022f", true);
        check(
            "pci:v00008086d00001572sv*sd*bc*sc*i*",
            "pci:v00008086d00001572sv00008086sd00000001bc02sc00i00",
            true,
        );
        check(
            "pci:v00008086d00001572sv*sd*bc*sc*i*",
            "pci:v00008086d00001573sv00008086sd00000001bc02sc00i00",
            false,
        );
        check(
            "pci:v*d*sv*sd*bc01sc06i01*",
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
            true,
        );
        check("acpi*:IPI0001:*", "acpi:IPI0001:", true);
    }

    #[test]
    fn a_hostile_pattern_takes_its_time_but_ends() {
        let pattern = "*a".repeat(200);
        check(&pattern, &"a".repeat(199), false);
        check(&pattern, &"b".repeat(5000), false);
        mutants(b"usb:v*d02[1-3]*[!a-c]?*x", 20_000, |bytes| {
            matches(bytes, b"usb:v1234d022fdxyzx");
        });
    }

    #[test]
    fn needs_come_first_and_circles_end() {
        let tables = Tables {
            alias: "alias acpi*:IPI0001:* ipmi-si\nalias platform:ipmi-si ipmi_si\n".into(),
            dep: "k/ipmi_si.ko.xz: k/ipmi_msghandler.ko.xz\nk/ipmi_msghandler.ko.xz:\nk/crc32c-intel.ko:\n\
                  k/ext4.ko: k/mbcache.ko k/jbd2.ko\nk/jbd2.ko: k/crc.ko\nk/crc.ko: k/jbd2.ko\nk/mbcache.ko:\n"
                .into(),
            softdep: "# comment\nsoftdep ext4 pre: crc32c-intel absent post: other\nsoftdep nosuch pre: a\n".into(),
        };
        let index = Index::new(&tables);
        let order = |name: &str| {
            index
                .in_order(name)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(order("ipmi_si"), ["ipmi_msghandler", "ipmi_si"]);
        assert_eq!(
            order("ext4"),
            ["crc32c_intel", "crc", "jbd2", "mbcache", "ext4"]
        );
        assert_eq!(order("absent"), Vec::<String>::new());
        let wanted = |modalias: &str| index.wanted(&[modalias.to_string()]);
        assert_eq!(wanted("acpi:IPI0001:"), ["ipmi_si"]);
        assert_eq!(
            wanted("platform:ipmi_si"),
            ["ipmi_si"],
            "dashes and underscores are the same"
        );
        assert_eq!(index.in_order("ipmi_si")[1].1, "k/ipmi_si.ko.xz");
    }

    #[test]
    fn broken_tables_are_survived() {
        let dep = b"k/ext4.ko: k/mbcache.ko k/jbd2.ko\nk/jbd2.ko: k/crc.ko\nalias pci:v*[a-c] ext4\nsoftdep ext4 pre: jbd2\n";
        mutants(dep, 5_000, |bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let tables = Tables {
                alias: text.clone(),
                dep: text.clone(),
                softdep: text,
            };
            let index = Index::new(&tables);
            for name in index.files.keys() {
                index.in_order(name);
            }
            index.wanted(&["pci:vxa".to_string()]);
        });
    }
}

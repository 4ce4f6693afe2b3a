//! The worker's configuration file (TOML). Unknown fields are refused: a misspelt option must not be silent.
//! `ironbeat_core::decide::Policy` has limits and timeouts.
use crate::discovery::AutoDiscovery;
use anyhow::Context;
use ironbeat_common::subject::DEFAULT_PREFIX;
use ironbeat_core::decide::Policy;
use ironbeat_core::id::WorkerId;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The worker's name, unique; default: the host name.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub id: Option<WorkerId>,
    #[serde(default)]
    pub nats: Nats,
    pub http: Http,
    /// Only on the host where dnsmasq runs.
    pub dnsmasq: Option<DnsmasqConfig>,
    #[serde(default)]
    pub bmc: BmcOptions,
    #[serde(default)]
    pub console: ConsoleOptions,
    #[serde(default)]
    pub records: RecordOptions,
    #[serde(default)]
    pub events: EventOptions,
    #[serde(default)]
    pub secrets: Secrets,
    /// Machines that belong to no node boot the ramdisk and are remembered. `false`: they boot their disk, and their lookups are
    /// told to wait and leave no trace.
    #[serde(default = "yes")]
    pub discovery: bool,
    #[serde(default)]
    pub auto_discovery: AutoDiscovery,
    #[serde(default)]
    #[cfg_attr(test, schemars(skip))]
    pub policy: Policy,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// NATS servers, tried in turn.
    pub servers: Vec<String>,
    /// The same servers as machines reach them, if under other addresses.
    pub servers_for_agents: Vec<String>,
    /// First tokens of all subjects.
    pub prefix: String,
    /// Directory with the worker's logins: `DIR/worker` of `ironbeat auth init DIR`.
    pub login: Option<PathBuf>,
    /// `none`: no logins, for a lab on loopback. Whoever reaches the servers then commands every machine.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub auth: Option<Auth>,
    /// How many servers keep each bucket and stream that is made, 1 to 5; default: 3 where there are three servers, else 1.
    pub replicas: Option<NonZeroU8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    None,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BmcOptions {
    /// Between two packets to one BMC, for BMCs that drop faster ones.
    pub spacing_ms: u32,
}

/// Passwords of BMCs, user data and network data lie encrypted in NATS. The master key is with the workers: exactly one of
/// the three sources says where.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// File with master keys, which the worker's user alone may read: `ironbeat auth new-key FILE` makes it. A key a line:
    /// the first encrypts, all decrypt.
    pub key_file: Option<PathBuf>,
    /// The same as a credential of systemd: `LoadCredential=` or `LoadCredentialEncrypted=` of the unit.
    pub key_credential: Option<String>,
    /// The same as what a program prints: its path and its arguments.
    pub key_command: Option<Vec<String>>,
    /// `none`: keep secrets in the clear, for whoever can read the bucket. Default: `on`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub encryption: Encryption,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    #[default]
    On,
    None,
}

impl Secrets {
    fn check(&self) -> anyhow::Result<()> {
        let sources = [
            self.key_file.is_some(),
            self.key_credential.is_some(),
            self.key_command.is_some(),
        ];
        let given = sources.iter().filter(|given| **given).count();
        match (self.encryption, given) {
            (Encryption::On, 1) | (Encryption::None, 0) => {}
            (Encryption::On, 0) => anyhow::bail!(
                "secrets.key_file is missing: run `ironbeat auth new-key /etc/ironbeat/master.key`, copy the file to all \
                 workers, and write key_file = \"/etc/ironbeat/master.key\" under [secrets]"
            ),
            (Encryption::On, _) => anyhow::bail!(
                "the master key has one source: give one of secrets.key_file, secrets.key_credential and secrets.key_command"
            ),
            (Encryption::None, _) => anyhow::bail!(
                "secrets.encryption is none, and there is a master key: take one of them out"
            ),
        }
        if let Some(name) = &self.key_credential {
            let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
            anyhow::ensure!(
                is_name,
                "secrets.key_credential is {name:?}, which is no name"
            );
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleOptions {
    /// Attach the serial consoles of all verified nodes and keep what they say, for a week.
    pub record: bool,
    /// How much of it in all; the NATS server sets that much aside. The oldest goes first.
    pub record_mib: u32,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            record: false,
            record_mib: 256,
        }
    }
}

/// What is kept of what happens to nodes. How much is said to the NATS servers once, when the stream is made: see operator.md for
/// how to change it.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RecordOptions {
    /// `on`, the default: each change of a node is kept with what was decided and on what, without secrets, so that
    /// `ironbeat node record` can export it and `cargo xtask replay` decide it again. `off`: only what happened.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub flight: Flight,
    /// Events of each kind and node; the oldest goes first.
    pub per_node: u32,
    /// For how long.
    pub days: u32,
    /// How much of it in all; the NATS server sets that much aside.
    pub mib: u32,
}

impl Default for RecordOptions {
    /// As many of a node as Ironic keeps, for a year, in 256 MiB: some half a million events, or 150,000 with flight records.
    fn default() -> Self {
        Self {
            flight: Flight::On,
            per_node: 300,
            days: 365,
            mib: 256,
        }
    }
}

impl RecordOptions {
    /// One is what a key has, and no history; none is no bound.
    fn check(&self) -> anyhow::Result<()> {
        for (option, has, least) in [
            ("per_node", self.per_node, 2),
            ("days", self.days, 1),
            ("mib", self.mib, 1),
        ] {
            anyhow::ensure!(
                has >= least,
                "records.{option} is {has}: it must be {least} at least"
            );
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flight {
    #[default]
    On,
    Off,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EventOptions {
    /// Tell of changes as Ironic would, too: `baremetal.node.provision_set.start` and others, with Ironic's payloads, on
    /// `<prefix>.ironic.<node>.<name>`. Nobody keeps these.
    pub ironic: bool,
}

impl ConsoleOptions {
    pub fn record_mib(&self) -> Option<u32> {
        self.record.then_some(self.record_mib)
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            servers_for_agents: vec![],
            prefix: DEFAULT_PREFIX.into(),
            login: None,
            auth: None,
            replicas: None,
        }
    }
}

impl Nats {
    pub fn for_agents(&self) -> &[String] {
        if self.servers_for_agents.is_empty() {
            &self.servers
        } else {
            &self.servers_for_agents
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port of boot scripts, kernel, ramdisk and images.
    #[cfg_attr(test, schemars(with = "String"))]
    pub listen: SocketAddr,
    /// How machines reach it; default: `http://<listen>`, which needs an address there and not `0.0.0.0`.
    pub url: Option<String>,
    /// Other names by which it is asked, as that of a balancer before it. Requests by address, by a name without a dot and by any name
    /// of a worker's URL are answered; other names are refused, so that no page in a browser passes itself off as a worker.
    #[serde(default)]
    pub names: Vec<String>,
    /// Holds `vmlinuz` and `initrd`, as `cargo xtask image` writes them.
    pub boot_dir: PathBuf,
    /// Images that a deploy names without a URL; keep it the same on every worker.
    pub image_dir: PathBuf,
    /// Appended to the ramdisk's kernel command line, which says `quiet cryptomgr.notests panic=30`; the last word counts:
    /// `console=ttyS1,115200 loglevel=7` shows the kernel's own lines there.
    #[serde(default)]
    pub kernel_args: String,
    /// `private`: images are sent to those alone who are to write one now, by a token in the URL that they are given. `open`, the
    /// default: to whoever asks.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub images: Images,
    /// `https`: boot scripts are sent over TLS alone, and machines are sent there for kernel and ramdisk. It needs `[http.tls]`, and
    /// an iPXE that believes the site's CA (see dnsmasq.md). `http`, the default: all of that in the clear. The same on every worker.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub scripts: Scripts,
    #[serde(default)]
    pub limits: HttpLimits,
    /// Serve the same over https too, and send ramdisks there for images.
    pub tls: Option<HttpTls>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpTls {
    /// Address and port.
    #[cfg_attr(test, schemars(with = "String"))]
    pub listen: SocketAddr,
    /// How ramdisks reach it; default: `https://<listen>`, which needs an address there and not `0.0.0.0`.
    pub url: Option<String>,
    /// A PEM file: the worker's certificate, and those between it and the CA. `ironbeat auth certificate` makes one that
    /// ramdisks believe. It is read at the start.
    pub certificate: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

/// Who may fetch images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Images {
    #[default]
    Open,
    Private,
}

/// How machines get their boot scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scripts {
    #[default]
    Http,
    Https,
}

/// Scripts, kernels and ramdisks have places of their own, which images never take.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Images sent at once; an agent that comes later asks the other workers, and waits for its turn. Each takes two
    /// descriptors: for more than 300, give the worker more than the usual 1,024.
    pub images: u32,
    /// Connections from one address, or from one /64 of IPv6; 0: any number, for machines behind a proxy or NAT.
    pub per_address: u32,
    /// A reader that is slower for a minute is cut; agents go on where they were. 0: as slow as it likes.
    pub min_kib_per_sec: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            images: 100,
            per_address: 16,
            min_kib_per_sec: 64,
        }
    }
}

/// What JetStream can do.
const MAX_REPLICAS: u8 = 5;

impl Nats {
    fn check(&self) -> anyhow::Result<()> {
        let replicas = self.replicas.map_or(1, NonZeroU8::get);
        anyhow::ensure!(
            replicas <= MAX_REPLICAS,
            "nats.replicas is {replicas}: it must be from 1 to {MAX_REPLICAS}"
        );
        Ok(())
    }
}

impl Http {
    pub fn url(&self) -> String {
        url("http", self.url.as_ref(), self.listen)
    }

    fn check(&self) -> anyhow::Result<()> {
        check_url("http", "http", self.url.as_ref(), self.listen)?;
        match &self.tls {
            None => anyhow::ensure!(
                self.scripts == Scripts::Http,
                "http.scripts is https, and there is no [http.tls]: say there under which certificate this worker is reached"
            ),
            Some(tls) => check_url("https", "http.tls", tls.url.as_ref(), tls.listen)?,
        }
        let is_name = |name: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !name.is_empty() && name.chars().all(good)
        };
        if let Some(at) = self.names.iter().position(|name| !is_name(name)) {
            anyhow::bail!(
                "the {}. of http.names is no host name: no scheme, port, path or blank belongs there",
                at + 1
            );
        }
        Ok(())
    }
}

impl HttpTls {
    pub fn url(&self) -> String {
        url("https", self.url.as_ref(), self.listen)
    }
}

fn url(scheme: &str, told: Option<&String>, listen: SocketAddr) -> String {
    match told {
        Some(url) => url.trim_end_matches('/').into(),
        None => format!("{scheme}://{listen}"),
    }
}

/// Machines are told to come to this address. `of`: the part of the configuration.
fn check_url(
    scheme: &str,
    of: &str,
    told: Option<&String>,
    listen: SocketAddr,
) -> anyhow::Result<()> {
    let Some(url) = told else {
        anyhow::ensure!(
            !listen.ip().is_unspecified(),
            "{of}.listen is {listen}, which is no address that a machine can go to: say in {of}.url how machines reach this worker",
        );
        return Ok(());
    };
    // It may have a password in it, so it is not quoted.
    let parsed = url.parse::<axum::http::Uri>();
    anyhow::ensure!(
        parsed
            .as_ref()
            .is_ok_and(|url| url.scheme_str() == Some(scheme) && url.host().is_some()),
        "{of}.url must begin with {scheme}:// and a host"
    );
    let authority = parsed.as_ref().ok().and_then(|url| url.authority());
    anyhow::ensure!(
        authority.is_none_or(|it| !it.as_str().contains('@')),
        "{of}.url has a user or a password before its host: every machine is told this URL, and workers ask for none; take it out",
    );
    Ok(())
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DnsmasqConfig {
    /// dnsmasq's `dhcp-hostsdir`.
    pub hosts_dir: PathBuf,
    /// dnsmasq's `tftp-root`; `boot.ipxe` and the folder `grub` are written there.
    pub tftp_dir: PathBuf,
    /// D-Bus address where dnsmasq is; default: the system bus.
    pub bus: Option<String>,
    /// dnsmasq's `enable-dbus=<name>`.
    #[serde(default = "dnsmasq_name")]
    pub bus_name: String,
}

fn dnsmasq_name() -> String {
    "uk.org.thekelleys.dnsmasq".into()
}

impl Config {
    /// # Errors
    /// When the file cannot be read, or a field is unknown, missing, wrong or nonsense.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// # Errors
    /// When a field is unknown, missing, wrong or nonsense.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| unquoted(&error, text))?;
        config.policy.check().map_err(anyhow::Error::msg)?;
        config.nats.check()?;
        config.http.check()?;
        config.records.check()?;
        config.secrets.check()?;
        config.auto_discovery.check(config.discovery)?;
        config.check_images()?;
        Ok(config)
    }

    /// Workers know each other's tokens by the master key that they share.
    fn check_images(&self) -> anyhow::Result<()> {
        let private = self.http.images == Images::Private;
        anyhow::ensure!(
            !private || self.secrets.encryption == Encryption::On,
            "http.images is private, and secrets.encryption is none: tokens for images are made with the master key"
        );
        Ok(())
    }

    pub fn worker_id(&self) -> anyhow::Result<WorkerId> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let host =
            std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host name")?;
        host.trim()
            .replace('.', "-")
            .parse()
            .context("use the host name as worker id")
    }
}

/// What is wrong, in which option and line, without a word of its value: a URL or the arguments of a command may have a
/// password in it, and errors go to the journal.
fn unquoted(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let mut bare = error.clone();
    bare.set_input(None);
    let what = without_values(bare.to_string().trim_end());
    let before = error.span().and_then(|span| text.get(..span.start));
    match before.map(|before| before.matches('\n').count() + 1) {
        Some(line) => anyhow::anyhow!("line {line}: {what}"),
        None => anyhow::anyhow!(what),
    }
}

/// serde's words for a string that is none of what is expected are `string "VALUE", expected …`, with VALUE as `{:?}` has it.
fn without_values(what: &str) -> String {
    match (
        what.split_once("string \""),
        what.rsplit_once("\", expected "),
    ) {
        (Some((before, _)), Some((_, expected))) => format!("{before}string, expected {expected}"),
        _ => what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_document as document;
    use schemars::JsonSchema;

    const SMALLEST: &str = "[http]\nlisten = '10.0.0.1:8080'\nboot_dir = '/b'\nimage_dir = '/i'\n";

    #[test]
    fn the_smallest_file_gets_every_default() {
        let config: Config = toml::from_str(SMALLEST).unwrap();
        assert_eq!(config.http.url(), "http://10.0.0.1:8080");
        assert_eq!(config.nats.for_agents(), ["nats://127.0.0.1:4222"]);
        assert!(config.discovery && config.dnsmasq.is_none());
        assert_eq!(config.policy, Policy::default());
    }

    /// Rows of one section.
    fn rows<'de, T: JsonSchema + Deserialize<'de>>(prefix: &str) -> Vec<Vec<String>> {
        let schema = schemars::schema_for!(T).to_value();
        document::options::<T>(prefix, &schema, &["limits", "tls"])
    }

    #[test]
    fn the_table_of_options_is_written_from_the_types() {
        let sections = [
            ("nats", rows::<Nats>("nats.")),
            ("http", rows::<Http>("http.")),
            ("http.limits", rows::<HttpLimits>("http.limits.")),
            ("http.tls", rows::<HttpTls>("http.tls.")),
            ("dnsmasq", rows::<DnsmasqConfig>("dnsmasq.")),
            ("bmc", rows::<BmcOptions>("bmc.")),
            ("console", rows::<ConsoleOptions>("console.")),
            ("records", rows::<RecordOptions>("records.")),
            ("events", rows::<EventOptions>("events.")),
            ("secrets", rows::<Secrets>("secrets.")),
            ("auto_discovery", rows::<AutoDiscovery>("auto_discovery.")),
            // It has a table of its own, beside the type.
            ("policy", vec![]),
        ];
        let names = sections.each_ref().map(|(name, _)| *name);
        let schema = schemars::schema_for!(Config).to_value();
        let mut all = document::options::<Config>("", &schema, &names);
        all.extend(sections.into_iter().flat_map(|(_, rows)| rows));
        let table = document::table(&["option", "default", "meaning"], &all);
        document::holds("docs/conductor.md", "options", &table).unwrap();
    }

    #[test]
    fn an_address_that_no_machine_can_go_to_is_an_error() {
        let check = |http: &str| {
            let text = SMALLEST.replace("listen = '10.0.0.1:8080'", http);
            let config: Config = toml::from_str(&text).unwrap();
            let checked = config.http.check();
            checked
                .map(|()| config.http.url())
                .map_err(|error| error.to_string())
        };
        for any in ["0.0.0.0:80", "[::]:80"] {
            let why = check(&format!("listen = '{any}'")).unwrap_err();
            assert!(why.contains(any) && why.contains("http.url"), "{why}");
            let told = check(&format!("listen = '{any}'\nurl = 'http://h:8080/'"));
            assert_eq!(told.unwrap(), "http://h:8080");
        }
        for wrong in ["10.0.0.1:8081", "https://h", "http:///x", "h"] {
            let why = check(&format!("listen = '10.0.0.1:80'\nurl = '{wrong}'")).unwrap_err();
            assert!(why.contains("must begin with http://"), "{why}");
        }
        for (secret, expected) in [
            ("ftp://u:hush@h", "must begin with http://"),
            ("http://u:hush@h:8080", "take it out"),
            ("http://hush@h", "take it out"),
        ] {
            let why = check(&format!("listen = '10.0.0.1:80'\nurl = '{secret}'")).unwrap_err();
            assert!(why.contains(expected) && !why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn what_can_never_be_is_said_at_the_start() {
        let error = |text: String| Config::parse(&text).unwrap_err().to_string();
        for bad in ["http://lb.example.org/", "x y", "lb:8080", ""] {
            let names = format!("names = ['good.example.org', '{bad}']\nboot_dir");
            let said = error(SMALLEST.replace("boot_dir", &names));
            assert!(
                said.starts_with("the 2. of http.names is no host name"),
                "{said}"
            );
        }
        let said = error(format!("{SMALLEST}[nats]\nreplicas = 7\n"));
        assert_eq!(said, "nats.replicas is 7: it must be from 1 to 5");
        let said = error(format!("{SMALLEST}[records]\nper_node = 1\n"));
        assert_eq!(said, "records.per_node is 1: it must be 2 at least");
    }

    #[test]
    fn boot_scripts_go_over_tls_where_there_is_some() {
        let check = |more: &str| {
            let config: Config = toml::from_str(&format!("{SMALLEST}{more}")).unwrap();
            let checked = config.http.check().map_err(|error| error.to_string());
            checked.map(|()| config.http.scripts)
        };
        let tls = "[http.tls]\nlisten = '10.0.0.1:8443'\ncertificate = '/c'\nkey = '/k'\n";
        assert_eq!(check(tls), Ok(Scripts::Http));
        let over_tls = format!("scripts = 'https'\n{tls}");
        assert_eq!(check(&over_tls), Ok(Scripts::Https));
        let why = check("scripts = 'https'\n").unwrap_err();
        assert!(why.contains("there is no [http.tls]"), "{why}");
    }

    #[test]
    fn a_worker_is_told_where_its_master_key_is_or_that_it_shall_have_none() {
        let check = |secrets: &str| {
            let text = format!("{SMALLEST}[secrets]\n{secrets}");
            let config: Config = toml::from_str(&text).unwrap();
            config.secrets.check().map_err(|error| error.to_string())
        };
        let file = "key_file = '/k'";
        for good in [
            file,
            "key_credential = 'ironbeat-key'",
            "key_command = ['vault', 'read']",
            "encryption = 'none'",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("", "ironbeat auth new-key"),
            ("key_file = '/k'\nkey_credential = 'k'", "has one source"),
            (
                "key_file = '/k'\nencryption = 'none'",
                "take one of them out",
            ),
            ("key_credential = '../k'", "is no name"),
        ] {
            let why = check(bad).unwrap_err();
            assert!(why.contains(expected), "{bad}: {why}");
        }
    }

    #[test]
    fn an_error_names_option_and_line_and_quotes_no_value() {
        for (wrong, expected) in [
            (
                "[secrets]\nkey_command = 'vault --token hush'",
                "line 6: invalid type: string, expected a sequence\nin `secrets.key_command`",
            ),
            ("[nats]\nservers = ['nats://u:hush@h'", "line 6: "),
            (
                "[nats]\nservers = 'nats://u:hush\", expected h'",
                "line 6: ",
            ),
            (
                "[nats]\nserver = ['nats://u:hush@h']",
                "line 6: unknown field `server`",
            ),
            ("[secrets]\nkey_file = \"hush", "line 6: "),
        ] {
            let why = Config::parse(&format!("{SMALLEST}{wrong}\n")).unwrap_err();
            let why = format!("{why:#}");
            assert!(
                why.starts_with(expected) && !why.contains("hush"),
                "{wrong}: {why}"
            );
        }
    }

    #[test]
    fn a_misspelt_option_is_an_error() {
        for wrong in [
            "discovry = false",
            "[policy]\nheartbeat_timeout = 3",
            "[nats]\nurl = 'x'",
        ] {
            let text = format!("{wrong}\n{SMALLEST}");
            assert!(
                toml::from_str::<Config>(&text)
                    .unwrap_err()
                    .to_string()
                    .contains("unknown field"),
                "{wrong}"
            );
        }
    }
}

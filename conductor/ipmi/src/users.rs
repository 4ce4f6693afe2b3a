//! Who may log in to the BMC, and with which password (IPMI 2.0 §22.26 to §22.30).
//! `login` logs in, which alone proves that a login works.
use crate::bmc::Bmc;
use crate::config::Protocol;
use crate::error::{Error, ErrorKind};
use crate::message::{APP, Request};
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: u8,
    pub name: String,
    /// None: the BMC does not say.
    pub enabled: Option<bool>,
    /// 1 call-back, 2 user, 3 operator, 4 administrator, 5 OEM; Fh: no access on this channel.
    pub privilege: u8,
    /// May use IPMI on this channel at all.
    pub messaging: bool,
}

/// What Set User Password does with a password (§22.30, byte 2).
#[derive(Clone, Copy)]
enum Operation {
    Set = 2,
    Test = 3,
}

/// Bytes of a password as IPMI 1.5 has it, and the most that IPMI 2.0 has.
const SHORT: usize = 16;
const LONG: usize = 20;
/// "20 byte password" (§22.30, byte 1, bit 7).
const LONG_FLAG: u8 = 0x80;
/// Completion codes of Set User Password: the password does not match, or has another size (§22.30).
const NO_MATCH: u8 = 0x80;
const OTHER_SIZE: u8 = 0x81;

/// The user's id, the operation, and the password with zeros behind it, in 16 bytes if they suffice: some BMCs know no more.
fn password_request(id: u8, operation: Operation, password: &Secret) -> Option<Request> {
    let password = password.reveal();
    let (flag, room) = match password.len() {
        0..=SHORT => (0, SHORT),
        _ => (LONG_FLAG, LONG),
    };
    let zeros = room.checked_sub(password.len())?;
    let mut data = vec![flag | (id & 0x3f), operation as u8];
    data.extend(password);
    data.extend(std::iter::repeat_n(0, zeros));
    Some(Request::new(APP, 0x47, &data))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    slots: u8,
    enabled: Option<bool>,
    privilege: u8,
    messaging: bool,
}

pub(crate) fn parse_access(data: &[u8]) -> Option<Access> {
    let [slots, status, _fixed, access, ..] = *data else {
        return None;
    };
    Some(Access {
        slots: slots & 0x3f,
        enabled: match status >> 6 {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        },
        privilege: access & 0x0f,
        messaging: access & 0x10 != 0,
    })
}

pub(crate) fn name(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0);
    let name = &data[..end.unwrap_or(data.len()).min(16)];
    String::from_utf8_lossy(name).into_owned()
}

impl Bmc {
    /// The users of a channel (usually 1; 0Eh: the one that this session uses). Slots without name and access are left out.
    ///
    /// # Errors
    /// Whatever prevents an answer; see [`crate::ErrorKind`].
    pub async fn users(&self, channel: u8) -> Result<Vec<User>, Error> {
        let mut users = Vec::new();
        let (mut id, mut slots) = (1, 1);
        while id <= slots {
            let access = self.user_access(channel, id).await?;
            slots = access.slots;
            let name = self.user_name(id).await?;
            if !name.is_empty() || access.messaging {
                users.push(User {
                    id,
                    name,
                    enabled: access.enabled,
                    privilege: access.privilege,
                    messaging: access.messaging,
                });
            }
            id += 1;
        }
        Ok(users)
    }

    /// The id of the user that this handle logs in as, by its name. Where several have that name, the one that may use IPMI
    /// on this channel.
    ///
    /// # Errors
    /// Whatever prevents an answer, and [`ErrorKind::NoSuchUser`].
    pub async fn own_user(&self, channel: u8) -> Result<User, Error> {
        let name = &self.config().username;
        let mut own: Vec<User> = self.users(channel).await?;
        own.retain(|user| user.name == *name);
        let best = own.iter().position(|user| user.messaging).unwrap_or(0);
        if own.is_empty() {
            let user = name.clone();
            return Err(self.error("find the user", ErrorKind::NoSuchUser { user }));
        }
        Ok(own.swap_remove(best))
    }

    /// Gives a user another password: of 1 to 20 bytes, or 1 to 16 for a BMC of IPMI 1.5 (§22.30). That the BMC says that it
    /// did does not prove that it keeps all of it: see [`Bmc::has_password`]. Twice is once.
    ///
    /// # Errors
    /// Whatever prevents an answer; the BMC's refusal as [`ErrorKind::PasswordRefused`]; and
    /// [`ErrorKind::Unsupported`] over IPMI 1.5, whose sessions would carry the password in the clear.
    pub async fn set_password(&self, id: u8, password: &Secret) -> Result<(), Error> {
        let attempt = "set the password";
        if self.config().protocol == Protocol::Ipmi15 {
            let what = "IPMI 1.5 encrypts nothing, a new password neither";
            return Err(self.error(attempt, ErrorKind::Unsupported(what)));
        }
        let request = self.password_request(attempt, id, Operation::Set, password)?;
        match self.command(attempt, request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.completion() {
                Some(code) if !code.may_pass() => {
                    self.error(attempt, ErrorKind::PasswordRefused(code))
                }
                Some(_) | None => error,
            }),
        }
    }

    /// Whether the BMC says that this is all of the user's password. None: it cannot say.
    ///
    /// # Errors
    /// Whatever prevents an answer.
    pub async fn has_password(&self, id: u8, password: &Secret) -> Result<Option<bool>, Error> {
        let attempt = "test the password";
        let request = self.password_request(attempt, id, Operation::Test, password)?;
        match self.command(attempt, request).await {
            Ok(_) => Ok(Some(true)),
            Err(error) => match error.completion() {
                Some(code) if [NO_MATCH, OTHER_SIZE].contains(&code.0) => Ok(Some(false)),
                Some(_) => Ok(None),
                None => Err(error),
            },
        }
    }

    fn password_request(
        &self,
        attempt: &'static str,
        id: u8,
        operation: Operation,
        password: &Secret,
    ) -> Result<Request, Error> {
        let too_long = ErrorKind::LoginTooLong("a password has at most 20 bytes");
        password_request(id, operation, password).ok_or_else(|| self.error(attempt, too_long))
    }

    async fn user_access(&self, channel: u8, id: u8) -> Result<Access, Error> {
        let attempt = "get user access";
        let data = self
            .command(attempt, Request::new(APP, 0x44, &[channel & 0x0f, id]))
            .await?;
        parse_access(&data).ok_or_else(|| self.malformed(attempt, "user access cut short"))
    }

    async fn user_name(&self, id: u8) -> Result<String, Error> {
        let request = Request::new(APP, 0x46, &[id]);
        match self.command("get user name", request).await {
            Ok(data) => Ok(name(&data)),
            // A slot that was never used.
            Err(error) if error.completion().is_some() => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_sixteen_bytes_if_they_suffice_and_else_twenty() {
        let data = |password: &str| {
            let secret = Secret::new(password);
            password_request(2, Operation::Set, &secret).map(|request| request.data)
        };
        let short = data("sixteen-bytes-it").unwrap();
        assert_eq!(short, [&[0x02, 0x02], &b"sixteen-bytes-it"[..]].concat());
        assert_eq!(
            data("a").unwrap(),
            [&[0x02, 0x02, b'a'][..], &[0; 15]].concat()
        );
        let long = data("seventeen-bytes-i").unwrap();
        assert_eq!(
            long,
            [&[0x82, 0x02], &b"seventeen-bytes-i\0\0\0"[..]].concat()
        );
        assert_eq!(data("twenty-bytes-of-text").unwrap().len(), 22);
        assert_eq!(data("one-and-twenty-bytes!"), None);
    }

    #[test]
    fn access_and_names_are_read() {
        let expected = Access {
            slots: 10,
            enabled: Some(true),
            privilege: 4,
            messaging: true,
        };
        assert_eq!(parse_access(&[0x0a, 0x42, 0x01, 0x34]), Some(expected));
        assert_eq!(
            parse_access(&[0x0a, 0x82, 0x01, 0x0f]).unwrap().enabled,
            Some(false)
        );
        assert_eq!(parse_access(&[0x0a, 0x42, 0x01]), None);
        assert_eq!(name(b"admin\0\0\0\0\0\0\0\0\0\0\0"), "admin");
        assert_eq!(name(b"sixteen-bytes-it"), "sixteen-bytes-it");
        assert_eq!(name(&[]), "");
    }
}

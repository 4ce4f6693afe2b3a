//! Tokens for images that are served to those alone who are to have them: what one says, and who made it.
//! Every worker has the master keys, so every worker's tokens are good at every other, and no rotation of data keys ends
//! one. `netboot/http` asks for them; whether what a token is for still goes on is for whoever knows the records.
use super::master::MasterKeys;
use data_encoding::BASE64URL_NOPAD;
use ironbeat_common::id::{NodeId, StepId};
use ironbeat_core::time::Time;
use ring::hmac;

/// What a key for tokens is made of a master key for: no other use of that key gives the same.
const LABEL: &[u8] = b"ironbeat image token 1";

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The agent that runs this step of this node.
    Step { node: NodeId, step: StepId },
    /// A worker that looks whether the image is there, before a machine boots for it.
    Look,
}

/// Makes and reads tokens. The first key makes, all read: a master key that is changed for another is in both lists for a while.
pub struct ImageTokens(Vec<hmac::Key>);

impl ImageTokens {
    /// None: a worker without master keys has no secret in common with the others.
    pub fn of(masters: &MasterKeys) -> Option<Self> {
        let keys = masters.iter().map(|master| master.key().derive(LABEL));
        let keys: Vec<hmac::Key> = keys.collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Good for one file of the image directory until then.
    pub fn give(&self, purpose: Purpose, file: &str, until: Time) -> String {
        let claim = claim(purpose, until.unix_ms() / 1000);
        let tag = hmac::sign(&self.0[0], &signed(&claim, file));
        format!("{claim}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }

    /// Whom it is for. None: nobody here made it for this file, or its time is over.
    pub fn read(&self, token: &str, file: &str, now: Time) -> Option<Purpose> {
        let (claim, tag) = token.rsplit_once('.')?;
        let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
        let signed = signed(claim, file);
        let is_ours = |key: &hmac::Key| hmac::verify(key, &signed, &tag).is_ok();
        if !self.0.iter().any(is_ours) {
            return None;
        }
        let (purpose, until) = claim.rsplit_once('.')?;
        if now.unix_ms() / 1000 >= until.parse().ok()? {
            return None;
        }
        match purpose.split_once('.') {
            Some((node, step)) => Some(Purpose::Step {
                node: node.parse().ok()?,
                step: StepId(step.parse().ok()?),
            }),
            None => (purpose == LOOK).then_some(Purpose::Look),
        }
    }
}

const LOOK: &str = "look";

fn claim(purpose: Purpose, until: u64) -> String {
    match purpose {
        Purpose::Step { node, step } => format!("{node}.{step}.{until}"),
        Purpose::Look => format!("{LOOK}.{until}"),
    }
}

/// A file's name holds no zero.
fn signed(claim: &str, file: &str) -> Vec<u8> {
    [claim.as_bytes(), &[0], file.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::master::MasterKey;
    use super::*;

    fn keys() -> (MasterKey, MasterKey) {
        (MasterKey::generate(), MasterKey::generate())
    }

    fn tokens(keys: &[&MasterKey]) -> ImageTokens {
        let lines: String = keys.iter().map(|key| key.line().to_string()).collect();
        ImageTokens::of(&MasterKeys::parse(&lines).unwrap()).unwrap()
    }

    const STEP: Purpose = Purpose::Step {
        node: NodeId::from_bytes([7; 16]),
        step: StepId(12),
    };

    fn at(secs: u64) -> Time {
        Time::from_unix_ms(secs * 1000)
    }

    #[test]
    fn a_token_is_good_for_its_file_and_its_time_at_every_worker() {
        let (first, _) = keys();
        let (one, other) = (tokens(&[&first]), tokens(&[&first]));
        for purpose in [STEP, Purpose::Look] {
            let token = one.give(purpose, "os.raw", at(100));
            assert_eq!(other.read(&token, "os.raw", at(99)), Some(purpose));
            assert_eq!(other.read(&token, "os.raw", at(100)), None);
            assert_eq!(other.read(&token, "other.raw", at(99)), None);
        }
    }

    #[test]
    fn a_token_of_the_master_key_before_is_good_until_that_is_taken_away() {
        let (old, new) = keys();
        let token = tokens(&[&old]).give(STEP, "os.raw", at(100));
        let read = |keys: &[&MasterKey]| tokens(keys).read(&token, "os.raw", at(1));
        assert_eq!(read(&[&new, &old]), Some(STEP));
        assert_eq!(read(&[&new]), None);
    }

    #[test]
    fn what_is_made_up_or_changed_is_no_token() {
        let (first, _) = keys();
        let tokens = tokens(&[&first]);
        let good = tokens.give(STEP, "os.raw", at(100));
        let (claim, tag) = good.rsplit_once('.').unwrap();
        let longer = claim.replace(".100", ".999");
        assert_ne!(longer, claim);
        for wrong in [
            String::new(),
            "..".into(),
            claim.into(),
            format!("{longer}.{tag}"),
            format!("{claim}.{}", &tag[1..]),
            format!("{}.{tag}", claim.replace(".12.", ".13.")),
            format!("look.100.{tag}"),
            format!("{good}="),
        ] {
            assert_eq!(tokens.read(&wrong, "os.raw", at(1)), None, "{wrong}");
        }
        assert!(ImageTokens::of(&MasterKeys::none()).is_none());
    }
}

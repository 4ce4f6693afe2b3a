//! Passwords that everybody knows: those that BMCs are delivered with.
//! `check` says so of a BMC that has one.
use ironbeat_core::node::BmcAccess;

/// What a vendor's BMCs are delivered with, or were until each got a password of its own.
struct Factory {
    vendor: &'static str,
    user: &'static str,
    password: &'static str,
}

const fn of(vendor: &'static str, user: &'static str, password: &'static str) -> Factory {
    Factory {
        vendor,
        user,
        password,
    }
}

/// As they are widely published; each is the password of some models and years, before vendors gave each machine its own, as
/// HPE's iLO always had. Those of Supermicro, Dell, IBM, Fujitsu, ASUS and Oracle are in a second list too, the
/// others are not. A wrong one warns of nothing that is not weak anyway.
const FACTORY: [Factory; 10] = [
    of("Supermicro", "ADMIN", "ADMIN"),
    of("Dell", "root", "calvin"),
    of("OpenBMC", "root", "0penBmc"),
    of("Lenovo and IBM", "USERID", "PASSW0RD"),
    of("Fujitsu, ASRock Rack and ASUS", "admin", "admin"),
    of("Cisco and GIGABYTE", "admin", "password"),
    of("Huawei", "root", "Huawei12#$"),
    of("Huawei", "Administrator", "Admin@9000"),
    of("Oracle", "root", "changeme"),
    of("Tyan", "root", "superuser"),
];

/// In words: whose it is, or why else everybody knows it. It is not shown.
pub(super) fn factory_password(access: &BmcAccess) -> Option<String> {
    let BmcAccess::Ipmi {
        username, password, ..
    } = access;
    let password = password.reveal();
    let mut factory = FACTORY.iter();
    let factory = factory.find(|it| it.user == username && it.password == password);
    match factory {
        Some(factory) => Some(format!(
            "the one that BMCs of {} are delivered with",
            factory.vendor
        )),
        None if password.is_empty() => Some("an empty one".into()),
        None if password.eq_ignore_ascii_case(username) => Some("its user's name".into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbeat_core::node::Secret;

    #[test]
    fn a_password_that_everybody_knows_is_named_and_not_shown() {
        let known = |user: &str, password: &str| {
            factory_password(&BmcAccess::Ipmi {
                address: "10.0.0.1".parse().unwrap(),
                username: user.into(),
                password: Secret::new(password),
                cipher_suite: None,
                kg: None,
                ipmi_1_5: false,
            })
        };
        for (user, password, said) in [
            (
                "ADMIN",
                "ADMIN",
                "the one that BMCs of Supermicro are delivered with",
            ),
            (
                "root",
                "calvin",
                "the one that BMCs of Dell are delivered with",
            ),
            (
                "root",
                "0penBmc",
                "the one that BMCs of OpenBMC are delivered with",
            ),
            (
                "USERID",
                "PASSW0RD",
                "the one that BMCs of Lenovo and IBM are delivered with",
            ),
            ("ops", "OPS", "its user's name"),
            ("ops", "", "an empty one"),
        ] {
            let found = known(user, password).unwrap();
            assert_eq!(found, said);
        }
        // Another user's, or nearly one.
        for (user, password) in [("ADMIN", "calvin"), ("root", "Calvin"), ("root", "x9Kd")] {
            assert_eq!(known(user, password), None, "{user}");
        }
    }
}

//! URLs as operators write them and servers redirect to them.
use super::{BadUrl, Url};

#[test]
fn parts() {
    let check = |text: &str, host: &str, port: u16, target: &str, printed: &str| {
        let url = Url::parse(text).expect(text);
        assert_eq!(
            (url.host(), url.port(), url.target()),
            (host, port, target),
            "{text}"
        );
        assert_eq!(url.to_string(), printed);
    };
    check("http://h/i.raw", "h", 80, "/i.raw", "http://h/i.raw");
    check(
        "HTTP://10.0.0.1:8080",
        "10.0.0.1",
        8080,
        "/",
        "http://10.0.0.1:8080/",
    );
    check("http://h?x=1", "h", 80, "/?x=1", "http://h/");
    check(
        "http://h:80/a?sig=secret#part",
        "h",
        80,
        "/a?sig=secret",
        "http://h/a",
    );
    check(
        "http://[fd00::1]:81/i",
        "fd00::1",
        81,
        "/i",
        "http://[fd00::1]:81/i",
    );
    check(
        "http://[fd00::1]/i",
        "fd00::1",
        80,
        "/i",
        "http://[fd00::1]/i",
    );
}

#[test]
fn refusals() {
    let check =
        |text: &str, error: BadUrl| assert_eq!(Url::parse(text).err(), Some(error), "{text}");
    check("https://h/i", BadUrl::Https);
    check("ftp://h/i", BadUrl::Scheme);
    check("/i", BadUrl::Scheme);
    check("http://", BadUrl::Host);
    check("http://:80/", BadUrl::Host);
    check("http:///i", BadUrl::Host);
    check("http:h/i", BadUrl::Scheme);
    check("http://h:x/", BadUrl::Host);
    check("http://h:66000/", BadUrl::Host);
    check("http://[::1/", BadUrl::Host);
    check("http://[::1]80/", BadUrl::Host);
    check("http://u:p@h/", BadUrl::Credentials);
    check("http://h/a b", BadUrl::Text);
    check("http://h/\r\nX: y", BadUrl::Text);
    check(&format!("http://h/{}", "a".repeat(9000)), BadUrl::Text);
}

#[test]
fn redirects() {
    let from = Url::parse("http://h:81/a/b?q").expect("a URL");
    let check = |location: &str, target: &str| {
        let url = from.join(location).expect(location);
        assert_eq!(
            format!("{}{}", url.authority(), url.target()),
            target,
            "{location}"
        );
    };
    check("http://g/c", "g/c");
    check("//g/c", "g/c");
    check("/c?x=http://y", "h:81/c?x=http://y");
    check("c", "h:81/a/c");
    check("?r", "h:81/a/b?r");
    assert_eq!(from.join("https://g/").err(), Some(BadUrl::Https));
    assert_eq!(from.join("//u@g/").err(), Some(BadUrl::Credentials));
    assert!(from.join("a b").is_err());
}

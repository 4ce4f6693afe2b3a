//! URLs as operators write them and servers redirect to them.
//! Fetching them is tested in `http` and `fetch`.
use super::{BadUrl, Url};
use url::ParseError::{EmptyHost, IdnaError, InvalidIpv6Address, InvalidPort};

#[test]
fn a_url_is_taken_apart_for_a_request_and_printed_without_its_query() {
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
    check("HTTPS://h/i", "h", 443, "/i", "https://h/i");
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
fn a_url_that_an_order_should_not_have_is_refused() {
    let check =
        |text: &str, error: BadUrl| assert_eq!(Url::parse(text).err(), Some(error), "{text}");
    check("ftp://h/i", BadUrl::Scheme);
    check("/i", BadUrl::Scheme);
    check("http://", BadUrl::Host(EmptyHost));
    check("http://:80/", BadUrl::Host(EmptyHost));
    check("http:///i", BadUrl::Host(EmptyHost));
    check("http:h/i", BadUrl::Scheme);
    check("http://h:x/", BadUrl::Host(InvalidPort));
    check("http://h:66000/", BadUrl::Host(InvalidPort));
    check("http://[::1/", BadUrl::Host(InvalidIpv6Address));
    check("http://[::1]80/", BadUrl::Host(InvalidIpv6Address));
    check("http://A\u{e4}/", BadUrl::Host(IdnaError));
    check("http://A%C3%A4/", BadUrl::Host(IdnaError));
    check("http://u:p@h/", BadUrl::Credentials);
    check("http://@h/", BadUrl::Credentials);
    check("http://g\\@h/", BadUrl::Text);
    check("http://h/a b", BadUrl::Text);
    check("http://h/\r\nX: y", BadUrl::Text);
    check(&format!("http://h/{}", "a".repeat(9000)), BadUrl::Text);
}

#[test]
fn a_redirect_leads_where_rfc_3986_says() {
    let from = Url::parse("http://h:81/a/b/c?q").expect("a URL");
    let check = |location: &str, target: &str| {
        let url = from.join(location).expect(location);
        assert_eq!(
            format!("{}{}", url.authority(), url.target()),
            target,
            "{location}"
        );
    };
    // Another host, or another port of the same one.
    check("http://g/c", "g/c");
    check("//g/c", "g/c");
    check("http://h:8080/x", "h:8080/x");
    check("//h/x", "h/x");
    check("HTTP://h:82", "h:82/");
    // Relative to the path, with its dot segments.
    check("d", "h:81/a/b/d");
    check("./d", "h:81/a/b/d");
    check("../d", "h:81/a/d");
    check("../../../d", "h:81/d");
    check("/c/./../d", "h:81/d");
    check("?r", "h:81/a/b/c?r");
    check("", "h:81/a/b/c?q");
    // A colon or an at sign behind the first segment is an ordinary character.
    check("/c?x=http://y", "h:81/c?x=http://y");
    check("./x:y", "h:81/a/b/x:y");
    check("/u:p@g/", "h:81/u:p@g/");
    // A fragment is never sent.
    check("d#part", "h:81/a/b/d");
    check("#part", "h:81/a/b/c?q");
    check("http://g/c?r#part", "g/c?r");
}

#[test]
fn a_redirect_that_cannot_be_followed_is_refused() {
    let from = Url::parse("http://h:81/a/b?q").expect("a URL");
    let check = |location: &str, error: BadUrl| {
        assert_eq!(from.join(location).err(), Some(error), "{location}");
    };
    check("ftp://g/", BadUrl::Scheme);
    check("http:c", BadUrl::Scheme);
    check("c:d", BadUrl::Scheme);
    check("http:///x", BadUrl::Host(EmptyHost));
    check("///x", BadUrl::Host(EmptyHost));
    check("//", BadUrl::Host(EmptyHost));
    check("//:81/", BadUrl::Host(EmptyHost));
    check("http://g:x/", BadUrl::Host(InvalidPort));
    check("//u@g/", BadUrl::Credentials);
    check("//@g/", BadUrl::Credentials);
    check("http://u:p@g/", BadUrl::Credentials);
    check("a b", BadUrl::Text);
    check("\\\\g\\x", BadUrl::Text);
    check("/\\g/x", BadUrl::Text);
    check("/a\r\nX: y", BadUrl::Text);
    check(&"a".repeat(9000), BadUrl::Text);
}

#[test]
fn a_url_that_grows_too_long_when_joined_is_refused() {
    let from = Url::parse(&format!("http://h/{}/b", "a".repeat(8000))).expect("a URL");
    assert_eq!(from.join(&"c".repeat(8000)).err(), Some(BadUrl::Text));
}

/// Every reference of the list in RFC 3986 §5.4 that `http` allows, strictly read.
#[test]
fn the_examples_of_rfc_3986_resolve_as_printed() {
    let from = Url::parse("http://a/b/c/d;p?q").expect("a URL");
    for (location, target) in [
        ("g", "a/b/c/g"),
        ("./g", "a/b/c/g"),
        ("g/", "a/b/c/g/"),
        ("/g", "a/g"),
        ("//g", "g/"),
        ("?y", "a/b/c/d;p?y"),
        ("g?y", "a/b/c/g?y"),
        ("#s", "a/b/c/d;p?q"),
        ("g?y#s", "a/b/c/g?y"),
        (";x", "a/b/c/;x"),
        ("", "a/b/c/d;p?q"),
        (".", "a/b/c/"),
        ("..", "a/b/"),
        ("../g", "a/b/g"),
        ("../..", "a/"),
        ("../../g", "a/g"),
        ("../../../../g", "a/g"),
        ("/../g", "a/g"),
        ("g.", "a/b/c/g."),
        ("..g", "a/b/c/..g"),
        ("./g/.", "a/b/c/g/"),
        ("g/../h", "a/b/c/h"),
        ("g;x=1/../y", "a/b/c/y"),
        ("g?y/../x", "a/b/c/g?y/../x"),
        ("g#s/../x", "a/b/c/g"),
    ] {
        let url = from.join(location).expect(location);
        assert_eq!(
            format!("{}{}", url.authority(), url.target()),
            target,
            "{location}"
        );
    }
}

#[test]
fn what_began_with_tls_goes_on_with_it() {
    let join = |from: &str, to: &str| Url::parse(from).expect(from).join(to);
    for (from, to, leads) in [
        ("http://h/a", "https://g/b", Ok("https://g/b")),
        ("https://h/a", "https://g/b", Ok("https://g/b")),
        ("https://h/a", "//g/b", Ok("https://g/b")),
        ("https://h:8443/a", "b", Ok("https://h:8443/b")),
        ("https://h/a", "http://h/a", Err(BadUrl::Downgrade)),
        ("https://h/a", "HTTP://g/b", Err(BadUrl::Downgrade)),
    ] {
        let led = join(from, to).map(|url| url.to_string());
        assert_eq!(led, leads.map(str::to_string), "{from} {to}");
    }
}

#[test]
fn a_worker_has_paths_below_its_base() {
    let at = |base: &str| {
        Url::parse(base)
            .expect(base)
            .at("/v1/x")
            .expect(base)
            .to_string()
    };
    assert_eq!(at("http://h:81"), "http://h:81/v1/x");
    assert_eq!(at("https://h/ib/"), "https://h/ib/v1/x");
    let url = Url::parse("https://[fd00::1]/a?b").expect("a URL");
    assert_eq!(url.host_and_port(), "[fd00::1]:443");
    assert_eq!(url.absolute(), "https://[fd00::1]/a?b");
}

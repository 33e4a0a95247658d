//! Where a node is reached: `HOST:PORT`, the host a DNS name, an IPv4 address or an IPv6 address in brackets.
//!
//! Read strictly and in one spelling, because addresses stand in tokens and certificates: what was read is written the
//! same. Nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest address in bytes: a DNS name of 253 (RFC 1035 §2.3.4) and a port.
pub const ADDRESS_BYTES_MAX: usize = 253 + ":65535".len();

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

/// The part of an address that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, in lower case.
    Name(String),
    /// An address of the internet protocol.
    Ip(IpAddr),
}

/// A text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is longer than any.
    #[error("an address has at most {ADDRESS_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has no port from 1 to 65535 in its shortest form.
    #[error("an address ends with `:PORT`, from 1 to 65535")]
    Port,
    /// Its host is none.
    #[error("the host of an address is a dns name in lower case, an ipv4 address, or an ipv6 address in brackets")]
    Host,
}

// === impl Address ===

impl Address {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(InvalidAddress::TooLong { bytes: text.len() });
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress::Port)?;
        let number: u16 = port.parse().map_err(|_| InvalidAddress::Port)?;
        if number == 0 || number.to_string() != port {
            return Err(InvalidAddress::Port);
        }
        let host = read_host(host).ok_or(InvalidAddress::Host)?;
        let address = Self { host, port: number };
        // Another spelling of an IPv6 address.
        if address.to_string() == text { Ok(address) } else { Err(InvalidAddress::Host) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

fn read_host(text: &str) -> Option<Host> {
    if let Some(ip) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().ok().map(|ip| Host::Ip(ip.into()));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(Host::Ip(ip.into()));
    }
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        matches!(bytes.len(), 1..=63) && bytes.iter().all(is_inner) && bytes[0] != b'-' && !label.ends_with('-')
    };
    // Names whose last label is a number are refused by everybody who looks for IPv4 addresses.
    let is_number = text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = text.len() <= 253 && text.split('.').all(is_label) && !is_number;
    is_name.then(|| Host::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_in_one_spelling() {
        use InvalidAddress as Bad;

        for text in ["a:1", "node-1.example.com:7443", "127.0.0.1:65535", "[::1]:80", "[2001:db8::5]:443", "1a.b2:9"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        let long = format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX));
        let cases = [
            ("", Bad::Port),
            ("a", Bad::Port),
            ("a:", Bad::Port),
            ("a:0", Bad::Port),
            ("a:65536", Bad::Port),
            ("a:080", Bad::Port),
            ("a:+80", Bad::Port),
            (":80", Bad::Host),
            ("A:80", Bad::Host),
            ("::1:80", Bad::Host),
            ("[::01]:80", Bad::Host),
            ("[127.0.0.1]:80", Bad::Host),
            ("127.0.0.01:80", Bad::Host),
            ("1.2.3:80", Bad::Host),
            ("a..b:80", Bad::Host),
            ("-a:80", Bad::Host),
            ("a b:80", Bad::Host),
            ("https://a:80", Bad::Host),
            (&long, Bad::TooLong { bytes: long.len() }),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[a-z0-9.:\\[\\]-]{0,20}:[0-9]{1,5}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string(), text);
            }
        }
    }
}

//! Makes the MCP client of `quorate tools` and `quorate call` from their flags.
//!
//! The same client code that the gateway uses towards backends, with the limits of a person who
//! waits instead of those of a configuration.

use std::path::PathBuf;

use http::HeaderMap;
use quorate_http::client;
use quorate_runtime::upstream::{Client, Endpoint, HttpEndpoint, Limits};
use quorate_tls::{ClientOptions, ClientTls};

use crate::cli::ConnectionArgs;
use crate::exit::{Doing, Exit, Failure};

/// Connects to the MCP server at `url`.
///
/// # Errors
/// [`Failure`] with [`Exit::Usage`] for an address, header or file that cannot be used, and what
/// [`Failure::of_upstream`] makes of the rest.
pub(crate) async fn connect(url: &str, args: &ConnectionArgs) -> Result<Client, Failure> {
    let endpoint = endpoint(url, args)?;
    let connected = Client::connect(Endpoint::Http(endpoint), args.era.into(), args.transport.into()).await;
    connected.map_err(|error| Failure::of_upstream(url, Doing::Asking, &error))
}

fn endpoint(url: &str, args: &ConnectionArgs) -> Result<HttpEndpoint, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &args.headers {
        headers.append(name.clone(), value.clone());
    }
    let limits = Limits {
        first_byte: args.timeout.min(args.total_timeout),
        idle: args.timeout,
        total: args.total_timeout,
        ..Limits::default()
    };
    let config =
        client::Config { connect_timeout: args.connect_timeout, head_timeout: limits.first_byte, ..client::DEFAULTS };
    let client = client::Client::new(&config, tls(url, args.ca.as_ref())?);
    HttpEndpoint::new(url, client, headers, limits).map_err(|error| {
        Failure::new(Exit::Usage, error.to_string()).advise("write an address like http://127.0.0.1:4290/mcp")
    })
}

/// Loads the certificates to trust; the system's only where they are needed, for they take time.
///
/// # Errors
/// [`Failure`] with [`Exit::Usage`] for a file that cannot be used.
pub(crate) fn tls(url: &str, ca: Option<&PathBuf>) -> Result<ClientTls, Failure> {
    let native_roots = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let options = ClientOptions { native_roots, extra_roots: ca.cloned() };
    ClientTls::load(&options).map_err(|error| Failure::new(Exit::Usage, anyhow::Error::from(error).to_string()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &[&str]) -> ConnectionArgs {
        match Cli::try_parse_from(line).unwrap().command {
            Command::Tools(tools) => tools.connection,
            other => panic!("expected tools, got {other:?}"),
        }
    }

    #[test]
    fn flags_become_limits_and_headers() {
        let args = args(&["quorate", "tools", "--timeout", "2s", "--total-timeout", "1s", "-H", "a: 1", "-H", "a: 2"]);
        let endpoint = endpoint("http://127.0.0.1:1/mcp", &args).unwrap();
        let limits = endpoint.limits();
        assert_eq!((limits.first_byte.as_secs(), limits.idle.as_secs(), limits.total.as_secs()), (1, 2, 1));
        assert_eq!(endpoint.headers().get_all("a").iter().count(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_a_usage_error() {
        let plain = args(&["quorate", "tools"]);
        for url in ["127.0.0.1:4290", "ftp://h/", "http://", "nonsense"] {
            assert_eq!(endpoint(url, &plain).unwrap_err().exit, Exit::Usage, "{url}");
        }
        let header = args(&["quorate", "tools", "-H", "Content-Length: 5"]);
        assert_eq!(endpoint("http://h/", &header).unwrap_err().exit, Exit::Usage);
        let missing = args(&["quorate", "tools", "--ca", "/does/not/exist.pem"]);
        let failure = endpoint("http://h/", &missing).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("/does/not/exist.pem"), "{failure}");
    }
}

//! The flags of `quorate chat`.
//!
//! Kept apart from [`super`] as those of other commands are; parsed and checked in the same way.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue};

use super::{parse_header, parse_patience};

/// Where `quorate up` serves models.
const DEFAULT_URL: &str = "http://127.0.0.1:4290";

/// Flags of `quorate chat`.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// The model, as clients ask for it; `demo` is that of `quorate up`.
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// The gateway, or any server with OpenAI's chat completions: the address before /v1.
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// Instructions for the whole conversation. Default: none.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Say this, print the answer and end. Default: what is said is read from standard input, line by line.
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The environment variable with the API key or token to show, as `Authorization: Bearer`. Default: nothing is shown.
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// A header to send with every request, as 'NAME: VALUE' (repeatable). Default: none.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Ask for whole answers. Default: they are printed as they are made.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// A file with certificates (PEM) to trust besides the system's. Default: none.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long a connection may take to be made.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_patience)]
    pub(crate) connect_timeout: Duration,
    /// How long an answer may take to begin, and how long it may be silent; a whole one, how long it may take.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
}

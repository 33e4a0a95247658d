//! Tool servers that are APIs behind an OpenAPI document, and the reading of what they are made of.
//!
//! An [`OpenApiConnection`] is the valid form of `spec.openapi`. [`OpenApiConnection::read`] reads the document and the
//! secrets, which may change while the resource stays the same; [`Material::compile`] makes the API of them. A document
//! is read again at each load of the configuration, and its files are part of what a watcher looks at.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use http::HeaderMap;
use quorate_openapi::limits::DEFAULTS;
use quorate_openapi::{Compiled, Config, Credential, Document, Format, Problem, Selection, Server, compile};

use crate::credential::HeaderSource;
use crate::secret::{SecretSource, Unreadable, read_bounded};

/// An API behind an OpenAPI document.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenApiConnection {
    /// The document's file: `.json` is JSON, everything else YAML.
    pub document: PathBuf,
    /// Where requests go.
    pub server: Server,
    /// Values of the variables in servers' URLs.
    pub variables: BTreeMap<String, String>,
    /// Which operations become tools.
    pub selection: Selection,
    /// Credentials by the names of the document's security schemes.
    pub auth: BTreeMap<String, Auth>,
    /// Whether an operation that cannot be offered refuses the document.
    pub strict: bool,
    /// Headers of every request, of different names, unless a credential sets them.
    pub headers: Vec<HeaderSource>,
}

/// A credential, and where its secrets are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A bearer token.
    Token(SecretSource),
    /// The value of an API key.
    Value(SecretSource),
    /// A user name and a password.
    Basic(SecretSource, SecretSource),
}

/// What an API is made of, read.
pub struct Material {
    text: String,
    format: Format,
    config: Config,
    /// Tells whether anything has changed since another reading.
    pub fingerprint: u64,
}

/// What an API is made of cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The document's file.
    #[error("{}: cannot be read: {message}", file.display())]
    Document {
        /// The file.
        file: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A secret.
    #[error("the credential for {scheme:?}: {source}")]
    Secret {
        /// The security scheme.
        scheme: String,
        /// What is wrong; never the secret.
        source: Unreadable,
    },
    /// A header.
    #[error("the header {name:?}: {source}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong; never the value.
        source: Unreadable,
    },
}

/// A document cannot be offered: all its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The document's file.
    pub file: PathBuf,
    /// What refuses it; at least one.
    pub problems: Vec<Problem>,
}

/// An API cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What it is made of cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The document cannot be offered.
    #[error(transparent)]
    Refused(#[from] Refused),
}

// === impl OpenApiConnection ===

impl OpenApiConnection {
    /// Makes a connection with every default.
    #[must_use]
    pub fn new(document: PathBuf) -> Self {
        Self {
            document,
            server: Server::default(),
            variables: BTreeMap::new(),
            selection: Selection::default(),
            auth: BTreeMap::new(),
            strict: false,
            headers: Vec::new(),
        }
    }

    /// Lists the files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let headers = self.headers.iter().map(|header| &header.value);
        let secrets = self.auth.values().flat_map(Auth::sources).chain(headers).filter_map(SecretSource::file);
        std::iter::once(self.document.as_path()).chain(secrets)
    }

    /// Reads the document and the secrets.
    ///
    /// # Errors
    /// [`ReadError`] names the file or the scheme.
    pub fn read(&self) -> Result<Material, ReadError> {
        let text = read_bounded(&self.document, DEFAULTS.document_bytes_max as u64)
            .map_err(|message| ReadError::Document { file: self.document.clone(), message })?;
        self.read_with(text)
    }

    /// Whether an API can be made of a document with this text. Where its secrets cannot be read here, nothing is known.
    pub(crate) fn check(&self, text: &str) -> Result<(), Vec<Problem>> {
        self.read_with(text.to_owned()).map_or(Ok(()), |material| material.compile().map(drop))
    }

    fn read_with(&self, text: String) -> Result<Material, ReadError> {
        let mut credentials = BTreeMap::new();
        for (scheme, auth) in &self.auth {
            let credential = auth.read().map_err(|source| ReadError::Secret { scheme: scheme.clone(), source })?;
            credentials.insert(scheme.clone(), credential);
        }
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for header in &self.headers {
            let name = || header.name.to_string();
            let value = header.read().map_err(|source| ReadError::Header { name: name(), source })?;
            headers.insert(&header.name, value);
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        for credential in credentials.values() {
            match credential {
                Credential::Token(secret) | Credential::Value(secret) => secret.expose().hash(&mut hasher),
                Credential::Basic { username, password } => (username, password.expose()).hash(&mut hasher),
            }
        }
        headers.values().for_each(|value| value.as_bytes().hash(&mut hasher));
        let format = Format::of_file_name(&self.document.to_string_lossy());
        let config = Config {
            server: self.server.clone(),
            variables: self.variables.clone(),
            selection: self.selection.clone(),
            credentials,
            headers,
            strict: self.strict,
        };
        Ok(Material { text, format, config, fingerprint: hasher.finish() })
    }

    /// Reads the document and makes its API.
    ///
    /// # Errors
    /// [`Error`] says what cannot be read, or why the document is refused.
    pub fn load(&self) -> Result<Compiled, Error> {
        Ok(self.read()?.compile().map_err(|problems| Refused { file: self.document.clone(), problems })?)
    }
}

// === impl Auth ===

impl Auth {
    fn sources(&self) -> impl Iterator<Item = &SecretSource> {
        let (first, second) = match self {
            Self::Token(source) | Self::Value(source) => (source, None),
            Self::Basic(username, password) => (username, Some(password)),
        };
        std::iter::once(first).chain(second)
    }

    fn read(&self) -> Result<Credential, Unreadable> {
        Ok(match self {
            Self::Token(source) => Credential::Token(source.read()?),
            Self::Value(source) => Credential::Value(source.read()?),
            Self::Basic(username, password) => {
                Credential::Basic { username: username.read()?.expose().to_owned(), password: password.read()? }
            }
        })
    }
}

// === impl Material ===

impl Material {
    /// Makes the API; for a large document it takes seconds.
    ///
    /// # Errors
    /// The problems that refuse the document; at least one.
    pub fn compile(&self) -> Result<Compiled, Vec<Problem>> {
        let document = Document::read(&self.text, self.format, &DEFAULTS).map_err(|problem| vec![problem])?;
        compile(&document, &self.config)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

// === impl Refused ===

impl fmt::Display for Refused {
    /// Writes one problem per line, as far as people read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES_MAX: usize = 20;
        for (index, problem) in self.problems.iter().take(LINES_MAX).enumerate() {
            write!(f, "{}{}: {problem}", if index > 0 { "\n" } else { "" }, self.file.display())?;
        }
        match self.problems.len().checked_sub(LINES_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more problems"),
        }
    }
}

impl std::error::Error for Refused {}

//! The credential of a `ToolServer` as serde and the JSON schema see it.
//!
//! As in the parent module: types only, descriptions for whoever writes the file.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::credential::ClientAuth;

/// The most scopes that are asked for: a token with more has no use that anybody could name.
pub(crate) const SCOPES_MAX: usize = 64;

/// No credential, or one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum CredentialForm {
    /// The word for no credential.
    None(NoCredentialForm),
    /// A credential.
    Some(Box<SomeCredentialForm>),
}

/// The word for no credential.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("type" = "string"))]
pub(crate) enum NoCredentialForm {
    /// The server lets everybody in.
    None,
}

/// A credential of one kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SomeCredentialForm {
    /// A header that goes with each request.
    pub(crate) header: Option<HeaderCredentialForm>,
    /// A bearer token from an authorization server, fetched with credentials of this client (RFC 6749 §4.4) and renewed
    /// before it expires.
    pub(crate) client_credentials: Option<ClientCredentialsForm>,
}

/// A header that goes with each request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HeaderCredentialForm {
    /// The header's name, such as `Authorization` or `X-Api-Key`. Headers that the protocol itself sets are refused.
    #[schemars(required)]
    pub(crate) name: Option<String>,
    /// What stands before the value, with a space between, such as `Bearer`.
    pub(crate) scheme: Option<String>,
    /// The secret itself, `env:NAME` for an environment variable, or `file:PATH` for a file, which is read again when
    /// it changes. It never appears in logs or errors.
    #[schemars(required, extend("x-secret" = true))]
    pub(crate) value: Option<String>,
}

/// A bearer token that an authorization server gives to this client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClientCredentialsForm {
    /// The token endpoint: an `https` URL, or an `http` one of this machine.
    #[schemars(required)]
    pub(crate) token_url: Option<String>,
    /// The client's id at the authorization server.
    #[schemars(required)]
    pub(crate) client_id: Option<String>,
    /// The client's secret: the text itself, `env:NAME` for an environment variable, or `file:PATH` for a file, which is
    /// read at each renewal. It never appears in logs or errors.
    #[schemars(required, extend("x-secret" = true))]
    pub(crate) client_secret: Option<String>,
    /// The scopes that are asked for. By default the authorization server decides.
    #[schemars(extend("maxItems" = SCOPES_MAX, "uniqueItems" = true))]
    pub(crate) scopes: Option<Vec<Option<String>>>,
    /// The `audience` that is asked for, where the authorization server wants one.
    pub(crate) audience: Option<String>,
    /// The `resource` that the token is asked for: an absolute URI (RFC 8707).
    pub(crate) resource: Option<String>,
    /// How the secret is sent.
    #[schemars(extend("default" = "basic"))]
    pub(crate) auth: Option<ClientAuthForm>,
    /// A PEM file of certificate authorities that the token endpoint is held against, beside the system's. A relative
    /// path begins at the folder of this file.
    #[schemars(extend("x-file" = true))]
    pub(crate) tls_ca: Option<String>,
}

/// How a client's secret is sent.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientAuthForm {
    /// In the `Authorization` header (`client_secret_basic`).
    Basic,
    /// In the form (`client_secret_post`).
    Post,
}

// === impl ClientAuthForm ===

impl From<ClientAuthForm> for ClientAuth {
    fn from(form: ClientAuthForm) -> Self {
        match form {
            ClientAuthForm::Basic => Self::Basic,
            ClientAuthForm::Post => Self::Post,
        }
    }
}
